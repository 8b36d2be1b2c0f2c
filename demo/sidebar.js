/** The list of conversations: opening, finding, renaming, deleting, export and import. */
import { element, iconButton, button } from './nodes.js'
import { save } from './quantize.js'
import { exported, imported } from './store.js'

/**
 * @typedef {import('./store.js').Chat} Chat
 *
 * @typedef {object} Page
 * @property {import('./store.js').Store} store
 * @property {() => Chat | undefined} current
 * @property {(chat: Chat) => Promise<void>} open
 * @property {() => Promise<void>} begin  a new one
 * @property {(chat: Chat) => Promise<void>} remove
 * @property {(chat: Chat) => void} renamed
 * @property {(error: unknown) => void} showError
 * @property {(text: string) => void} announce
 */

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id)

export class Sidebar {
  /** @param {Page} page */
  constructor(page) {
    this.page = page
    $('new-chat').addEventListener('click', () => void page.begin())
    $('search').addEventListener('input', () => void this.list())
    $('export-all').addEventListener('click', async () => save(exported(await page.store.list(), 'Nibble conversations')))
    $('import').addEventListener('change', async () => {
      const [file] = $('import').files
      $('import').value = '' // so that the same file can be chosen again
      if (file) await this.import(file)
    })
  }

  /** @param {File} file */
  async import(file) {
    try {
      const chats = await imported(file), added = await this.page.store.add(chats)
      await this.list()
      this.page.announce(`${added} of ${chats.length} conversations were added${added < chats.length ? '; the others are here already' : ''}`)
    } catch (error) {
      this.page.showError(error)
    }
  }

  async list() {
    const words = $('search').value.trim().toLowerCase(), current = this.page.current()
    const all = await this.page.store.list(), found = all.filter(({ title }) => title.toLowerCase().includes(words))
    // Not while one is being renamed.
    if (document.querySelector('input.rename')) return
    $('conversations').replaceChildren(...found.map((chat) => this.row(chat.id === current?.id ? current : chat, chat.id === current?.id)))
    $('search').hidden = all.length < 6 && !words
    $('export-all').hidden = all.length === 0
    $('conversations-none').hidden = found.length > 0
    $('conversations-none').textContent = words ? 'None has these words in its title.' : this.page.store.kept ? 'Conversations are kept in this browser only.' : 'This browser keeps nothing for this page: export what you want to keep.'
  }

  /** @param {Chat} chat @param {boolean} current */
  row(chat, current) {
    const title = chat.title || 'New conversation'
    const open = button(title, 'open', () => void this.page.open(chat))
    open.title = title
    if (current) open.setAttribute('aria-current', 'true')
    const li = element('li', '', open, element('div', 'row-actions',
      iconButton('edit', `Rename ${title}`, 'rename', () => this.rename(li, chat)),
      iconButton('save', `Export ${title}`, 'export', () => save(exported([chat], title))),
      iconButton('delete', `Delete ${title}`, 'delete', () => void this.page.remove(chat))))
    li.dataset.id = chat.id
    return li
  }

  /** @param {HTMLElement} li @param {Chat} chat */
  rename(li, chat) {
    const input = Object.assign(document.createElement('input'), { className: 'rename', value: chat.title, maxLength: 200, ariaLabel: 'Title of the conversation' })
    let over = false
    const end = async (/** @type {boolean} */ keep) => {
      if (over) return
      over = true
      const focused = document.activeElement === input
      input.remove()
      if (keep && input.value.trim() && input.value.trim() !== chat.title) {
        chat.title = input.value.trim()
        await this.page.store.put(chat)
        this.page.renamed(chat)
      }
      await this.list()
      if (focused) /** @type {HTMLElement | null} */ (document.querySelector(`#conversations > [data-id="${CSS.escape(chat.id)}"] .open`))?.focus()
    }
    input.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== 'Escape') return
      event.preventDefault()
      event.stopPropagation()
      void end(event.key === 'Enter')
    })
    input.addEventListener('blur', () => void end(true))
    li.replaceChildren(input)
    input.select()
    input.focus()
  }
}
