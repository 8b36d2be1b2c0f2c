/**
 * Greedy text of native llama.cpp: node native-text.js NODE_MODULES MODEL PROMPT N [BOS] prints {prompt, tokens} as JSON. A process of its own, since the
 * addon of node-llama-cpp keeps threads.
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [modules, file, text, n, bos] = process.argv.slice(2)
const { getLlama } = await import(pathToFileURL(join(modules, 'node-llama-cpp/dist/index.js')).href)
const llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, logLevel: 'error' })
const { AddonModel, AddonContext, AddonSampler } = llama._bindings
const model = new AddonModel(file, { gpuLayers: 0, useMmap: true, addonExports: llama._bindings })
if (!await model.init()) throw new Error('llama.cpp does not load the model')
const context = new AddonContext(model, { contextSize: 512, batchSize: 512, sequences: 1, threads: 1, embeddings: false, flashAttention: false })
if (!await context.init()) throw new Error('llama.cpp makes no context')
const sampler = new AddonSampler(model)
sampler.applyConfig({ temperature: 0 })

const prompt = [...(bos === undefined ? [] : [Number(bos)]), ...model.tokenize(text, false)], tokens = []
let position = 0
for (let next = prompt; tokens.length < Number(n); next = [tokens[tokens.length - 1]]) {
  context.initBatch(next.length)
  const [index] = context.addToBatch(0, position, Uint32Array.from(next), Uint32Array.of(next.length - 1))
  await context.decodeBatch()
  position += next.length
  tokens.push(await context.sampleToken(index, sampler))
}
console.log(JSON.stringify({ prompt, tokens }))
process.exit(0)
