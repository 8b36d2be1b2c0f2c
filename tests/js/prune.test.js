// Models with less in them, and models smoothed: that they compute what they should.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { load } from '../../js/index.js'
import { memorySink, openCheckpoint, prune, quantize } from '../../js/quantize/index.js'
import { quantizeEngine } from '../../js/quantize/engine.js'
import { divergenceWithout, withoutLayers } from '../../js/quantize/layers.js'
import { maskRows } from '../../js/quantize/masks.js'
import { lookUp } from '../../js/quantize/pairs.js'
import { scaled } from '../../js/quantize/smooth.js'
import { random, tinyModel } from './tiny-model.js'

const run = promisify(execFile)
const CLI = fileURLToPath(new URL('../../js/cli.js', import.meta.url))
const SHAPE = { n_layers: 3, d_model: 128, d_ff: 128, n_heads: 2, n_kv_heads: 1, head_dim: 64, n_vocab: 384, n_ctx: 64 }
/** @type {(Uint8Array)} */ const MODEL = /** @type {any} */ (tinyModel(/** @type {any} */ (SHAPE)))
const TEXT = (() => {
  const words = ['the', 'little', 'day', 'she', 'said', 'happy', 'once', 'upon', 'time', 'there', 'was', 'big', 'world', 'play', 'and', 'of'], r = random(5)
  return Array.from({ length: 1500 }, () => words[r.below(words.length)]).join(' ')
})()
const CALIBRATION = { text: TEXT, samples: 6, ctx: 48 }
const IDS = Array.from({ length: 40 }, (_, i) => (i * 37 + 11) % 380)

/** @typedef {import('../../js/quantize/checkpoint.js').Checkpoint} Checkpoint */

/** A model whose matrices are changed as they are read. @param {(name: string, w: Float32Array, cols: number) => void} change @returns {Promise<Checkpoint>} */
async function changed(change) {
  const checkpoint = await openCheckpoint(MODEL)
  return { ...checkpoint, async read(tensor, offset, length) {
    const bytes = (await checkpoint.read(tensor, 0, tensor.bytes)).slice()
    change(tensor.name, new Float32Array(bytes.buffer), tensor.shape[0])
    return bytes.subarray(offset, offset + length)
  } }
}

/** Layer 1 adds nothing. */
const idle = () => changed((name, w) => { if (/blk\.1\.(attn_output|ffn_down)/.test(name)) w.fill(0) })

/** @param {Uint8Array | Checkpoint} source @param {import('../../js/quantize/prune.js').PruneOptions} options */
async function pruned(source, options) {
  const sink = memorySink(), result = await prune(source, sink, { threads: 1, ...options })
  return { result, bytes: await sink.bytes() }
}

/** @param {Uint8Array | Checkpoint} source @param {Partial<import('../../js/quantize/quantize.js').QuantizeOptions>} [options] */
async function quantized(source, options) {
  const sink = memorySink()
  await quantize(source, sink, { threads: 1, method: 'rtn', type: 'F32', ...options })
  return sink.bytes()
}

/** Logits behind each of some beginnings. @param {Uint8Array} bytes @param {any} [options] @returns {Promise<Float32Array[]>} */
async function logits(bytes, options) {
  const model = await load(bytes, { threads: 1, ...options }), all = []
  for (const n of [1, 7, 40]) all.push(Float32Array.from(await model.logits(IDS.slice(0, n))))
  await model.dispose()
  return all
}

/** The greatest difference. @param {Float32Array[]} a @param {Float32Array[]} b */
const apart = (a, b) => Math.max(...a.flatMap((x, i) => Array.from(x, (v, j) => Math.abs(v - b[i][j]))))
/** The mean square. @param {Float32Array[]} a @param {Float32Array[]} b */
const square = (a, b) => a.reduce((sum, x, i) => sum + x.reduce((s, v, j) => s + (v - b[i][j]) ** 2, 0), 0)

describe('layers', () => {
  test('without a layer that adds nothing a model computes the same bits', async () => {
    const model = await idle(), { bytes, result } = await pruned(model, { removeLayers: [1] })
    assert.deepEqual(await logits(bytes), await logits(await quantized(model)))
    assert.deepEqual(result.removed, [1])
    const { pairs, tensors } = await openCheckpoint(bytes)
    assert.equal(lookUp(pairs, 'llama.block_count'), 2)
    assert.deepEqual([...new Set(tensors.map((t) => /^blk\.(\d)/.exec(t.name)?.[1]))].sort(), ['0', '1', undefined])
    assert.deepEqual(pairs.map((p) => p.key), model.pairs.map((p) => p.key))
  })
  test('those behind a removed one move up, with their weights', async () => {
    const whole = await openCheckpoint(MODEL), cut = withoutLayers(whole, [0])
    for (const end of ['attn_q.weight', 'ffn_norm.weight', 'ffn_down.weight']) {
      const [from, to] = [whole.tensors.find((t) => t.name === `blk.2.${end}`), cut.tensors.find((t) => t.name === `blk.1.${end}`)]
      assert.deepEqual(await cut.read(/** @type {any} */ (to), 128, 256), await whole.read(/** @type {any} */ (from), 128, 256))
    }
  })
  test('arrays with an item for each layer lose those of removed ones', async () => {
    const whole = await openCheckpoint(/** @type {any} */ (tinyModel(/** @type {any} */ ({ ...SHAPE, metadata: [['llama.of_layers', [9, 5], [7, 8, 9]], ['llama.other', [9, 5], [7, 8]]] }))))
    const { pairs } = withoutLayers(whole, [1])
    assert.deepEqual([[...lookUp(pairs, 'llama.of_layers')], [...lookUp(pairs, 'llama.other')]], [[7, 9], [7, 8]])
  })
  for (const importance of /** @type {const} */ (['divergence', 'influence'])) {
    test(`by ${importance} the layer that adds nothing goes first`, async () => {
      const { result } = await pruned(await idle(), { removeLayers: 1, importance, calibration: CALIBRATION })
      assert.deepEqual(result.removed, [1])
      const scores = /** @type {number[]} */ (result.importance?.scores)
      assert.ok(scores[1] < 1e-6 && scores[0] > 1e-3 && scores[2] > 1e-3, String(scores))
    })
  }
  test('the divergence that is told is that of the result, and grows with every layer', async () => {
    const { result, bytes } = await pruned(MODEL, { removeLayers: 2, calibration: CALIBRATION }), told = /** @type {any} */ (result.importance)
    assert.ok(bytes.length < MODEL.length)
    assert.ok(told.divergence > Math.min(...told.scores))
    const engine = await quantizeEngine({ threads: 1 })
    try {
      const [first] = [...result.removed].sort((/** @type {number} */ a, /** @type {number} */ b) => told.scores[a] - told.scores[b])
      const again = await divergenceWithout(engine, await openCheckpoint(MODEL), [first], CALIBRATION)
      assert.equal(again[/** @type {number} */ (result.removed.find((l) => l !== first))], told.divergence)
    } finally {
      engine.close()
    }
  })
})

describe('feed-forward columns', () => {
  test('without columns that add nothing a model computes the same, up to the order of sums', async () => {
    const half = await changed((name, w, cols) => { if (/ffn_down/.test(name)) for (let i = 0; i < w.length; i++) if (i % cols % 2) w[i] = 0 })
    for (const compensate of [true, false]) {
      const { bytes, result } = await pruned(half, { ffnWidth: 64, compensate, calibration: CALIBRATION })
      assert.ok(apart(await logits(bytes), await logits(await quantized(half))) < 1e-4)
      for (const l of result.layers) assert.ok(Number(l.ffn_loss) < 1e-9 && Number(l.error) < 1e-9, JSON.stringify(l))
      const { pairs, tensors } = await openCheckpoint(bytes)
      assert.equal(lookUp(pairs, 'llama.feed_forward_length'), 64)
      for (const [end, shape] of [['gate', [128, 64]], ['up', [128, 64]], ['down', [64, 128]]]) assert.deepEqual(tensors.find((t) => t.name === `blk.2.ffn_${end}.weight`)?.shape, shape)
    }
  })
  test('making up for what goes loses less', async () => {
    const [made, plain] = [await pruned(MODEL, { ffnWidth: 0.5, calibration: CALIBRATION }), await pruned(MODEL, { ffnWidth: 0.5, compensate: false, calibration: CALIBRATION })]
    made.result.layers.forEach((l, i) => {
      assert.ok(Number(l.ffn_loss) < 0.8 * Number(l.ffn_loss_plain))
      if (i > 0) return // what enters the others is not the same
      assert.ok(Number(l.ffn_loss) < 0.8 * Number(plain.result.layers[i].ffn_loss))
      assert.ok(Number(l.error) < 0.8 * Number(plain.result.layers[i].error))
    })
    assert.deepEqual(made.result.ffn, { before: 128, after: 64, compensated: true })
  })
  test('halves stay halves, and the result can be quantized and runs', async () => {
    const source = /** @type {any} */ (tinyModel(/** @type {any} */ ({ ...SHAPE, type: 'F16' }))), { bytes } = await pruned(source, { ffnWidth: 96, removeLayers: 1, sparsity: 0.25, calibration: CALIBRATION })
    const { tensors } = await openCheckpoint(bytes)
    assert.ok(tensors.every((t) => t.type === (t.shape.length > 1 ? 'F16' : 'F32')))
    const model = await load(await quantized(bytes, { type: 'Q4_0' }), { threads: 1 })
    assert.equal((await model.completions.create({ prompt: 'Hello', max_tokens: 3, ignore_eos: true })).usage.completion_tokens, 3)
    await model.dispose()
  })
})

describe('single weights', () => {
  test('of every row the smallest go, or those that matter least for what they are multiplied with', () => {
    const w = Float32Array.of(1, -2, 3, -4, 4, 3, 2, 1)
    assert.equal(maskRows(w, 4, 0.5), 4)
    assert.deepEqual([...w], [0, 0, 3, -4, 4, 3, 0, 0])
    const v = Float32Array.of(1, -2, 3, -4, 4, 3, 2, 1)
    assert.equal(maskRows(v, 4, 0.25, [100, 1, 1, 1]), 2)
    assert.deepEqual([...v], [1, 0, 3, -4, 4, 3, 2, 0])
    const equal = Float32Array.of(1, 1, 1, 1)
    assert.equal(maskRows(equal, 4, 0.5), 2)
    const gone = Float32Array.of(5, 1, 2, 3)
    assert.equal(maskRows(gone, 4, 0.34, undefined, Uint8Array.of(0, 1, 1, 1)), 1)
    assert.deepEqual([...gone], [5, 0, 2, 3])
  })
  test('what stays is as it was, the file keeps its size, and both are said', async () => {
    for (const method of /** @type {const} */ (['magnitude', 'wanda'])) {
      const { result, bytes } = await pruned(MODEL, { sparsity: 0.5, method, ...(method === 'wanda' && { calibration: CALIBRATION }) })
      assert.equal(bytes.length, MODEL.length)
      const [before, after] = [await openCheckpoint(MODEL), await openCheckpoint(bytes)]
      for (const tensor of before.tensors) {
        const [x, y] = await Promise.all([before, after].map(async (c) => new Float32Array((await c.read(tensor, 0, tensor.bytes)).slice().buffer)))
        const zeros = y.filter((v) => v === 0).length
        assert.equal(zeros, /^blk.*(attn|ffn)_(q|k|v|output|gate|up|down)\.weight/.test(tensor.name) ? x.length / 2 : 0, tensor.name)
        assert.ok(y.every((v, i) => v === 0 || v === x[i]))
      }
      assert.ok(result.notes.some((n) => /neither the file nor/.test(n)))
      assert.ok(result.layers.every((l) => l.zeros === 0.5))
    }
  })
})

describe('what cannot be', () => {
  test('is refused, with what to do', async () => {
    const small = /** @type {any} */ (tinyModel(/** @type {any} */ ({ ...SHAPE, type: 'Q8_0' })))
    for (const [options, message, source = MODEL] of /** @type {[any, RegExp, any?][]} */ ([
      [{}, /nothing is to go/], [{ removeLayers: 3, calibration: CALIBRATION }, /leave one at least/], [{ removeLayers: [0, 1, 2] }, /leave one at least/], [{ removeLayers: [3] }, /no layer 3/],
      [{ removeLayers: 1 }, /--calibration/], [{ ffnWidth: 0.5 }, /--calibration/], [{ sparsity: 0.5 }, /wanda needs a calibration/], [{ sparsity: 1, calibration: CALIBRATION }, /between 0 and 1/],
      [{ ffnWidth: 100, calibration: CALIBRATION }, /no multiple of 32.*take 96/], [{ ffnWidth: 256, calibration: CALIBRATION }, /up to 128/], [{ sparsity: 0.5, method: 'magic' }, /no method 'magic'/],
      [{ removeLayers: 1, importance: 'x', calibration: CALIBRATION }, /no importance 'x'/],
      [{ ffnWidth: 64, calibration: CALIBRATION }, /is Q8_0: prune the F16/, small], [{ sparsity: 0.5, method: 'magnitude' }, /is Q8_0/, small],
    ])) await assert.rejects(pruned(source, options), { code: 'E_ARGUMENT', message }, JSON.stringify(options))
    const { result } = await pruned(small, { removeLayers: [1] })
    assert.deepEqual(result.removed, [1], 'whole layers go from quantized models, too')
  })
})

describe('the command', () => {
  /** @type {string} */ let folder
  before(async () => { folder = await mkdtemp(join(tmpdir(), 'nibble-prune-')) })
  after(() => rm(folder, { recursive: true, force: true }))
  const nibble = (/** @type {string[]} */ ...args) => run(process.execPath, [CLI, 'prune', ...args]).then((r) => ({ ...r, code: 0 }), (error) => error)

  test('does what its options say', async () => {
    const { writeFile } = await import('node:fs/promises'), [model, text, out] = ['m.gguf', 't.txt', 'o.gguf'].map((name) => join(folder, name))
    await writeFile(model, MODEL)
    await writeFile(text, TEXT)
    const json = JSON.parse((await nibble(model, out, '--keep-layers', '2', '--ffn-width', '0.75', '--calibration', text, '--samples', '4', '--ctx', '48', '--threads', '1', '--json')).stdout)
    assert.deepEqual([json.removed.length, json.ffn.after, json.layers.length, existsSync(out)], [1, 96, 2, true])
    assert.match((await nibble(model, out, '--without', '0')).stdout, /removed layers: 0/)
    assert.deepEqual([(await nibble(model, out, '--without', '0', '--remove-layers', '1')).code, (await nibble(model, out, '--without', 'x')).code, (await nibble(model, model, '--without', '0')).code], [2, 2, 1])
  })
})

describe('smoothing', () => {
  test('leaves what a model of floats computes', async () => {
    for (const smooth of [0.5, 1]) assert.ok(apart(await logits(MODEL), await logits(await quantized(MODEL, { smooth, calibration: CALIBRATION }))) < 1e-4, String(smooth))
  })
  test('makes outliers cost less', async () => {
    const outliers = new Set([3, 40, 77]), model = await changed((name, w, cols) => {
      for (let i = 0; i < w.length; i++) {
        if (!outliers.has(i % cols)) continue
        if (/blk.*(attn|ffn)_norm/.test(name)) w[i] *= 100
        if (/blk.*(attn_[qkv]|ffn_gate|ffn_up)/.test(name)) w[i] /= 100
      }
    })
    const float = await logits(await quantized(model))
    assert.ok(apart(float, await logits(MODEL)) < 1e-3, 'the same function')
    const [plain, smooth] = [await quantized(model, { type: 'Q8_0', pure: true }), await quantized(model, { type: 'Q8_0', pure: true, smooth: 0.5, calibration: CALIBRATION })]
    assert.ok(square(float, await logits(smooth)) < 0.1 * square(float, await logits(plain)))
  })
  test('reads any range as a part of the whole', async () => {
    const checkpoint = await openCheckpoint(/** @type {any} */ (tinyModel(/** @type {any} */ ({ ...SHAPE, type: 'F16' })))), tensor = /** @type {any} */ (checkpoint.tensors.find((t) => t.name === 'blk.0.ffn_up.weight'))
    const both = scaled(checkpoint, new Map([[tensor.name, { cols: new Float32Array(128).fill(2), rows: Float32Array.from({ length: 128 }, (_, i) => 2 ** (i % 3)) }]]))
    const whole = await both.read(tensor, 0, tensor.bytes)
    for (const [at, n] of [[0, 7], [255, 3], [511, 1], [1001, 600], [5, 0]]) assert.deepEqual(Buffer.from(await both.read(tensor, at, n)), Buffer.from(whole.subarray(at, at + n)))
    assert.notDeepEqual(Buffer.from(whole), Buffer.from(await checkpoint.read(tensor, 0, tensor.bytes)))
  })
  test('of what cannot be is refused', async () => {
    for (const [options, message] of /** @type {[any, RegExp][]} */ ([[{ smooth: 2, calibration: CALIBRATION }, /from 0 to 1/], [{ smooth: 0.5 }, /calibration text/]])) {
      await assert.rejects(quantized(MODEL, { type: 'Q8_0', ...options }), { code: 'E_ARGUMENT', message })
    }
    const small = /** @type {any} */ (tinyModel(/** @type {any} */ ({ ...SHAPE, type: 'Q8_0' })))
    await assert.rejects(quantized(small, { type: 'Q4_0', smooth: 0.5, calibration: CALIBRATION, allowRequantize: true }), { code: 'E_ARGUMENT', message: /is Q8_0: smooth the F16/ })
  })
})
