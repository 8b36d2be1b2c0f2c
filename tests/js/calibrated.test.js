// Quantizing by a calibration text: GPTQ, AWQ and the search by measured importance, layer after layer; going on after an interruption.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, open, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { load } from '../../js/index.js'
import { memorySink, openCheckpoint, quantize } from '../../js/quantize/index.js'
import { supports } from '../../js/runtime.js'
import { tinyModel } from './tiny-model.js'

/** Layers of which some channels of the normed inputs are large, as in trained models. @type {Uint8Array} */
let ORIGINAL
const LAYERS = 3
const TEXT = readFileSync(new URL('../vectors/text.txt', import.meta.url), 'utf8')
const CALIBRATION = { text: TEXT, name: 'text.txt', samples: 6, ctx: 64 }

/** @type {string} */ let folder
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-calibrated-'))
  const random = /** @type {Uint8Array} */ (tinyModel({ n_layers: LAYERS, d_ff: 256, n_vocab: 384, n_ctx: 64, type: 'F16', tied: true }))
  const checkpoint = await openCheckpoint(random), sink = memorySink()
  await quantize({ ...checkpoint, async read(tensor, at, n) {
    const bytes = (await checkpoint.read(tensor, at, n)).slice()
    if (!/blk.*_norm/.test(tensor.name) || n < tensor.bytes) return bytes
    return new Uint8Array(new Float32Array(bytes.buffer).map((x, i) => (i % 16 === 5 ? 6 * x : x)).buffer)
  } }, sink, { type: 'F16', threads: 1 })
  ORIGINAL = await sink.bytes()
})
after(() => rm(folder, { recursive: true, force: true }))

/** @param {Uint8Array} bytes */
const hash = (bytes) => createHash('sha256').update(bytes).digest('hex')
/** @param {any} source @param {any} options */
async function inMemory(source, options) {
  const sink = memorySink(), result = await quantize(source, sink, { threads: 1, calibration: CALIBRATION, ...options })
  return { result, bytes: await sink.bytes() }
}

/** What the model says of the token behind a text. @param {any} source */
async function logits(source) {
  const model = await load(source, { threads: 1, floatActivations: true })
  const all = await model.logits(model.tokenize('Once upon a time there was a little fox who lived in the woods.'))
  await model.dispose()
  return all
}

/** Matrices of layers. @param {import('../../js/quantize/index.js').QuantizeResult} result */
const matrices = ({ tensors }) => tensors.filter((t) => t.name.startsWith('blk.') && t.shape.length > 1)

describe('methods', () => {
  test('GPTQ has less error in what matrices give than the search, in each of them', async () => {
    for (const type of ['Q4_0', 'Q4_K']) {
      const { result } = await inMemory(ORIGINAL, { type, pure: true, method: 'gptq' })
      const all = matrices(result)
      assert.equal(all.length, 7 * LAYERS)
      for (const t of all) {
        assert.ok(t.weighted_error <= /** @type {number} */ (t.searched_error) * (1 + 1e-6), `${type} ${t.name}`)
        assert.ok(/** @type {any} */ (t).rows_search + /** @type {any} */ (t).rows_static + /** @type {any} */ (t).rows_groups === t.shape[1] && Number(t.damping) > 0.0099)
      }
      const mean = (/** @type {(t: any) => number} */ of) => all.reduce((n, t) => n + of(t), 0) / all.length
      assert.ok(mean((t) => t.weighted_error) < 0.8 * mean((t) => t.searched_error), `${type} ${mean((t) => t.weighted_error)} ${mean((t) => t.searched_error)}`)
      assert.deepEqual(result.layers?.map((l) => l.layer), [0, 1, 2])
      assert.ok(result.layers?.every((l) => l.error > 0 && l.error < 0.1 && l.error_of_change > l.error))
      assert.deepEqual(result.calibration, { name: 'text.txt', samples: 6, n_ctx: 64 })
    }
  })
  test('AWQ moves scales between matrices without changing what the model computes', async () => {
    const { result, bytes } = await inMemory(ORIGINAL, { type: 'Q8_0', pure: true, method: 'awq' })
    const scaled = result.tensors.filter((t) => /_norm\.weight$/.test(t.name) && !t.copied)
    assert.ok(scaled.length > 0, 'scales were moved somewhere')
    const plain = await inMemory(ORIGINAL, { type: 'Q8_0', pure: true, method: 'search', calibration: undefined })
    const [a, b, c] = [await logits(ORIGINAL), await logits(bytes), await logits(plain.bytes)]
    const far = (/** @type {Float32Array} */ x, /** @type {Float32Array} */ y) => Math.max(...x.map((value, i) => Math.abs(value - y[i])))
    assert.ok(far(a, b) < 2 * far(a, c), `${far(a, b)} ${far(a, c)}`)
  })
  test('AWQ lowers the error of the matrices that it scales', async () => {
    const { result } = await inMemory(ORIGINAL, { type: 'Q4_0', pure: true, method: 'awq' })
    const scaled = matrices(result).filter((t) => t.awq_gain !== undefined)
    assert.ok(scaled.length > 0 && scaled.every((t) => Number(t.awq_gain) > 0))
  })
  test('the search weights by what the text measures', async () => {
    const [plain, measured] = [await inMemory(ORIGINAL, { type: 'Q4_K', pure: true, calibration: undefined }), await inMemory(ORIGINAL, { type: 'Q4_K', pure: true })]
    assert.notEqual(hash(plain.bytes), hash(measured.bytes))
    const down = (/** @type {any} */ r) => r.result.tensors.filter((/** @type {any} */ t) => t.name.endsWith('ffn_down.weight'))
    for (const [i, t] of down(measured).entries()) assert.ok(t.weighted_error < t.error && t.error >= down(plain)[i].error, t.name)
  })
  test('HQQ needs no text, and its file runs', async () => {
    const { result, bytes } = await inMemory(ORIGINAL, { type: 'Q4_1', pure: true, method: 'hqq', calibration: undefined })
    assert.ok(matrices(result).every((t) => t.error > 0 && t.error < 0.05))
    assert.notEqual(hash(bytes), hash((await inMemory(ORIGINAL, { type: 'Q4_1', pure: true, method: 'rtn', calibration: undefined })).bytes))
    assert.ok((await logits(bytes)).every(Number.isFinite))
  })
  test('a head of its own is encoded by what it is multiplied with', async () => {
    const source = tinyModel({ n_layers: 1, d_ff: 256, n_vocab: 384, n_ctx: 64, type: 'F16' })
    const { result } = await inMemory(source, { type: 'Q4_0', method: 'gptq', outputTensorType: 'Q4_0' })
    const head = result.tensors.find((t) => t.name === 'output.weight')
    assert.ok(head && Number(head.searched_error) > 0 && head.weighted_error <= Number(head.searched_error))
  })
  test('the file is the same for any number of threads and every variant', async () => {
    const options = { type: 'Q4_K_M', method: 'gptq', gptq: { alpha: 0.25 } }, { bytes } = await inMemory(ORIGINAL, options)
    for (const variant of /** @type {const} */ (['simd128', 'relaxed']).filter(supports)) {
      assert.equal(hash((await inMemory(ORIGINAL, { ...options, variant, threads: 2 })).bytes), hash(bytes), variant)
    }
    assert.notEqual(hash((await inMemory(ORIGINAL, { ...options, gptq: {} })).bytes), hash(bytes), 'what the layers before lost is made up for')
  })
})

describe('interrupted', () => {
  const options = /** @type {const} */ ({ type: 'Q4_0', method: 'gptq', calibration: CALIBRATION })
  /** @type {string} */ let whole
  before(async () => { whole = hash((await inMemory(ORIGINAL, options)).bytes) })

  /** Gives up in a layer. @param {string} path @param {any} [more] */
  async function giveUp(path, more) {
    const controller = new AbortController()
    await assert.rejects(quantize(ORIGINAL, path, { ...options, ...more, signal: controller.signal, onProgress: ({ tensor }) => { if (tensor.startsWith('blk.2.')) controller.abort() } }), { code: 'E_ABORTED' })
    assert.ok(!existsSync(path) && existsSync(`${path}.part.state`))
  }

  test('a run goes on with the layer it stood in, to the same file, also with other threads', async () => {
    const path = join(folder, 'resumed.gguf')
    await giveUp(path, { threads: 1 })
    const seen = /** @type {string[]} */ ([])
    const result = await quantize(ORIGINAL, path, { ...options, threads: 2, onProgress: ({ tensor }) => seen.push(tensor) })
    assert.ok(!seen.includes('layer 1') && seen.includes('layer 2'))
    assert.ok(result.resumed > 0.2, String(result.resumed))
    assert.equal(hash(await readFile(path)), whole)
    assert.deepEqual(result.layers?.map((l) => l.layer), [0, 1, 2])
    assert.deepEqual(result.tensors.map((t) => [t.name, t.error, t.damping]), (await inMemory(ORIGINAL, options)).result.tensors.map((t) => [t.name, t.error, t.damping]))
    assert.ok(!existsSync(`${path}.part.state`) && !existsSync(`${path}.part.jsonl`))
  })
  test('with AWQ, which also changes norms, likewise', async () => {
    const path = join(folder, 'awq.gguf')
    await giveUp(path, { method: 'awq' })
    assert.ok((await quantize(ORIGINAL, path, { ...options, method: 'awq' })).resumed > 0)
    assert.equal(hash(await readFile(path)), hash((await inMemory(ORIGINAL, { ...options, method: 'awq' })).bytes))
  })
  test('state that was damaged is not believed', async () => {
    const path = join(folder, 'damaged.gguf')
    await giveUp(path)
    const { size } = await stat(`${path}.part.state`), state = await open(`${path}.part.state`, 'r+')
    await state.write(Uint8Array.of(1, 2, 3), 0, 3, 1000)
    await state.write(Uint8Array.of(1, 2, 3), 0, 3, size - 1000)
    await state.close()
    const seen = /** @type {string[]} */ ([])
    await quantize(ORIGINAL, path, { ...options, onProgress: ({ tensor }) => seen.push(tensor) })
    assert.ok(seen.includes('layer 0'))
    assert.equal(hash(await readFile(path)), whole)
  })
  test('another text begins anew', async () => {
    const path = join(folder, 'other.gguf')
    await giveUp(path)
    const result = await quantize(ORIGINAL, path, { ...options, calibration: { ...CALIBRATION, text: TEXT.slice(1000) } })
    assert.equal(result.resumed, 0)
    assert.match(result.notes.join(), /begins anew/)
  })
})

test('an estimate comes before the work, and tells more memory and time for more samples', async () => {
  const of = async (/** @type {number} */ samples) => (await quantize(ORIGINAL, undefined, {
    type: 'Q4_0', method: 'gptq', dryRun: true, threads: 1, calibration: { ...CALIBRATION, text: TEXT.repeat(20), samples },
  })).estimate
  const [few, many] = [await of(4), await of(64)]
  assert.equal(many.memory_bytes - few.memory_bytes, 60 * 64 * 256 * 4)
  assert.ok(many.seconds > few.seconds)
})

test('options that do not go together are refused', async () => {
  for (const [options, message] of /** @type {[any, RegExp][]} */ ([
    [{ method: 'gptq', calibration: undefined }, /gptq needs a calibration text/], [{ method: 'rtn' }, /weights alone/], [{ method: 'search', gptq: {} }, /another one/],
    [{ method: 'search', imatrix: { entries: new Map(), datasets: [], chunks: 0, chunkSize: 0 } }, /one of them/], [{ method: 'gptq', gptq: { damping: 0 } }, /damping/],
    [{ method: 'gptq', gptq: { alpha: 2 } }, /alpha/], [{ method: 'gptq', gptq: { order: 'x' } }, /order/], [{ method: 'gptq', calibration: { text: 'a' } }, /calibration text has/],
    [{ method: 'gptq', calibration: { text: 7 } }, /string/],
  ])) await assert.rejects(inMemory(ORIGINAL, { type: 'Q4_0', ...options }), { code: 'E_ARGUMENT', message })
  const { tensors } = await openCheckpoint(ORIGINAL)
  const path = join(folder, 'none.gguf')
  await assert.rejects(quantize({ name: 'x', pairs: [], tensors, read: async () => new Uint8Array(0), close: async () => {} }, path, { type: 'Q4_0', method: 'gptq', calibration: CALIBRATION }))
  assert.ok(!existsSync(path))
})
