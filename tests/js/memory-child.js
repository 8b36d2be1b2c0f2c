// Run by memory.test.js with --expose-gc: loads the model at the given URL once to its end and once to its middle, and prints what it cost.
import { load } from '../../js/index.js'

const url = process.argv[2]
const gc = /** @type {() => void} */ (globalThis.gc)
gc()
const before = process.memoryUsage()
let heapPeak = 0, bufferPeak = 0, wasmNow = 0
const sample = () => {
  const m = process.memoryUsage()
  heapPeak = Math.max(heapPeak, m.heapUsed)
  bufferPeak = Math.max(bufferPeak, m.arrayBuffers - wasmNow)
}
const n_ctx = 1024
const model = await load(url, { contextLength: n_ctx, onProgress: sample })
wasmNow = model.info.memory().wasm_bytes
const r = await model.completions.create({ prompt: [5, 6, 7, 8, 9, 10], max_tokens: 4, temperature: 0, ignore_eos: true })
sample()
const { n_layers, n_kv_heads, head_dim } = model.info.config
const result = {
  wasm: model.info.memory().wasm_bytes,
  weights: model.info.weight_bytes,
  kv: n_layers * n_kv_heads * head_dim * n_ctx * 2 * 2,
  heapGrowth: heapPeak - before.heapUsed,
  bufferGrowth: Math.max(0, bufferPeak - before.arrayBuffers),
  tokens: r.choices[0].tokens.length,
  abortCode: '',
  collected: false,
}
await model.dispose()

// Cancelled in the middle: the memory must become garbage. Every WebAssembly.Memory made from here on is watched.
const memories = /** @type {WeakRef<WebAssembly.Memory>[]} */ ([])
const { Memory } = WebAssembly
WebAssembly.Memory = /** @type {any} */ (function (/** @type {any} */ descriptor) {
  const memory = new Memory(descriptor)
  if (descriptor.initial > 0) memories.push(new WeakRef(memory))
  return memory
})
const controller = new AbortController()
await load(url, { contextLength: n_ctx, signal: controller.signal, onProgress: ({ loaded, total }) => { if (total && loaded > total / 2) controller.abort() } })
  .catch((error) => { result.abortCode = error.code })
for (let i = 0; i < 50 && !result.collected; i++) {
  await new Promise((resolve) => setTimeout(resolve, 20))
  gc()
  result.collected = memories.length === 1 && memories.every((ref) => ref.deref() === undefined)
}
console.log(JSON.stringify(result))
