/**
 * What native llama.cpp finds most probable: node native_top_child.mjs NODE_MODULES JSON, which is [{file, tokens}, …]. Prints of each file the two
 * greatest logits behind every token, [[id, logit], [id, logit]], as a line of JSON. A process of its own, since the addon keeps threads.
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { sentence } from './process.mjs'

const [modules, jobs] = process.argv.slice(2)

/** @param {any} bindings @param {string} file @param {number[]} tokens */
async function topTwo({ AddonModel, AddonContext, AddonSampler, ...rest }, file, tokens) {
  const model = new AddonModel(file, { gpuLayers: 0, useMmap: true, addonExports: { AddonModel, AddonContext, AddonSampler, ...rest } })
  if (!await model.init()) throw new Error(`llama.cpp does not load ${file}`)
  const context = new AddonContext(model, { contextSize: tokens.length + 1, batchSize: tokens.length, sequences: 1, threads: 1, embeddings: false, flashAttention: false })
  if (!await context.init()) throw new Error('llama.cpp makes no context')
  const sampler = new AddonSampler(model)
  sampler.applyConfig({ temperature: 0 })
  context.initBatch(tokens.length)
  const indexes = context.addToBatch(0, 0, Uint32Array.from(tokens), Uint32Array.from(tokens.keys()))
  await context.decodeBatch()
  const all = []
  for (const index of indexes) {
    const [, , , list] = await context.sampleToken(index, sampler, false, false, true) // pairs of token and logit
    let best = [-1, -Infinity], second = best
    for (let k = 0; k < list.length; k += 2) {
      if (list[k + 1] > best[1]) [best, second] = [[list[k], list[k + 1]], best]
      else if (list[k + 1] > second[1]) second = [list[k], list[k + 1]]
    }
    all.push([best, second])
  }
  await context.dispose()
  await model.dispose()
  return all
}

try {
  const { getLlama } = await import(pathToFileURL(join(modules, 'node-llama-cpp/dist/index.js')).href)
  const llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, logLevel: 'error' })
  for (const { file, tokens } of JSON.parse(jobs)) console.log(JSON.stringify(await topTwo(llama._bindings, file, tokens)))
  process.exit(0) // the addon's threads would keep it
} catch (error) {
  console.error(sentence(error))
  process.exit(1)
}
