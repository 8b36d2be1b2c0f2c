/**
 * How fast WebAssembly reads memory: GB/s (10^9 bytes), the median of what each thread reads in its passes, summed over the threads.
 *
 *     node tests/bench/read_wasm.mjs MEGABYTES THREADS
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { fileURLToPath } from 'node:url'
import { median } from './figures.mjs'

const PAGE = 65536
const SECONDS = 1

/** An unsigned number as LEB128. @param {number} n @returns {number[]} */
const leb = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >>> 7)])
/** @param {number} id @param {number[]} content */
const section = (id, content) => [id, ...leb(content.length), ...content]

/**
 * A module by hand: (memory (export "m") PAGES) and (func (export "sum") (param $from i32) (param $to i32) (result i64)), the sum of the
 * 64-bit words between two addresses, 128 bytes in a turn: eight loads into eight sums, so that additions never wait for each other.
 * @param {number} pages
 */
export function sumModule(pages) {
  const I32 = 0x7f, I64 = 0x7e, V128 = 0x7b, SUMS = 8
  const get = (/** @type {number} */ i) => [0x20, i], set = (/** @type {number} */ i) => [0x21, i]
  const load = (/** @type {number} */ offset) => [0xfd, 0x00, 0x04, ...leb(offset)] // v128.load align=16
  const add = [0xfd, ...leb(0xce)] // i64x2.add
  const lane = (/** @type {number} */ i) => [0xfd, 0x1d, i] // i64x2.extract_lane
  const sums = Array.from({ length: SUMS }, (_, i) => 2 + i)
  const code = [
    1, SUMS, V128, // locals
    0x03, 0x40, // loop
    ...sums.flatMap((s, i) => [...get(0), ...load(16 * i), ...get(s), ...add, ...set(s)]),
    ...get(0), 0x41, ...[0x80, 0x01], 0x6a, 0x22, 0, // $from += 128, left on the stack
    ...get(1), 0x49, 0x0d, 0, // unsigned below $to: again
    0x0b,
    ...get(2), ...sums.slice(1).flatMap((s) => [...get(s), ...add]), 0x22, 2,
    ...lane(0), ...get(2), ...lane(1), 0x7c, 0x0b,
  ]
  const name = (/** @type {string} */ text) => [text.length, ...Buffer.from(text)]
  return new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60, 2, I32, I32, 1, I64]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0, ...leb(pages)]),
    ...section(7, [2, ...name('m'), 2, 0, ...name('sum'), 0, 0]),
    ...section(10, [1, ...leb(code.length), ...code]),
  ])
}

/** In a thread: gets ready, waits for the others, reads. @param {{bytes: number, threads: number, ready: Int32Array}} data */
function read({ bytes, threads, ready }) {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(sumModule(bytes / PAGE)))
  const { m, sum } = /** @type {{m: WebAssembly.Memory, sum: (from: number, to: number) => bigint}} */ (/** @type {unknown} */ (instance.exports))
  new Uint8Array(m.buffer).fill(1)
  for (let i = 0; i < 8; i++) sum(0, bytes) // until the compiler has done its best
  Atomics.add(ready, 0, 1)
  Atomics.notify(ready, 0)
  for (let seen; (seen = Atomics.load(ready, 0)) < threads;) Atomics.wait(ready, 0, seen)
  const speeds = []
  for (const start = performance.now(); performance.now() - start < SECONDS * 1000;) {
    const t = performance.now()
    sum(0, bytes)
    speeds.push(bytes / (performance.now() - t) / 1e6)
  }
  return median(speeds)
}

if (!isMainThread && workerData?.readWasm) parentPort?.postMessage(read(workerData.readWasm))
else if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [megabytes, threads] = process.argv.slice(2).map(Number)
  if (!(megabytes >= 1 && threads >= 1)) throw new Error('read_wasm.mjs MEGABYTES THREADS')
  const readWasm = { bytes: megabytes << 20, threads, ready: new Int32Array(new SharedArrayBuffer(4)) }
  const speeds = await Promise.all(Array.from({ length: threads }, () => new Promise((resolve, reject) => {
    new Worker(new URL(import.meta.url), { workerData: { readWasm } }).once('message', resolve).once('error', reject)
  })))
  console.log(speeds.reduce((a, b) => a + b, 0).toFixed(3))
}
