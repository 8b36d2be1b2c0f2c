// Log-probabilities against native llama.cpp (tests/vectors/logits.json), for every tensor type and architecture, in every variant that this
// engine runs.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { load } from '../../js/index.js'
import { supports } from '../../js/runtime.js'
import { tinyModel } from './tiny-model.js'

const { tokens, cases } = JSON.parse(readFileSync(new URL('../vectors/logits.json', import.meta.url), 'utf8'))
const VARIANTS = ['simd128', 'relaxed'].filter(supports)

/** Differences of log-probability to a reference's top tokens, over all positions. */
function compare(positions, reference) {
  let max = 0, squares = 0, n = 0
  reference.forEach((top, i) => {
    for (const [id, logprob] of top) {
      const d = Math.abs(positions[i][id] - logprob)
      max = Math.max(max, d)
      squares += d * d
      n++
    }
  })
  return { max, rms: Math.sqrt(squares / n) }
}

async function logprobs(bytes, options) {
  const model = await load(bytes, options)
  const all = []
  await model.visitLogits(tokens, undefined, (position, i, session) => {
    all[position] = Array.from({ length: model.tokenizer.n_vocab }, (_, id) => session.logprob(i, id))
  })
  await model.dispose()
  return all
}

for (const { model, sha256, quantized, exact } of cases) {
  const name = Object.entries(model).filter(([key]) => !['n_layers', 'n_vocab'].includes(key)).map(([k, v]) => `${k} ${JSON.stringify(v)}`).join(', ')
  test(`log-probabilities: ${name}`, async () => {
    const bytes = tinyModel(model)
    assert.equal(createHash('sha256').update(bytes).digest('hex'), sha256, 'the generator must give the file the references were made with')
    let first
    for (const variant of VARIANTS) {
      // Multiplying by floats. What remains are roundings that llama.cpp makes and we do not: it also rounds queries and attention weights
      // to f16. The weights' own noise models amplify it more or less.
      const float = compare(await logprobs(bytes, { variant, floatActivations: true }), exact)
      assert.ok(float.max < (model.type && model.type !== 'F32' ? 4e-3 : 2e-3) && float.rms < 1e-3, `float activations are ${float.max} off, ${float.rms} rms`)
      // With int8 activations: the noise must be what llama.cpp's own int8 activations cost on the same file.
      const ours = await logprobs(bytes, { variant })
      const noise = compare(ours, exact), theirs = compare(quantized.map((top) => Object.fromEntries(top)).map((p, i) => ({ ...Object.fromEntries(exact[i]), ...p })), exact)
      assert.ok(noise.rms < 1.3 * theirs.rms + 2e-3, `int8 activations cost ${noise.rms} rms, llama.cpp's ${theirs.rms}`)
      first ??= ours
      assert.deepEqual(ours, first, `${variant} differs from ${VARIANTS[0]}`)
    }
  })
}
