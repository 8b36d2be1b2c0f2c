/**
 * What Node alone has of the quantizer: files.
 */
import { open, readFile, realpath, rename, rm, truncate } from 'node:fs/promises'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { NibbleError, isNibbleError } from '../errors.js'
import { readError } from '../source.js'

export { openFolder } from './node-folder.js'

/** @param {unknown} error @param {string} path */
function writeError(error, path) {
  if (isNibbleError(error)) return error
  const { code, message } = /** @type {NodeJS.ErrnoException} */ (error)
  if (code === 'ENOSPC' || code === 'EDQUOT') return new NibbleError('E_QUOTA', `there is no room left for ${path}; free some, or write elsewhere`, { cause: error })
  if (code === 'ENOENT') return new NibbleError('E_ARGUMENT', `the folder of ${path} does not exist`, { cause: error })
  if (code === 'EISDIR') return new NibbleError('E_ARGUMENT', `${path} is a folder; name a file`, { cause: error })
  return new NibbleError('E_ARGUMENT', `${path} cannot be written: ${message}`, { cause: error })
}

/** @typedef {import('node:fs/promises').FileHandle} FileHandle */

/** As many bytes as the file has there. @param {FileHandle} file @param {number} position @param {number} length */
async function readUpTo(file, position, length) {
  const bytes = new Uint8Array(length)
  let at = 0
  for (let n; at < length; at += n) {
    n = (await file.read(bytes, at, length - at, position + at)).bytesRead
    if (n === 0) break
  }
  return bytes.subarray(0, at)
}

/** @param {FileHandle} file @param {Uint8Array} bytes @param {number} position */
async function writeAll(file, bytes, position) {
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at, bytes.length - at, position + at)).bytesWritten
}

/** Opens a file for reading and writing, with what is in it where it is there. @param {string} path */
const openKept = (path) => open(path, 'r+').catch((error) => {
  if (error.code !== 'ENOENT') throw error
  return open(path, 'wx+')
})

/** Whether two paths lead to the same file. @param {string} a @param {string} b */
export async function samePlace(a, b) {
  const [x, y] = await Promise.all([a, b].map((path) => realpath(path).catch(() => undefined)))
  return x !== undefined && x === y
}

/** @param {URL} url @returns {Promise<import('./ranges.js').Ranges>} */
export async function fileRanges(url) {
  const name = fileURLToPath(url)
  const file = await open(url, 'r').catch((error) => {
    if (error.code === 'ENOENT') throw new NibbleError('E_ARGUMENT', `there is no file ${name}`, { cause: error })
    throw readError(error, name)
  })
  const info = await file.stat()
  if (!info.isFile()) {
    await file.close()
    throw new NibbleError('E_ARGUMENT', info.isDirectory() ? `${name} is a folder; name a .gguf file` : `${name} is no file, and cannot be read by ranges`)
  }
  return {
    name, size: info.size, close: () => file.close(),
    read: (offset, length) => readUpTo(file, offset, length),
  }
}

/** @template T @param {string} path @param {() => Promise<T>} work @returns {Promise<T>} */
async function guarded(path, work) {
  try {
    return await work()
  } catch (error) {
    throw writeError(error, path)
  }
}

/**
 * Lines of text in a file, of which a killed program leaves whole ones.
 * @param {string} path
 * @returns {import('./sinks.js').Journal & {close: () => Promise<void>, remove: () => Promise<void>}} remove: the file is needed no more
 */
export function lineJournal(path) {
  /** @type {FileHandle | undefined} */
  let file
  const close = async () => {
    await file?.close()
    file = undefined
  }
  return {
    lines: () => guarded(path, async () => {
      const text = await readFile(path, 'utf8').catch((error) => {
        if (error.code === 'ENOENT') return ''
        throw error
      })
      const whole = text.slice(0, text.lastIndexOf('\n') + 1) // a line is there when its end is
      if (whole !== text) await truncate(path, Buffer.byteLength(whole))
      return whole.split('\n').slice(0, -1)
    }),
    restart: () => guarded(path, async () => {
      await close()
      file = await open(path, 'w')
    }),
    append: (line) => guarded(path, async () => {
      file ??= await open(path, 'a')
      await file.appendFile(`${line}\n`)
    }),
    close: () => guarded(path, close),
    remove: () => guarded(path, async () => {
      await close()
      await rm(path, { force: true })
    }),
  }
}

/** Beside a file in work: what was measured before its first byte. @param {string} path */
export const analysisJournal = (path) => lineJournal(`${resolve(path)}.part.analysis.jsonl`)

/**
 * A file that is PATH.part until it is complete. Beside it may lie a journal, PATH.part.jsonl, which tells a later run what is in it, and what else that needs,
 * PATH.part.state.
 * @param {string} path
 * @returns {Promise<import('./sinks.js').FileSink>}
 */
export async function fileSink(path) {
  const part = `${resolve(path)}.part`, log = `${part}.jsonl`, side = `${part}.state`
  /** @template T @param {() => Promise<T>} work */
  const guard = (work) => guarded(path, work)
  // Kept as it is: what an earlier run wrote may be of use.
  const file = await guard(() => openKept(part)), journal = lineJournal(log)
  /** @type {FileHandle | undefined} */
  let stateFile
  const openState = async () => stateFile ??= await openKept(side)
  const close = async () => {
    await journal.close()
    await stateFile?.close()
    stateFile = undefined
    await file.close()
  }
  return {
    path,
    write: (bytes, position) => guard(() => writeAll(file, bytes, position)),
    read: (position, length) => guard(() => readUpTo(file, position, length)),
    commit: (size) => guard(async () => {
      await file.truncate(size) // longer where an earlier run had another plan
      await file.sync()
      await close()
      await rename(part, resolve(path))
      await Promise.all([log, side].map((path) => rm(path, { force: true })))
    }),
    abort: () => guard(async () => {
      await close()
      await Promise.all([part, log, side].map((path) => rm(path, { force: true })))
    }),
    suspend: () => guard(close),
    journal: {
      ...journal,
      restart: () => guard(async () => {
        await journal.restart()
        await file.truncate(0)
      }),
    },
    state: {
      write: (bytes, position) => guard(async () => writeAll(await openState(), bytes, position)),
      read: (position, length) => guard(async () => readUpTo(await openState(), position, length)),
    },
  }
}
