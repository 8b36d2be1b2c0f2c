// Perplexity and divergence: against figures computed by tests/reference/llama.py (tests/vectors/perplexity.json).
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { perplexity } from '../../js/evaluate.js'
import { load } from '../../js/index.js'
import { shared } from './shared.js'
import { tinyModel } from './tiny-model.js'

const vectors = JSON.parse(readFileSync(new URL('../vectors/perplexity.json', import.meta.url), 'utf8'))
const text = readFileSync(new URL('../vectors/text.txt', import.meta.url), 'utf8')
const sha256 = (/** @type {string | Uint8Array} */ data) => createHash('sha256').update(data).digest('hex')

/** Relative difference. @param {number} a @param {number} b */
const off = (a, b) => Math.abs(a - b) / b

describe('perplexity', () => {
  for (const { model: options, sha256: hash, ppl, tokens, ids } of vectors.cases) {
    test(`agrees with the reference: ${JSON.stringify(options)}`, async () => {
      const bytes = tinyModel(options)
      assert.equal(sha256(/** @type {Uint8Array} */ (bytes)), hash)
      const model = await load(/** @type {Uint8Array} */ (bytes))
      assert.equal(model.tokenize(text).length, ids)
      const r = await perplexity(model, text, { n_ctx: vectors.n_ctx })
      await model.dispose()
      assert.equal(r.tokens, tokens)
      assert.ok(off(r.ppl, ppl) < 1e-4, `${r.ppl}, the reference has ${ppl}`) // what single precision costs
    })
  }

  const { model_sha256, text_sha256, n_ctx, chunks, ppl, tokens } = vectors.stories
  const files = [shared('data/models/stories260K.gguf'), shared('data/text/tinystories-2MiB.txt')]
  const missing = files.find((file) => !existsSync(file))
  test('agrees with the reference: a trained model on real text', { skip: missing && `needs ${missing}` }, async () => {
    const [bytes, stories] = files.map((file) => readFileSync(file))
    assert.deepEqual([sha256(bytes), sha256(stories)], [model_sha256, text_sha256])
    const model = await load(bytes)
    const r = await perplexity(model, stories.toString('utf8'), { n_ctx, chunks })
    await model.dispose()
    assert.equal(r.tokens, tokens)
    assert.ok(off(r.ppl, ppl) < 1e-4, `${r.ppl}, the reference has ${ppl}`)
  })

  test('a model is at no distance from itself, and at some from its quantized form', async () => {
    const options = { vocab: /** @type {const} */ ('spm'), n_layers: 1 }
    const same = await load(/** @type {Uint8Array} */ (tinyModel(options)))
    const again = await load(/** @type {Uint8Array} */ (tinyModel(options)))
    const zero = await perplexity(same, text, { n_ctx: 64, chunks: 4, against: again })
    assert.deepEqual(zero.kld, { mean: 0, error: 0, median: 0, p90: 0, p95: 0, p99: 0, p999: 0, max: 0, kind: 'exact', lower_bound: 0 })
    assert.equal(zero.top1_agreement, 1)
    assert.equal(zero.ref_ppl, zero.ppl)
    const other = await load(/** @type {Uint8Array} */ (tinyModel({ ...options, seed: 2 })))
    const far = await perplexity(other, text, { n_ctx: 64, chunks: 4, against: again })
    assert.ok(far.kld && far.kld.median > 0.1 && far.kld.median <= far.kld.p99 && far.kld.p99 <= far.kld.max && far.kld.mean < far.kld.max)
    assert.ok((far.top1_agreement ?? 1) < 0.5)
    await Promise.all([same, again, other].map((m) => m.dispose()))
  })

  test('says what does not fit', async () => {
    const model = await load(/** @type {Uint8Array} */ (tinyModel({ vocab: 'spm', n_layers: 1 })))
    await assert.rejects(perplexity(model, 'short', { n_ctx: 64 }), /needs a longer one/)
    await assert.rejects(perplexity(model, text, { n_ctx: 512 }), /do not fit into a context of 256/)
    const other = await load(/** @type {Uint8Array} */ (tinyModel({ n_vocab: 384, n_layers: 1 })))
    await assert.rejects(perplexity(model, text, { n_ctx: 64, against: other }), /same one can be compared/)
    await Promise.all([model.dispose(), other.dispose()])
  })
})
