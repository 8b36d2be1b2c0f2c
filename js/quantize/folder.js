/**
 * A folder of files, read by ranges: of Node's file system (node-folder.js), or a list of File objects that a person chose in a browser.
 */
import { NibbleError } from '../errors.js'
import { readError } from '../source.js'

/**
 * @typedef {object} FolderFile
 * @property {string} name  for messages
 * @property {number} size
 * @property {(offset: number, length: number) => Promise<Uint8Array>} read  exactly that many bytes, in a buffer of their own
 * @property {() => Promise<void>} close
 *
 * @typedef {object} Folder
 * @property {string} name  its own name, without the path to it
 * @property {ReadonlySet<string>} files  names below it, with / between the parts
 * @property {(name: string) => Promise<FolderFile>} open
 *
 * @typedef {File | {name: string, file: Blob | Uint8Array}} NamedFile
 */

const JSON_LIMIT = 16 << 20

/** @param {string} name */
const missing = (name) => new NibbleError('E_ARGUMENT', `there is no file ${name}`)

/** @param {string} name @param {number} size @param {number} offset @param {number} length */
export function checkRange(name, size, offset, length) {
  if (offset + length > size) throw new NibbleError('E_TRUNCATED', `${name} has ${size} bytes, but ${offset + length} are needed; it was cut, get it again`)
}

/** @param {string} name @param {Blob | Uint8Array} file @returns {FolderFile} */
function openListed(name, file) {
  const size = file instanceof Uint8Array ? file.length : file.size
  return {
    name, size,
    async read(offset, length) {
      checkRange(name, size, offset, length)
      if (file instanceof Uint8Array) return file.slice(offset, offset + length)
      try {
        const bytes = new Uint8Array(await file.slice(offset, offset + length).arrayBuffer())
        if (bytes.length !== length) throw new NibbleError('E_CHANGED', `${name} became shorter while it was read`)
        return bytes
      } catch (error) {
        throw readError(error, name)
      }
    },
    close: async () => {},
  }
}

/**
 * A folder made of a list of files. Those of an `<input webkitdirectory>` carry the folder's name in their paths.
 * @param {Iterable<NamedFile>} list
 * @param {string} [name]
 * @returns {Folder}
 */
export function folderOfFiles(list, name) {
  /** @type {Map<string, Blob | Uint8Array>} */
  const files = new Map()
  for (const item of list) {
    const file = item instanceof Blob ? item : item?.file
    if (!(file instanceof Blob || file instanceof Uint8Array) || typeof item.name !== 'string') {
      throw new NibbleError('E_ARGUMENT', 'a folder is a list of File objects, or of {name, file} with a Blob or Uint8Array')
    }
    const path = (file instanceof Blob && 'webkitRelativePath' in file && String(file.webkitRelativePath)) || item.name
    const slash = path.indexOf('/')
    const inside = file === item && slash > 0 ? path.slice(slash + 1) : item.name
    if (inside !== item.name || file === item && slash > 0) name ??= path.slice(0, slash)
    if (files.has(inside)) throw new NibbleError('E_ARGUMENT', `two files are called ${inside}`)
    files.set(inside, file)
  }
  return {
    name: name ?? 'model',
    files: new Set(files.keys()),
    async open(inside) {
      const file = files.get(inside)
      if (!file) throw missing(inside)
      return openListed(inside, file)
    },
  }
}

/**
 * All of a small file.
 * @param {Folder} folder @param {string} name @param {number} limit  bytes
 */
export async function readWhole(folder, name, limit) {
  const file = await folder.open(name)
  try {
    if (file.size > limit) throw new NibbleError('E_UNSUPPORTED', `${name} has ${file.size} bytes, the limit is ${limit}`)
    return await file.read(0, file.size)
  } finally {
    await file.close()
  }
}

/** @param {Folder} folder @param {string} name @param {number} [limit] */
export async function readText(folder, name, limit = JSON_LIMIT) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readWhole(folder, name, limit))
  } catch (error) {
    if (error instanceof TypeError) throw new NibbleError('E_FORMAT', `${name} is not UTF-8 text`, { cause: error })
    throw error
  }
}

/**
 * The object that a JSON file holds; undefined where there is no such file.
 * @param {Folder} folder @param {string} name @param {number} [limit]
 * @returns {Promise<Record<string, unknown> | undefined>}
 */
export async function readJson(folder, name, limit) {
  if (!folder.files.has(name)) return undefined
  const text = await readText(folder, name, limit)
  let value
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new NibbleError('E_FORMAT', `${name} is not JSON: ${/** @type {Error} */ (error).message}`, { cause: error })
  }
  if (!isObject(value)) throw new NibbleError('E_FORMAT', `${name} must hold a JSON object`)
  return value
}

/** @param {unknown} value @returns {value is Record<string, unknown>} */
export const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)

/** What an object itself has under a name, never what it inherits. @param {Record<string, unknown>} object @param {string} name @returns {unknown} */
export const own = (object, name) => (Object.hasOwn(object, name) ? object[name] : undefined)
