/**
 * A folder of files, read by ranges: of Node's file system (node-folder.js), or a list of File objects that a person chose in a browser.
 */
import { NibbleError } from '../errors.js'
import { files } from './platform.js'
import { openRanges } from './ranges.js'

/**
 * @typedef {import('../source.js').SourceOptions} SourceOptions
 *
 * @typedef {object} Folder
 * @property {string} name  its own name, without the path to it
 * @property {ReadonlySet<string>} files  names below it, with / between the parts
 * @property {(name: string) => Promise<import('./ranges.js').Ranges>} open
 *
 * @typedef {File | {name: string, file: Blob | Uint8Array}} NamedFile
 */

const JSON_LIMIT = 16 << 20

/**
 * Opens a file of a folder under the name it has there.
 * @param {string} name @param {string | Blob | Uint8Array | undefined} file @param {SourceOptions} options
 */
export async function openFile(name, file, options) {
  if (file === undefined) throw new NibbleError('E_ARGUMENT', `there is no file ${name}`)
  return { ...await openRanges(file, 0, options), name }
}

/**
 * A folder made of a list of files. Those of an `<input webkitdirectory>` carry the folder's name in their paths.
 * @param {Iterable<NamedFile>} list @param {SourceOptions} [options]
 * @returns {Folder}
 */
export function folderOfFiles(list, options = {}) {
  /** @type {Map<string, Blob | Uint8Array>} */
  const files = new Map()
  let folder = ''
  for (const item of list) {
    const file = item instanceof Blob ? item : item?.file
    if (!(file instanceof Blob || file instanceof Uint8Array) || typeof item.name !== 'string') {
      throw new NibbleError('E_ARGUMENT', 'a folder is a list of File objects, or of {name, file} with a Blob or Uint8Array')
    }
    const path = file === item && 'webkitRelativePath' in file ? String(file.webkitRelativePath) : '', slash = path.indexOf('/')
    if (slash > 0) folder ||= path.slice(0, slash)
    const name = slash > 0 ? path.slice(slash + 1) : item.name
    if (files.has(name)) throw new NibbleError('E_ARGUMENT', `two files are called ${name}`)
    files.set(name, file)
  }
  return { name: folder || 'model', files: new Set(files.keys()), open: (name) => openFile(name, files.get(name), options) }
}

/** @param {unknown} item @returns {item is NamedFile} */
const hasName = (item) => typeof item === 'object' && item !== null && 'name' in item && typeof item.name === 'string' && (item instanceof Blob || 'file' in item)

/**
 * The folder that a source is: a path to one (Node), or a list of files that are not the parts of a GGUF file. Undefined for other sources.
 * @param {import('./checkpoint.js').CheckpointSource} source @param {SourceOptions} options
 * @returns {Promise<Folder | undefined>}
 */
export async function folderOf(source, options) {
  if (Array.isArray(source)) {
    const list = /** @type {unknown[]} */ (source).filter(hasName)
    return list.length === source.length && list.some(({ name }) => !/\.gguf$/i.test(name)) ? folderOfFiles(list, options) : undefined
  }
  const path = typeof source === 'string' ? source : source instanceof URL && source.protocol === 'file:' ? source : undefined
  return files && path !== undefined ? (await files()).openFolder(path, options) : undefined
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
