/**
 * One measurement of native llama.cpp on the CPU: node native_child.mjs NODE_MODULES MODEL TASK, the task as JSON (see measure.js). It goes
 * through the classes of node-llama-cpp's addon, below its API, so that a time covers llama_decode and little else. Choosing tokens is not
 * counted, in its favour.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { tokenIds } from './measure.js'
import { resident, sentence } from './process.mjs'

const BATCH = 512
const [modules, file, task] = process.argv.slice(2)

/** @param {string} folder  node_modules @param {string} file @param {import('./measure.js').Task} task */
async function measure(folder, file, { prompt, generated, threads }) {
  const { getLlama } = await import(pathToFileURL(join(folder, 'node-llama-cpp/dist/index.js')).href)
  const llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, logLevel: 'error' })
  const { version } = JSON.parse(readFileSync(join(folder, 'node-llama-cpp/package.json'), 'utf8'))
  const { AddonModel, AddonContext, AddonSampler } = llama._bindings
  const before = resident('self')
  const start = performance.now()
  const model = new AddonModel(file, { gpuLayers: 0, useMmap: true, addonExports: llama._bindings })
  if (!await model.init()) throw new Error('llama.cpp does not load the model')
  const context = new AddonContext(model, { contextSize: prompt + generated + 1, batchSize: BATCH, sequences: 1, threads, embeddings: false, flashAttention: 'auto' })
  if (!await context.init()) throw new Error('llama.cpp makes no context')
  context.setThreads(threads)
  const load_s = (performance.now() - start) / 1000
  const sampler = new AddonSampler(model)
  sampler.applyConfig({ temperature: 0 })

  /** Evaluates tokens; the index of the last one's logits. @param {number[]} ids @param {number} position */
  const evaluate = async (ids, position) => {
    context.initBatch(ids.length)
    const [index] = context.addToBatch(0, position, Uint32Array.from(ids), Uint32Array.of(ids.length - 1))
    await context.decodeBatch()
    return index
  }
  const run = async (/** @type {number[]} */ ids, /** @type {number} */ n) => {
    context.removeTokenCellsFromSequence(0, 0, -1)
    let t = performance.now(), index = 0
    for (let i = 0; i < ids.length; i += BATCH) index = await evaluate(ids.slice(i, i + BATCH), i)
    const prefill_tps = ids.length / (performance.now() - t) * 1000
    let spent = 0
    const tokens = []
    for (let i = 0; i < n; i++) {
      const token = await context.sampleToken(index, sampler)
      tokens.push(token)
      t = performance.now()
      index = await evaluate([token], ids.length + i)
      spent += performance.now() - t
    }
    return { prefill_tps, decode_tps: n / spent * 1000, tokens: tokens.slice(0, 8) }
  }
  await run(tokenIds(Math.min(64, prompt), 1), Math.min(8, generated))
  const speed = await run(tokenIds(prompt, 2), generated)
  return { load_s, ...speed, threads, program: `node-llama-cpp ${version}, llama.cpp ${llama.llamaCppRelease.release}`, memory: { before: before?.now, peak: resident('self')?.peak } }
}

try {
  console.log(JSON.stringify(await measure(modules, file, JSON.parse(task))))
  process.exit(0) // the addon's threads would keep it
} catch (error) {
  console.error(sentence(error))
  process.exit(1)
}
