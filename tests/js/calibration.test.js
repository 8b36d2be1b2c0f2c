// Calibration: samples of a text; statistics against those of tests/reference/imatrix.py (tests/vectors/imatrix.json); the same for any number of
// threads, variant, and after going on from saved activations; `nibble imatrix`.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { load } from '../../js/index.js'
import { Calibration, calibrationBytes, measureImatrix, SITES } from '../../js/quantize/calibration.js'
import { openCheckpoint } from '../../js/quantize/checkpoint.js'
import { quantizeEngine } from '../../js/quantize/engine.js'
import { readImatrix } from '../../js/quantize/imatrix.js'
import { chooseSamples } from '../../js/quantize/samples.js'
import { supports } from '../../js/runtime.js'
import { tinyModel } from './tiny-model.js'

const run = promisify(execFile)
const CLI = fileURLToPath(new URL('../../js/cli.js', import.meta.url))
const vectors = JSON.parse(readFileSync(new URL('../vectors/imatrix.json', import.meta.url), 'utf8'))
const text = readFileSync(new URL('../vectors/text.txt', import.meta.url), 'utf8')
const model = (/** @type {object} */ options) => /** @type {Uint8Array<ArrayBuffer>} */ (tinyModel(options)).buffer
const VARIANTS = /** @type {const} */ (['simd128', 'relaxed']).filter(supports)

/** @type {import('../../js/runtime.js').Engine} */ let engine
/** @type {string} */ let folder
before(async () => {
  engine = await quantizeEngine({ threads: 1 })
  folder = mkdtempSync(join(tmpdir(), 'nibble-calibration-'))
})
after(() => {
  engine.close()
  rmSync(folder, { recursive: true })
})

describe('samples', () => {
  const ids = Array.from({ length: 1000 }, (_, i) => (i * i + 7 * i) % 401)

  test('are spread over the text from its beginning to its end, and do not overlap', () => {
    const { samples, n_ctx, notes } = chooseSamples(ids, { samples: 9, ctx: 100, n_vocab: 401 })
    assert.equal(n_ctx, 100)
    assert.deepEqual([...samples[0]], ids.slice(0, 100))
    assert.deepEqual([...samples[8]], ids.slice(900))
    assert.equal(new Set(samples.map((s) => s.join())).size, 9)
    const starts = samples.map((_, i) => Math.floor(i * 900 / 8))
    samples.forEach((s, i) => assert.deepEqual([...s], ids.slice(starts[i], starts[i] + 100)))
    assert.ok(starts.every((s, i) => i === 0 || s - starts[i - 1] >= 100))
    assert.deepEqual(notes.filter((n) => /short/.test(n)), [])
  })

  test('begin with BOS where the model wants it, and have their length all the same', () => {
    const { samples, n_ctx } = chooseSamples(ids, { samples: 2, ctx: 64, bos: 399, n_vocab: 401 })
    assert.equal(n_ctx, 64)
    assert.deepEqual([...samples[0]], [399, ...ids.slice(0, 63)])
  })

  test('of a text too short are fewer, and of a shorter one shorter, and that is said', () => {
    const few = chooseSamples(ids, { samples: 256, ctx: 300, n_vocab: 401 })
    assert.equal(few.samples.length, 3)
    assert.match(few.notes.join(), /short: its 1000 tokens give 3 samples of 300 tokens, not 256 of 300/)
    const one = chooseSamples(ids, { samples: 4, ctx: 5000, bos: 0, n_vocab: 401 })
    assert.deepEqual([one.samples.length, one.n_ctx], [1, 1001])
    assert.match(one.notes.join(), /1 sample of 1001 tokens, not 4 of 5000/)
  })

  test('of a text that says little or repeats itself: that is said', () => {
    const dull = chooseSamples(Array.from({ length: 4000 }, (_, i) => i % 3), { samples: 4, ctx: 100, n_vocab: 32000 })
    assert.match(dull.notes.join('\n'), /only 3 of the model's 32000 tokens/)
    assert.match(dull.notes.join('\n'), /repeats itself: \d\d %/)
    const lively = chooseSamples(Array.from({ length: 4000 }, (_, i) => (i * 7919 + i * i * 31) % 4001), { samples: 4, ctx: 100, n_vocab: 32000 })
    assert.deepEqual(lively.notes, [])
  })

  test('cannot be made of nothing, or into nothing', () => {
    assert.throws(() => chooseSamples([1, 2], { samples: 1, ctx: 64, n_vocab: 9 }), { code: 'E_ARGUMENT', message: /has 2 tokens/ })
    assert.throws(() => chooseSamples(ids, { samples: 0, ctx: 64, n_vocab: 9 }), { code: 'E_ARGUMENT', message: /samples must be/ })
    assert.throws(() => chooseSamples(ids, { samples: 1, ctx: 2.5, n_vocab: 9 }), { code: 'E_ARGUMENT', message: /ctx must be/ })
  })
})

describe('statistics', () => {
  for (const { model: options, sha256, samples, entries } of vectors.cases) {
    test(`agree with the reference: ${JSON.stringify(options)}`, async () => {
      const bytes = model(options)
      assert.equal(createHash('sha256').update(new Uint8Array(bytes)).digest('hex'), sha256)
      const checkpoint = await openCheckpoint(bytes, { engine })
      const { imatrix } = await measureImatrix(engine, checkpoint, { tokens: samples, dataset: 'pseudo-random' })
      assert.deepEqual([...imatrix.entries.keys()].sort(), Object.keys(entries).sort())
      for (const [name, { n, sums, squares }] of Object.entries(entries)) {
        const entry = imatrix.entries.get(name)
        assert.ok(entry?.means)
        assert.deepEqual([...entry.counts], [n])
        const some = (/** @type {Float32Array} */ v) => [v.reduce((a, x) => a + x, 0), ...vectors.columns.map((/** @type {number} */ c) => v[c])]
        // What single precision costs: relative to the size of the vector, where sums cancel.
        some(entry.sums).forEach((x, i) => assert.ok(Math.abs(x - squares[i]) < 1e-4 * Math.abs(squares[i]), `${name}: ${x}, the reference has ${squares[i]}`))
        some(entry.means).forEach((x, i) => assert.ok(Math.abs(x - sums[i]) < 1e-4 * Math.sqrt(n * squares[i ? i : 0]), `${name}: ${x}, the reference has ${sums[i]}`))
      }
    })
  }

  test('are the same bits for every variant and number of threads', async () => {
    const bytes = model({ vocab: 'spm', type: 'Q4_0', n_layers: 1, d_model: 96, d_ff: 160, n_heads: 2, head_dim: 32 })
    const digests = new Set()
    for (const variant of VARIANTS) {
      for (const threads of [1, 2, 4]) {
        const other = await quantizeEngine({ variant, threads })
        const calibration = await Calibration.create(other, await openCheckpoint(bytes, { engine: other }), { text, samples: 3, ctx: 50, h: ['qkv', 'down'] })
        await calibration.embed()
        await calibration.begin(0)
        await calibration.gather({ advance: true })
        const hash = createHash('sha256')
        for (const site of /** @type {import('../../js/quantize/calibration.js').Site[]} */ (Object.keys(SITES))) {
          const s = calibration.statistics(site)
          if (!s) continue
          for (const [ptr, n] of [[s.sum, 8 * s.cols], [s.sumSq, 8 * s.cols], [s.maxAbs, 4 * s.cols], [s.h, s.h ? 4 * s.cols ** 2 : 0]]) hash.update(other.heap.bytes(ptr, n).slice())
        }
        for (let i = 0; i < 3; i++) hash.update(calibration.activations('main', i).slice())
        digests.add(hash.digest('hex'))
        calibration.free()
        other.close()
      }
    }
    assert.equal(digests.size, 1)
  })

  test('tell dead columns and inputs that are no numbers', async () => {
    const bytes = model({ vocab: 'spm', n_layers: 1, d_model: 64, d_ff: 64, n_heads: 2, head_dim: 32 })
    const checkpoint = await openCheckpoint(bytes, { engine })
    const norm = new Float32Array(64).fill(1), bad = Float32Array.from(norm)
    norm[3] = norm[60] = 0
    bad[5] = NaN
    const with_ = (/** @type {Float32Array} */ weights, /** @type {string} */ name) => ({ ...checkpoint, read: async (/** @type {any} */ tensor, /** @type {number} */ at, /** @type {number} */ n) =>
      tensor.name === name ? new Uint8Array(weights.buffer) : checkpoint.read(tensor, at, n) })
    const notes = (await measureImatrix(engine, with_(norm, 'blk.0.ffn_norm.weight'), { text, samples: 2, ctx: 40 })).notes
    assert.match(notes.join('\n'), /layer 0, gate_up: 2 of 64 columns are 0/)
    await assert.rejects(measureImatrix(engine, with_(bad, 'blk.0.attn_norm.weight'), { text, samples: 2, ctx: 40 }), { code: 'E_FORMAT', message: /NaN or an infinity/ })
  })
})

describe('layer by layer', () => {
  const shape = { vocab: 'spm', n_layers: 3, d_model: 64, d_ff: 96, n_heads: 2, n_kv_heads: 1, head_dim: 32, n_vocab: 300 }
  const original = model({ ...shape, type: 'F16' }), other = model({ ...shape, type: 'Q8_0' })

  /** Layers from one to another, all matrices replaced by those of the other model. @param {Calibration} c @param {import('../../js/quantize/checkpoint.js').Checkpoint} quantized @param {number} from */
  async function layers(c, quantized, from) {
    const errors = []
    for (let layer = from; layer < c.nLayers; layer++) {
      await c.begin(layer)
      await c.gather()
      for (const tensor of quantized.tensors.filter(({ name }) => name.startsWith(`blk.${layer}.`))) {
        c.place('quantized', tensor.name, tensor.type, await quantized.read(tensor, 0, tensor.bytes))
      }
      c.bind('quantized')
      errors.push(await c.layerError(2))
      await c.advance('quantized')
      errors.push(await c.drift())
    }
    return errors
  }

  const create = async () => {
    const [checkpoint, quantized] = [await openCheckpoint(original, { engine }), await openCheckpoint(other, { engine })]
    const c = await Calibration.create(engine, checkpoint, { text, samples: 4, ctx: 48, reference: true, h: ['qkv'], cross: ['qkv', 'down'] })
    return { c, quantized }
  }
  const embed = async (/** @type {Calibration} */ c, /** @type {import('../../js/quantize/checkpoint.js').Checkpoint} */ quantized) => {
    const rows = quantized.tensors.find((t) => t.name === 'token_embd.weight')
    assert.ok(rows)
    await c.embed(['reference'])
    await c.embed(['main'], { type: rows.type, read: (at, n) => quantized.read(rows, at, n) })
  }
  const all = (/** @type {Calibration} */ c) => Array.from({ length: 4 }, (_, i) => [c.activations('main', i).slice(), c.activations('reference', i).slice()])

  test('the streams end where the whole models do', async () => {
    const { c, quantized } = await create()
    await embed(c, quantized)
    const errors = await layers(c, quantized, 0)
    assert.ok(errors.every(({ relative, ofChange }) => relative > 0 && ofChange >= 0))
    await c.begin(c.nLayers)
    await c.gather()
    assert.deepEqual([c.statistics('head')?.n, c.statistics('qkv')], [4 * 48, undefined])
    // One logit, from the stream through the norm and the head, beside what a session computes.
    const shapes = /** @type {const} */ ([['output_norm.weight', 0, 256], ['output.weight', 7 * 68, 68]])
    const [norm, row] = await Promise.all(shapes.map(async ([name, at, n]) => {
      const tensor = quantized.tensors.find((t) => t.name === name)
      assert.ok(tensor)
      return new DataView((await quantized.read(tensor, at, n)).slice().buffer)
    }))
    const x = new Float32Array(c.activations('main', 1).slice().buffer).subarray(47 * 64), inverse = 1 / Math.sqrt(x.reduce((a, v) => a + v * v, 0) / 64 + 1e-5)
    const half = (/** @type {number} */ h) => 2 ** ((h >> 10 & 31) - 15) * (1 + (h & 1023) / 1024) // the scales are positive
    let logit = 0
    for (let i = 0; i < 64; i++) logit += half(row.getUint16(i < 32 ? 0 : 34, true)) * row.getInt8(i + (i < 32 ? 2 : 4)) * x[i] * inverse * norm.getFloat32(4 * i, true)
    const whole = await load(other)
    whole.main.push([...c.chosen.samples[1]])
    await whole.main.evaluate()
    const wanted = whole.engine.heap.f32(whole.main.logitsPtr(whole.main.passLength - 1), 300)[7]
    await whole.dispose()
    assert.ok(Math.abs(logit - wanted) < 0.05, `${logit}, the session has ${wanted}`)
    c.free()
  })

  test('goes on from saved activations to the same bits', async () => {
    const first = await create()
    await embed(first.c, first.quantized)
    const errors = await layers(first.c, first.quantized, 0), wanted = all(first.c)
    first.c.free()
    const before = await create()
    await embed(before.c, before.quantized)
    before.c.nLayers = 1
    await layers(before.c, before.quantized, 0)
    const saved = all(before.c)
    before.c.free()
    const again = await create()
    saved.forEach(([main, reference], i) => {
      again.c.activations('main', i).set(main)
      again.c.activations('reference', i).set(reference)
    })
    assert.deepEqual(await layers(again.c, again.quantized, 1), errors.slice(2))
    assert.deepEqual(all(again.c), wanted)
    again.c.free()
  })

  test('refuses what does not fit', async () => {
    const { c } = await create()
    await assert.rejects(c.begin(0), { code: 'E_ARGUMENT', message: /rows of the embedding are missing/ })
    await c.embed()
    await c.begin(0)
    assert.throws(() => c.place('quantized', 'blk.0.attn_q.weight', 'Q8_0', new Uint8Array(3)), { code: 'E_ARGUMENT', message: /takes 4352 bytes as Q8_0, not 3/ })
    assert.throws(() => c.place('quantized', 'blk.7.attn_q.weight', 'Q8_0', new Uint8Array(3)), { code: 'E_ARGUMENT', message: /no tensor blk\.7/ })
    assert.throws(() => c.activations('main', 4), { code: 'E_ARGUMENT', message: /no sample 4/ })
    await assert.rejects(c.layerError(), { code: 'E_ARGUMENT', message: /quantized weights are not bound/ })
    c.free()
    const checkpoint = await openCheckpoint(original, { engine })
    await assert.rejects(Calibration.create(engine, checkpoint, {}), { code: 'E_ARGUMENT', message: /a text or tokens/ })
    await assert.rejects(Calibration.create(engine, checkpoint, { tokens: [[1, 2], [3]] }), { code: 'E_ARGUMENT', message: /same length/ })
    await assert.rejects(Calibration.create(engine, checkpoint, { tokens: [[1, 300]] }), { code: 'E_ARGUMENT', message: /token 300/ })
    await assert.rejects(Calibration.create(engine, checkpoint, { text, cross: ['qkv'] }), { code: 'E_ARGUMENT', message: /reference stream/ })
  })

  test('tells beforehand how much memory it takes', async () => {
    const fresh = await quantizeEngine({ threads: 1 }), checkpoint = await openCheckpoint(original, { engine: fresh })
    const options = { samples: 40, ctx: 200, reference: true, h: [/** @type {const} */ ('down')] }
    const told = calibrationBytes(fresh, checkpoint, options), before = fresh.call('nbw_memory_used')
    assert.ok(told > 2 * 40 * 200 * 64 * 4)
    const tokens = Array.from({ length: 40 }, (_, i) => Array.from({ length: 200 }, (_, t) => (i + t) % 300))
    const c = await Calibration.create(fresh, checkpoint, { ...options, tokens })
    await c.embed()
    await c.begin(0)
    const used = fresh.call('nbw_memory_used') - before, weights = c.tensorsOf(0).reduce((sum, t) => sum + t.bytes, 0)
    assert.ok(Math.abs(used - told - weights) < 0.02 * told + 2e5, `${used} bytes, ${told} were told, the layer has ${weights}`)
    fresh.close()
  })

  test('stops when it is told to', async () => {
    const controller = new AbortController()
    const checkpoint = await openCheckpoint(original, { engine })
    let seen = 0
    const onProgress = () => {
      if (++seen === 2) controller.abort()
    }
    await assert.rejects(measureImatrix(engine, checkpoint, { text, samples: 4, ctx: 48, signal: controller.signal, onProgress }), { code: 'E_ABORTED' })
    assert.equal(seen, 2)
  })
})

describe('nibble imatrix', () => {
  const shape = { vocab: 'spm', n_layers: 1, d_model: 64, d_ff: 96, n_heads: 2, head_dim: 32, n_vocab: 300 }

  test('writes an importance matrix in both forms, which say the same', async () => {
    const [path, calibration] = [join(folder, 'model.gguf'), join(folder, 'text.txt')]
    writeFileSync(path, new Uint8Array(model(shape)))
    writeFileSync(calibration, text)
    const nibble = async (/** @type {string} */ out) => JSON.parse((await run(process.execPath, [CLI, 'imatrix', path, '--calibration', calibration, '-o', out, '--samples', '3', '--ctx', '64', '--json'])).stdout)
    const [gguf, dat] = [join(folder, 'im.gguf'), join(folder, 'im.dat')]
    const told = await nibble(gguf)
    assert.deepEqual([told.entries, told.samples, told.n_ctx], [8, 3, 64])
    await nibble(dat)
    const [a, b] = [await readImatrix(gguf), await readImatrix(dat)]
    assert.deepEqual([a.chunks, a.chunkSize, a.datasets], [3, 64, [calibration]])
    for (const [name, { sums, counts }] of a.entries) {
      const older = b.entries.get(name)
      assert.ok(older, name)
      sums.forEach((x, i) => assert.ok(Math.abs(x / counts[0] - older.sums[i] / older.counts[0]) <= 1e-6 * x / counts[0], name))
    }
    assert.deepEqual(readdirSync(folder).filter((f) => /\.part/.test(f)), [])
  })

  test('says what is missing or cannot be', async () => {
    const fails = async (/** @type {string[]} */ ...args) => run(process.execPath, [CLI, 'imatrix', ...args]).then(() => assert.fail('it succeeded'), (e) => ({ status: e.code, said: e.stderr }))
    const path = join(folder, 'model2.gguf')
    writeFileSync(path, new Uint8Array(model(shape)))
    assert.match((await fails(path, '-o', 'x')).said, /--calibration is missing/)
    assert.deepEqual((await fails(path, '--calibration', join(folder, 'none.txt'), '-o', join(folder, 'x'))).status, 1)
    writeFileSync(join(folder, 'empty.txt'), '')
    const { status, said } = await fails(path, '--calibration', join(folder, 'empty.txt'), '-o', join(folder, 'x'))
    assert.deepEqual([status, /has 0 tokens/.test(said)], [1, true])
  })
})
