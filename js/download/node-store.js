/**
 * Where Node keeps files: a folder of the user's, $NIBBLE_CACHE or nibble in the system's place for caches. Processes that share it wait for each other by
 * files whose holder is known; what a process that died has left is taken over.
 */
import { mkdir, open, readFile, readdir, rename, rm, stat, statfs, utimes, writeFile } from 'node:fs/promises'
import * as fs from 'node:fs'
import { homedir, hostname } from 'node:os'
import { join } from 'node:path'
import { File } from 'node:buffer'
import { abortError } from '../source.js'

/** @returns {string} */
export function cacheFolder() {
  const { NIBBLE_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env
  if (NIBBLE_CACHE) return NIBBLE_CACHE
  if (process.platform === 'win32' && LOCALAPPDATA) return join(LOCALAPPDATA, 'nibble', 'cache')
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches', 'nibble')
  return join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'nibble')
}

/** Milliseconds between two signs of life in a lock, and those after which a lock of another machine is dead. */
const HEARTBEAT = 10_000
const DEAD = 60_000

/** Locks of this process, which another process with its number may have left. @type {Set<string>} */
const held = new Set()

/** Whether the holder of a lock is gone. @param {string} path */
async function isDead(path) {
  try {
    const [text, { mtimeMs }] = await Promise.all([readFile(path, 'utf8'), stat(path)])
    const [pid, host] = text.split('\n'), old = Date.now() - mtimeMs
    if (!/^\d+$/.test(pid)) return old > 2000 // a writer that has not come to its first byte
    if (host !== hostname()) return old > DEAD
    if (Number(pid) === process.pid) return !held.has(path)
    try {
      process.kill(Number(pid), 0)
      return false
    } catch (error) {
      return /** @type {NodeJS.ErrnoException} */ (error).code === 'ESRCH'
    }
  } catch {
    return false // gone: try again
  }
}

/** @param {string} path @param {AbortSignal} [signal] @returns {Promise<() => void>} */
async function takeLock(path, signal) {
  for (let wait = 5; ; wait = Math.min(wait * 2, 250)) {
    if (signal?.aborted) throw abortError(undefined, signal)
    const mine = held.has(path)
    if (!mine) held.add(path)
    try {
      if (!mine) {
        await writeFile(path, `${process.pid}\n${hostname()}\n`, { flag: 'wx' })
        break
      }
    } catch (error) {
      held.delete(path)
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error
      if (await isDead(path)) {
        // Renaming takes it from others who want to; what they made meanwhile is put back.
        const aside = `${path}.${process.pid}`
        await rename(path, aside).catch(() => {})
        if (await isDead(aside)) await rm(aside, { force: true })
        else await rename(aside, path).catch(() => {})
        continue
      }
    }
    await new Promise((resolve) => setTimeout(resolve, wait))
  }
  const timer = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), HEARTBEAT)
  timer.unref()
  return () => {
    if (!held.delete(path)) return
    clearInterval(timer)
    fs.rmSync(path, { force: true })
  }
}

/** @param {import('node:fs/promises').FileHandle} handle */
const readFrom = (handle) => async (/** @type {number} */ position, /** @type {number} */ length) => {
  const bytes = new Uint8Array(length)
  let n = 0
  while (n < length) {
    const { bytesRead } = await handle.read(bytes, n, length - n, position + n)
    if (bytesRead === 0) break
    n += bytesRead
  }
  return bytes.subarray(0, n)
}

/** @param {string} [folder] @returns {import('./entry.js').Store} */
export function nodeStore(folder = cacheFolder()) {
  const path = (/** @type {string} */ name) => join(folder, name)
  return {
    names: () => readdir(folder).catch((error) => {
      if (error.code === 'ENOENT') return []
      throw error
    }),
    async load(name, most) {
      const { size } = await stat(path(name))
      return size <= most ? new Uint8Array(await readFile(path(name))) : undefined
    },
    async open(name) {
      await mkdir(folder, { recursive: true })
      const handle = await open(path(name), fs.constants.O_RDWR | fs.constants.O_CREAT, 0o644)
      return {
        read: readFrom(handle),
        async write(bytes, position) {
          for (let n = 0; n < bytes.length;) n += (await handle.write(bytes, n, bytes.length - n, position + n)).bytesWritten
        },
        flush: () => handle.datasync(),
        truncate: (size) => handle.truncate(size),
        close: () => handle.close(),
      }
    },
    async reader(name) {
      const handle = await open(path(name), 'r')
      return { read: readFrom(handle), close: () => handle.close() }
    },
    async file(name, as) {
      return /** @type {any} */ (new File([/** @type {any} */ (await fs.openAsBlob(path(name)))], as))
    },
    remove: (name) => rm(path(name), { force: true }),
    async lock(name, mode, signal) {
      if (mode === 'shared') return () => {} // a file that is open stays, though its name goes
      await mkdir(folder, { recursive: true })
      return takeLock(path(`${name}.lock`), signal)
    },
  }
}

/** Bytes that are kept, and those that could be. */
export async function usage() {
  const folder = cacheFolder()
  let used = 0
  for (const name of await readdir(folder).catch(() => [])) used += (await stat(join(folder, name)).catch(() => undefined))?.size ?? 0
  const { bavail, bsize } = await mkdir(folder, { recursive: true }).then(() => statfs(folder))
  return { usage: used, quota: used + bavail * bsize, persisted: true }
}
