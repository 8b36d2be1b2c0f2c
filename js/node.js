/**
 * What Node alone has: files by their paths. Read where it is wanted; the bundles for browsers do not hold it.
 */
import { createHash } from 'node:crypto'
import { open, readFile } from 'node:fs/promises'
import { availableParallelism, cpus } from 'node:os'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { NibbleError } from './errors.js'
import { readError } from './source.js'

export { createHash, pathToFileURL, readFile }

/** Cores that this process may use: threads that share one are counted once, where Linux tells. */
export async function cores() {
  const available = availableParallelism()
  const siblings = await Promise.all(Array.from({ length: cpus().length }, (_, i) =>
    readFile(`/sys/devices/system/cpu/cpu${i}/topology/thread_siblings_list`, 'utf8').catch(() => '')))
  return siblings.includes('') ? available : Math.min(available, new Set(siblings).size)
}

/** @param {URL} url @param {import('./thread.js').ThreadData} data @returns {import('./platform.js').Thread} */
export function startThread(url, data) {
  const worker = new Worker(url, { workerData: data, execArgv: [] })
  worker.unref() // a model that was forgotten does not keep the process
  return {
    ready: new Promise((resolve, reject) => {
      worker.once('message', resolve).once('error', reject).once('exit', () => reject(new Error('the thread ended')))
      worker.ref()
    }).finally(() => worker.unref()),
    end: () => void worker.terminate(),
  }
}

/** @param {URL} url @param {import('./source.js').SourceOptions} options @returns {Promise<import('./source.js').Part>} */
export async function openFile(url, { signal }) {
  let name = url.href
  let handle
  try {
    name = fileURLToPath(url)
    handle = await open(url, 'r')
    const info = await handle.stat()
    if (info.isDirectory()) throw new NibbleError('E_ARGUMENT', `${name} is a folder; name a .gguf file`)
    const file = handle
    return {
      name,
      size: info.isFile() ? info.size : undefined,
      async read(view) {
        try {
          return (await file.read(view, 0, Math.min(view.length, 8 << 20))).bytesRead
        } catch (error) {
          throw readError(error, name, signal)
        }
      },
      close: () => file.close(),
    }
  } catch (error) {
    await handle?.close()
    if (/** @type {any} */ (error)?.code === 'ENOENT') throw new NibbleError('E_ARGUMENT', `there is no file ${name}`, { cause: error })
    throw readError(error, name, signal)
  }
}
