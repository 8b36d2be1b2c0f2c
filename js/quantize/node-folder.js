/**
 * Folders of Node's file system, as folder.js describes them.
 */
import { open, readdir, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { NibbleError } from '../errors.js'
import { readError } from '../source.js'
import { checkRange } from './folder.js'

/** Whether a path names a folder. @param {string} path */
export const isFolder = (path) => stat(path).then((info) => info.isDirectory(), () => false)

/**
 * The name of a model's folder. In the cache of Hugging Face's tools it is that of the repository: models--ORG--NAME/snapshots/REVISION.
 * @param {string} path
 */
function nameOf(path) {
  const name = basename(path)
  const repository = basename(dirname(dirname(path)))
  return basename(dirname(path)) === 'snapshots' && repository.startsWith('models--') ? repository.split('--').at(-1) ?? name : name
}

/** @param {string} path @returns {Promise<import('./folder.js').Folder>} */
export async function openFolder(path) {
  /** @type {Set<string>} */
  const files = new Set()
  const whole = await realpath(path).catch((error) => { throw readError(error, path) })
  /** @param {string} below */
  const list = async (below) => {
    for (const entry of await readdir(join(whole, below), { withFileTypes: true })) {
      const name = below ? `${below}/${entry.name}` : entry.name
      if (entry.isDirectory()) {
        if (name === 'additional_chat_templates') await list(name)
      } else files.add(name) // also links, which the cache of Hugging Face's tools is made of
    }
  }
  try {
    await list('')
  } catch (error) {
    throw readError(error, path)
  }
  return {
    name: nameOf(whole),
    files,
    async open(inside) {
      const name = join(path, inside)
      if (!files.has(inside)) throw new NibbleError('E_ARGUMENT', `there is no file ${name}`)
      let handle
      try {
        handle = await open(join(whole, inside), 'r')
        const info = await handle.stat()
        if (!info.isFile()) throw new NibbleError('E_ARGUMENT', `${name} is no file`)
        const file = handle, { size } = info
        return {
          name, size,
          async read(offset, length) {
            checkRange(name, size, offset, length)
            const bytes = new Uint8Array(length)
            for (let at = 0; at < length;) {
              const { bytesRead } = await file.read(bytes, at, Math.min(length - at, 1 << 30), offset + at).catch((error) => { throw readError(error, name) })
              if (bytesRead === 0) throw new NibbleError('E_CHANGED', `${name} became shorter while it was read`)
              at += bytesRead
            }
            return bytes
          },
          close: () => file.close(),
        }
      } catch (error) {
        await handle?.close()
        throw readError(error, name)
      }
    },
  }
}
