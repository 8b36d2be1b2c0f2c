/**
 * The conversations that this browser keeps, in IndexedDB; where it keeps none (some private windows), they live as long as the page.
 * Export and import: one JSON file, everything of which is checked on its way in.
 */
import { openDB } from 'idb'
import { NibbleError } from '../web/client.js'

/**
 * @typedef {object} Turn  what one side said; `text`: a text that a model without a chat template goes on with
 * @property {'user' | 'assistant' | 'text'} role
 * @property {string} content
 * @property {string} [given]  the beginning of such a text
 * @property {string} [note]  how it went  @property {boolean} [failed]
 * @property {number} [tokens]  of context in use behind it
 * @property {string} [model]
 *
 * @typedef {object} Chat
 * @property {string} id  @property {string} title
 * @property {number} created  @property {number} updated  milliseconds since 1970
 * @property {string} system
 * @property {Turn[]} turns
 */

const FORMAT = 'nibble-conversations', VERSION = 1
/** Bytes of a file to import. */
const MOST = 256e6

/** @returns {Chat} */
export const newChat = (system = '') => ({ id: crypto.randomUUID(), title: '', created: Date.now(), updated: Date.now(), system, turns: [] })

export class Store {
  constructor() {
    /** Whether they outlive the page. */
    this.kept = true
    /** @type {Map<string, Chat>} */
    this.memory = new Map()
    this.db = openDB('nibble', 1, {
      upgrade: (db) => void db.createObjectStore('conversations', { keyPath: 'id' }),
      blocking: (_, __, event) => /** @type {IDBDatabase} */ (event.target).close(),
    }).catch(() => {
      this.kept = false
      return undefined
    })
  }

  /** The latest first. @returns {Promise<Chat[]>} */
  async list() {
    const db = await this.db
    const all = db ? await db.getAll('conversations') : [...this.memory.values()].map((chat) => structuredClone(chat))
    return all.sort((a, b) => b.updated - a.updated)
  }

  /** @param {string} id @returns {Promise<Chat | undefined>} */
  async get(id) {
    const db = await this.db
    return db ? db.get('conversations', id) : structuredClone(this.memory.get(id))
  }

  /** @param {Chat} chat */
  async put(chat) {
    const copy = structuredClone(chat), db = await this.db // as it is now
    if (db) await db.put('conversations', copy)
    else this.memory.set(chat.id, copy)
  }

  /** @param {string} id */
  async delete(id) {
    const db = await this.db
    if (db) await db.delete('conversations', id)
    else this.memory.delete(id)
  }

  /** Adds conversations; one that is here already is left alone where it is the same, and else stands beside it. @param {Chat[]} chats */
  async add(chats) {
    let added = 0
    for (const chat of chats) {
      const here = await this.get(chat.id)
      if (here && JSON.stringify(fields(here)) === JSON.stringify(fields(chat))) continue
      await this.put(here ? { ...chat, id: crypto.randomUUID() } : chat)
      added++
    }
    return added
  }
}

/** In one order, and nothing else. @param {Chat} chat @returns {Chat} */
const fields = ({ id, title, created, updated, system, turns }) => ({
  id, title, created, updated, system,
  turns: turns.map(({ role, content, given, note, failed, tokens, model }) => ({ role, content, given, note, failed, tokens, model })),
})

/** @param {Chat[]} chats @param {string} name  of the file, without its ending */
export function exported(chats, name) {
  const text = JSON.stringify({ format: FORMAT, version: VERSION, exported: new Date().toISOString(), conversations: chats.map(fields) }, null, 1)
  return new File([text], `${name.replace(/[^\p{L}\p{N} _-]+/gu, '').trim().slice(0, 60) || 'conversations'}.json`, { type: 'application/json' })
}

/**
 * What a file of exported conversations holds. Everything is checked: it may come from anybody.
 * @param {Blob & {name?: string}} file
 * @returns {Promise<Chat[]>}
 */
export async function imported(file) {
  const name = file.name ?? 'the file'
  /** @param {string} why */
  const refuse = (why) => { throw Object.assign(new NibbleError('E_FORMAT', `${name} cannot be imported: ${why}`), { advice: 'Choose a file that was exported here.' }) }
  if (file.size > MOST) refuse(`it has ${file.size} bytes; ${MOST} are the most`)
  let data
  try {
    data = JSON.parse(await file.text())
  } catch (error) {
    refuse(`it is not JSON (${/** @type {Error} */ (error).message})`)
  }
  if (data?.format !== FORMAT) refuse(`its format is not ‘${FORMAT}’`)
  if (data.version !== VERSION) refuse(`it is of version ${JSON.stringify(data.version)}; this page reads version ${VERSION}`)
  if (!Array.isArray(data.conversations)) refuse('it has no list of conversations')

  /** @param {any} value @param {string} type @param {string} where @param {boolean} [optional] */
  const check = (value, type, where, optional) => {
    if (optional && value === undefined) return
    if (typeof value !== type || (type === 'number' && !(value >= 0 && value < 1e15))) refuse(`${where} is no ${type}`)
  }
  data.conversations.forEach((/** @type {any} */ chat, /** @type {number} */ i) => {
    const at = `conversations[${i}]`
    if (chat === null) refuse(`${at} is no object`)
    check(chat, 'object', at)
    for (const key of ['id', 'title', 'system']) check(chat[key], 'string', `${at}.${key}`)
    for (const key of ['created', 'updated']) check(chat[key], 'number', `${at}.${key}`)
    if (chat.id === '' || chat.id.length > 100) refuse(`${at}.id has ${chat.id.length} characters`)
    if (!Array.isArray(chat.turns)) refuse(`${at}.turns is no list`)
    chat.turns.forEach((/** @type {any} */ turn, /** @type {number} */ j) => {
      const there = `${at}.turns[${j}]`
      if (turn === null) refuse(`${there} is no object`)
      check(turn, 'object', there)
      if (!['user', 'assistant', 'text'].includes(turn.role)) refuse(`${there}.role is not user, assistant or text`)
      check(turn.content, 'string', `${there}.content`)
      for (const [key, type] of [['given', 'string'], ['note', 'string'], ['failed', 'boolean'], ['tokens', 'number'], ['model', 'string']]) check(turn[key], type, `${there}.${key}`, true)
    })
  })
  return data.conversations.map(fields)
}
