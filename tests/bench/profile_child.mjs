/** One process of profile.mjs: MODEL FOLDER THREADS PROMPT TOKENS. Prints where the calling thread was, as JSON. */
import { Session } from 'node:inspector/promises'
import { pathToFileURL } from 'node:url'
import { load } from '../../js/index.js'

const [file, wasm, threads, prompt, tokens] = process.argv.slice(2)
const model = await load(file, { wasm: pathToFileURL(`${wasm}/`), variant: 'relaxed', threads: Number(threads), contextLength: Number(prompt) + Number(tokens) + 8 })
const n_vocab = model.tokenizer.size ?? 1000
let salt = 0
/** Of its own each time, so that nothing is taken from the session. */
const words = (/** @type {number} */ n) => Array.from({ length: n }, (_, i) => (i * 7919 + ++salt * 31) % Math.min(n_vocab, 5000))
const session = new Session()
session.connect()
await session.post('Profiler.enable')
await session.post('Profiler.setSamplingInterval', { interval: 200 })

/** @param {number} rounds @param {number} n  tokens of prompt @param {number} most  tokens to generate */
async function sample(rounds, n, most) {
  const once = () => model.completions.create({ prompt: words(n), max_tokens: most, temperature: 0.8, seed: 1, ignore_eos: true })
  await once() // warms up
  await session.post('Profiler.start')
  const start = performance.now()
  for (let i = 0; i < rounds; i++) await once()
  const ms = (performance.now() - start) / rounds / Math.max(n, most)
  const { profile } = await session.post('Profiler.stop')
  return { ms, frames: profile.nodes.filter((node) => node.hitCount).map(({ callFrame, hitCount }) => ({ name: callFrame.functionName, url: callFrame.url, hits: hitCount })) }
}
const result = { prompt: await sample(3, Number(prompt), 1), token: await sample(2, 1, Number(tokens)) }
await model.dispose()
process.stdout.write(JSON.stringify(result))
process.exit(0)
