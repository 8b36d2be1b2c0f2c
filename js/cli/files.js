/**
 * Files that commands write and name.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { NibbleError } from '../errors.js'
import { isReference, openReference } from '../evaluate/reference.js'

/** Whole or not at all. @param {string} path @param {Uint8Array | string} data */
export async function writeWhole(path, data) {
  const part = `${path}.part`
  try {
    await writeFile(part, data)
    await rename(part, path)
  } catch (error) {
    await rm(part, { force: true })
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (error)
    throw new NibbleError(code === 'ENOSPC' || code === 'EDQUOT' ? 'E_QUOTA' : 'E_ARGUMENT', `${path} cannot be written: ${code === 'ENOENT' ? 'its folder does not exist' : message}`, { cause: error })
  }
}

/** SHA-256 of a local file, in hexadecimal. What is none, such as a URL, a folder, or one of several parts, has none. @param {string} path @param {AbortSignal} [signal] */
export async function hashOf(path, signal) {
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(path) || /-\d{5}-of-\d{5}\.gguf$/i.test(path) || !(await stat(path).catch(() => undefined))?.isFile()) return undefined
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { signal })) hash.update(chunk)
  return hash.digest('hex')
}

/** The reference in a file; undefined where that is something else, such as a model. @param {string} path */
export async function referenceAt(path) {
  const file = await open(path).catch(() => undefined) // what cannot be opened is told by the loader of models
  try {
    const start = new Uint8Array(8)
    const read = await file?.read(start).catch(() => undefined)
    if (read?.bytesRead !== 8 || !isReference(start)) return undefined
    return await openReference(await readFile(path))
  } finally {
    await file?.close()
  }
}
