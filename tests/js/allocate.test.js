// Types under a budget: the best choice there is, what is asked for by name, what is refused.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { memorySink, openCheckpoint, quantize } from '../../js/quantize/index.js'
import { allocate, leastBytes } from '../../js/quantize/allocate.js'
import { random, tinyModel } from './tiny-model.js'

/** @typedef {import('../../js/quantize/allocate.js').Option} Option */

const SMALL = { n_layers: 2, d_ff: 512, n_vocab: 384, n_ctx: 64, type: 'F16' }

/** The least loss within a budget, by trying everything. @param {Option[][]} items @param {number} budget */
function bruteForce(items, budget) {
  let best = Infinity
  const visit = (/** @type {number} */ i, /** @type {number} */ bytes, /** @type {number} */ loss) => {
    if (bytes > budget) return
    if (i === items.length) best = Math.min(best, loss)
    else for (const o of items[i]) visit(i + 1, bytes + o.bytes, loss + o.loss)
  }
  visit(0, 0, 0)
  return best
}

/** @param {Option[][]} items @param {number[]} choice */
const sums = (items, choice) => choice.reduce((sum, k, i) => ({ bytes: sum.bytes + items[i][k].bytes, loss: sum.loss + items[i][k].loss }), { bytes: 0, loss: 0 })

describe('allocation', () => {
  test('finds what trying everything finds, for every budget', () => {
    const { below, uniform } = random(1)
    let cases = 0
    for (let round = 0; round < 150; round++) {
      const items = Array.from({ length: 1 + below(6) }, () => Array.from({ length: 1 + below(5) }, () => ({ bytes: below(round % 3 ? 40 : 6), loss: round % 2 ? uniform() : below(8) })))
      const least = leastBytes(items), most = items.reduce((n, options) => n + Math.max(...options.map((o) => o.bytes)), 0)
      for (const budget of [least, most, most + 5, ...Array.from({ length: 6 }, () => least + below(most - least + 1))]) {
        const a = allocate(items, budget), real = sums(items, a.choice), best = bruteForce(items, budget)
        assert.equal(real.bytes, a.bytes)
        assert.ok(a.bytes <= budget && a.exact)
        assert.ok(Math.abs(a.loss - best) <= 1e-9 && Math.abs(real.loss - best) <= 1e-9, `${a.loss} ${real.loss} ${best}`)
        cases++
      }
    }
    assert.ok(cases > 1000)
  })
  test('hundreds of tensors with types as they are: the choice is proven, fills the budget, and is below the bound of prices by next to nothing', () => {
    const { uniform, below } = random(2), types = [[4.25, 0.006], [4.5, 0.0051], [5.5, 0.0013], [6.5625, 0.0003], [8.5, 0.00002]]
    const items = Array.from({ length: 560 }, () => {
      const blocks = 100 * (1 + below(60)), a = Math.exp(4 * uniform())
      return types.map(([bits, error]) => ({ bytes: blocks * bits * 32, loss: a * error * (0.8 + 0.4 * uniform()) }))
    })
    const budget = Math.floor(leastBytes(items) * 1.13), { bytes, loss, exact, bound, choice } = allocate(items, budget)
    assert.ok(exact && bound === loss && choice.length === 560)
    assert.ok(bytes <= budget && budget - bytes < 0.001 * budget)
  })
  test('equal options do not matter: the same choice however often they stand there', () => {
    const items = [[{ bytes: 3, loss: 1 }, { bytes: 3, loss: 1 }, { bytes: 5, loss: 0 }, { bytes: 9, loss: 0 }], [{ bytes: 0, loss: 0 }]]
    assert.deepEqual(allocate(items, 4).choice, [0, 0])
    assert.deepEqual(allocate(items, 100).choice, [2, 0])
  })
  test('refuses budgets below the least, and options that are none', () => {
    assert.throws(() => allocate([[{ bytes: 3, loss: 1 }]], 2), { code: 'E_ARGUMENT', message: /2 bytes, the least that is possible 3/ })
    assert.throws(() => allocate([[]], 2), { code: 'E_ARGUMENT' })
    assert.throws(() => allocate([[{ bytes: 3, loss: NaN }]], 9), { code: 'E_ARGUMENT' })
    assert.throws(() => allocate([[{ bytes: 3, loss: 1 }]], NaN), { code: 'E_ARGUMENT' })
  })
})

/** @param {any} options @param {any} [model] */
async function mixed(options, model = SMALL) {
  const sink = memorySink()
  const result = await quantize(/** @type {any} */ (tinyModel(model)), sink, { threads: 1, method: 'rtn', ...options })
  return { result, bytes: await sink.bytes(), of: Object.fromEntries(result.tensors.map((t) => [t.name.replace('.weight', ''), t.to])) }
}

describe('targets', () => {
  test('the file is as large as asked for or a little smaller, and its tensors are of the candidates', async () => {
    const { file_bytes: least } = (await mixed({ type: 'IQ4_XS', pure: true })).result
    for (const factor of [1, 1.02, 1.1, 1.35, 2.05]) {
      const target = Math.floor(least * factor), { result, bytes, of } = await mixed({ target: { bytes: target } })
      assert.ok(bytes.length <= target && bytes.length === result.file_bytes && result.mix?.bytes === bytes.length, `${bytes.length} of ${target}`)
      for (const { from, to } of result.tensors) assert.ok(from === 'F32' ? to === 'F32' : result.mix?.candidates.includes(to), to)
      assert.equal(result.type, 'MIXED')
      if (factor === 1) assert.deepEqual([...new Set(Object.values(of))].sort(), ['F32', 'IQ4_XS'])
      if (factor === 2.05) assert.deepEqual([...new Set(Object.values(of))].sort(), ['F32', 'Q8_0'])
      await (await openCheckpoint(/** @type {any} */ (bytes))).close()
    }
  })
  test('bits per weight are kept over all tensors, and are nearly used up', async () => {
    for (const bpw of [5, 6, 7]) {
      const { result } = await mixed({ target: { bpw } })
      assert.ok(result.bpw <= bpw && result.bpw > bpw - 0.25, `${result.bpw}`)
    }
  })
  test('types asked for by name are kept, and the rest makes room for them', async () => {
    const { result, of } = await mixed({ target: { bpw: 6.5 }, tensorTypes: [['blk.0.ffn_down', 'F16'], ['attn_v', 'q8_0']], tokenEmbeddingType: 'Q4_0', candidates: ['q4_k', 'Q6_K', 'IQ4_XS'] })
    assert.deepEqual([of['blk.0.ffn_down'], of['blk.0.attn_v'], of['blk.1.attn_v'], of.token_embd], ['F16', 'Q8_0', 'Q8_0', 'Q4_0'])
    assert.ok(result.bpw <= 6.5)
    assert.ok(result.tensors.every((t) => ['F32', 'F16', 'Q8_0', 'Q4_0', 'Q4_K', 'Q6_K', 'IQ4_XS'].includes(t.to)))
  })
  test('rows that are no whole blocks get the candidates that divide them', async () => {
    const { of } = await mixed({ target: { bpw: 5 } }, { ...SMALL, d_model: 96, n_heads: 3, n_kv_heads: 1, head_dim: 32 })
    assert.ok(['IQ4_NL', 'Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0'].includes(of['blk.0.attn_q']), of['blk.0.attn_q'])
    const { of: others, result } = await mixed({ target: { bpw: 12 }, candidates: ['Q4_K'] }, { ...SMALL, d_model: 96, n_heads: 3, n_kv_heads: 1, head_dim: 32 })
    assert.equal(others['blk.0.attn_q'], 'Q5_0')
    assert.ok(result.notes.some((text) => /blk\.0\.attn_q\.weight becomes Q5_0/.test(text)))
  })
  test('a target that is too small names the least that is possible, which then is enough', async () => {
    /** @type {Error} */ let error = new Error()
    await mixed({ target: { bytes: 1000 } }).catch((e) => { error = e })
    const least = Number(/possible with .*? is (\d+) bytes/.exec(error.message)?.[1])
    assert.equal((await mixed({ target: { bytes: least } })).bytes.length, least)
    await assert.rejects(mixed({ target: { bytes: least - 1 } }), { code: 'E_ARGUMENT' })
    await assert.rejects(mixed({ target: { bpw: 2 } }), { code: 'E_ARGUMENT', message: /target of 2 bits per weight is too small.*bits per weight; with Q2_K and Q3_K among the candidates it is/ })
    const [, bits] = /possible with .*? is ([\d.]+) bits per weight;/.exec(await mixed({ target: { bpw: 2 } }).catch((e) => e.message)) ?? []
    assert.ok((await mixed({ target: { bpw: Number(bits) } })).result.bpw <= Number(bits))
  })
  test('refuses what makes no sense', async () => {
    for (const [options, message] of /** @type {[any, RegExp][]} */ ([
      [{ target: {} }, /a size or a number of bits/], [{ target: { bytes: 5, bpw: 4 } }, /give one of them/], [{ target: { bpw: NaN } }, /above 0/], [{ target: { bpw: 5 }, type: 'Q4_0' }, /leave type/],
      [{ target: { bpw: 5 }, candidates: ['Q9_9'] }, /no type 'Q9_9'/], [{ target: { bpw: 5 }, candidates: [] }, /name no type/], [{ type: 'Q4_0', candidates: ['Q4_0'] }, /for a target/],
      [{ target: { bpw: 5 }, tensorTypes: [['(', 'Q4_0']] }, /regular expression/], [{ target: { bpw: 5 }, sensitivity: { kind: 'other' } }, /not the analysis/],
    ])) await assert.rejects(mixed(options), (/** @type {any} */ e) => /^E_(ARGUMENT|FORMAT)$/.test(e.code) && message.test(e.message), JSON.stringify(options))
    await assert.rejects(mixed({ target: { bpw: 5 } }, { ...SMALL, type: 'Q8_0' }), { code: 'E_ARGUMENT', message: /quantizing again/ })
  })
})
