/**
 * Folders of Node's file system, as folder.js describes them.
 */
import { readdir, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readError } from '../source.js'
import { openFile } from './folder.js'

/**
 * The name of a model's folder. In the cache of Hugging Face's tools it is that of the repository: models--ORG--NAME/snapshots/REVISION.
 * @param {string} path
 */
function nameOf(path) {
  const repository = basename(dirname(dirname(path)))
  return basename(dirname(path)) === 'snapshots' && repository.startsWith('models--') ? repository.split('--').at(-1) ?? '' : basename(path)
}

/**
 * @param {string | URL} source @param {import('./folder.js').SourceOptions} options
 * @returns {Promise<import('./folder.js').Folder | undefined>} undefined where there is no folder of this name
 */
export async function openFolder(source, options) {
  const given = source instanceof URL ? fileURLToPath(source) : source
  if (!await stat(given).then((info) => info.isDirectory(), () => false)) return undefined
  /** @type {Set<string>} */
  const files = new Set()
  /** @param {string} path @param {string} below */
  const list = async (path, below) => {
    for (const entry of await readdir(join(path, below), { withFileTypes: true })) {
      const name = below ? `${below}/${entry.name}` : entry.name
      if (!entry.isDirectory()) files.add(name) // also links, which the cache of Hugging Face's tools is made of
      else if (name === 'additional_chat_templates') await list(path, name)
    }
  }
  try {
    const path = await realpath(given)
    await list(path, '')
    return { name: nameOf(path), files, open: (name) => openFile(join(given, name), files.has(name) ? join(path, name) : undefined, options) }
  } catch (error) {
    throw readError(error, given)
  }
}
