// Validation of quantized models: figures against a plain computation, reference files and what is wrong with them, loops, gates.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Mean } from '../../js/evaluate/figures.js'
import { loopOf, repeatedOf } from '../../js/evaluate/loops.js'
import { perplexity } from '../../js/evaluate.js'
import { isNibbleError, load } from '../../js/index.js'
import { checkGates, defaultGates, parseGates } from '../../js/quantize/gates.js'
import { createReference, openReference, referenceOf, validate } from '../../js/quantize/validate.js'
import { header, plan, tinyModel } from './tiny-model.js'

const text = readFileSync(new URL('../vectors/text.txt', import.meta.url), 'utf8')
const vectors = JSON.parse(readFileSync(new URL('../vectors/perplexity.json', import.meta.url), 'utf8'))
const N = 64, CHUNKS = 6

/** @typedef {import('../../js/index.js').Model} Model */
/** @type {Model} */ let original
/** @type {Model} */ let quantized
/** @type {Uint8Array} */ let file
/** @type {any} */ let exact

const SHAPE = { vocab: /** @type {const} */ ('spm'), n_layers: 1 }
const WEIGHTS = /** @type {Uint8Array} */ (tinyModel(SHAPE))
/** The same model with weights of two bits of mantissa: as near to it as quantized ones are. */
const ROUNDED = WEIGHTS.slice()
const { kv, tensors } = plan(SHAPE)
for (let at = header(kv, tensors).length; at < ROUNDED.length; at += 4) {
  ROUNDED[at] = ROUNDED[at + 1] = 0
  ROUNDED[at + 2] &= 0xe0
}

before(async () => {
  original = await load(WEIGHTS.slice())
  quantized = await load(ROUNDED.slice())
  file = (await createReference(original, text, { n_ctx: N, chunks: CHUNKS, loops: 3, modelHash: 'ab'.repeat(32) })).bytes
  exact = await perplexity(quantized, text, { n_ctx: N, chunks: CHUNKS, against: original, worst: 5, loops: 3 })
})
after(() => Promise.all([original, quantized].map((m) => m.dispose())))

/** @param {number} a @param {number} b @param {number} [by] @param {string} [what] */
const near = (a, b, by = 1e-6, what = '') => assert.ok(Math.abs(a - b) <= by * Math.max(1e-3, Math.abs(b)), `${what} ${a}, expected ${b}`)

/** Log-probabilities of all tokens at every position that counts. @param {Model} model @param {number[]} tokens */
async function distributions(model, tokens) {
  /** @type {number[][]} */
  const all = []
  await model.visitLogits(tokens, undefined, (position, i, session) => {
    if (position < N / 2 || position === N - 1) return
    const logits = Array.from(model.engine.heap.f32(session.logitsPtr(i), model.tokenizer.n_vocab))
    const sum = Math.log(logits.reduce((s, x) => s + Math.exp(x), 0))
    all.push(logits.map((x) => x - sum))
  })
  return all
}

/** @param {number[]} x */
const mean = (x) => x.reduce((s, v) => s + v, 0) / x.length

describe('figures', () => {
  test('are those of a plain computation', async () => {
    const ids = original.tokenize(text)
    /** @type {Record<string, number[]>} */
    const lists = { kld: [], same: [], loss: [], refLoss: [], square: [] }
    const groups = []
    for (let c = 0; c < CHUNKS; c++) {
      const tokens = ids.slice(c * N, (c + 1) * N)
      tokens[0] = original.tokenizer.bos
      const p = await distributions(original, tokens), q = await distributions(quantized, tokens)
      p.forEach((logp, i) => {
        const logq = q[i], next = tokens[N / 2 + i + 1]
        lists.kld.push(logp.reduce((s, x, t) => s + Math.exp(x) * (x - logq[t]), 0))
        lists.same.push(logp.indexOf(Math.max(...logp)) === logq.indexOf(Math.max(...logq)) ? 1 : 0)
        lists.loss.push(-logq[next])
        lists.refLoss.push(-logp[next])
        lists.square.push((Math.exp(logp[next]) - Math.exp(logq[next])) ** 2)
      })
      groups.push(mean(lists.kld.slice(c * (N / 2 - 1))))
    }
    const n = lists.kld.length
    assert.equal(n, CHUNKS * (N / 2 - 1))
    assert.equal(exact.tokens, n)
    near(exact.kld.mean, mean(lists.kld), 1e-5, 'mean')
    const sorted = lists.kld.slice().sort((a, b) => a - b)
    near(exact.kld.max, sorted[n - 1], 1e-5, 'max')
    near(exact.kld.median, (sorted[(n - 1) >> 1] + sorted[n >> 1]) / 2, 1e-5, 'median')
    near(exact.kld.p90, sorted[Math.floor(0.9 * (n - 1))] + (0.9 * (n - 1) % 1) * (sorted[Math.floor(0.9 * (n - 1)) + 1] - sorted[Math.floor(0.9 * (n - 1))]), 1e-5, 'p90')
    near(exact.top1_agreement, mean(lists.same), 1e-9, 'top1')
    near(exact.ppl, Math.exp(mean(lists.loss)), 1e-5, 'ppl')
    near(exact.ref_ppl, Math.exp(mean(lists.refLoss)), 1e-5, 'ref_ppl')
    near(exact.ppl_ratio, exact.ppl / exact.ref_ppl, 1e-9, 'ratio')
    near(exact.p_rms, Math.sqrt(mean(lists.square)), 1e-4, 'p_rms')
    // Groups are of one size here: the error is that of the mean of their means, or of independent values where that is greater.
    const deviation = (/** @type {number[]} */ x) => Math.sqrt(x.reduce((s, v) => s + (v - mean(x)) ** 2, 0) / (x.length - 1) / x.length)
    near(exact.kld.error, Math.max(deviation(groups), deviation(lists.kld)), 1e-4, 'error')
    const ratios = lists.loss.map((x, i) => x - lists.refLoss[i])
    assert.ok(exact.ppl_ratio_error >= deviation(ratios) * exact.ppl_ratio * 0.9999)
    assert.ok(exact.ppl_ratio_error < exact.ppl_error, 'the paired error is smaller')
    assert.equal(exact.distribution.histogram.counts.reduce((/** @type {number} */ a, /** @type {number} */ b) => a + b), n)
    assert.deepEqual(exact.distribution.quantiles.at(-1), [1, exact.kld.max])
  })

  test('the worst predictions come in falling order, in their context', () => {
    assert.equal(exact.worst.length, 5)
    assert.equal(exact.worst[0].kld, exact.kld.max)
    assert.ok(exact.worst.every((/** @type {any} */ w, /** @type {number} */ i) => i === 0 || w.kld <= exact.worst[i - 1].kld))
    const { chunk, position, context, expected } = exact.worst[0]
    const tokens = original.tokenize(text).slice(chunk * N, (chunk + 1) * N)
    assert.equal(expected, original.detokenize([tokens[position + 1]], { special: true, continuation: true }))
    assert.ok(context.endsWith(original.detokenize([tokens[position]], { special: true, continuation: true })))
  })

  test('the error of a mean knows that predictions of a chunk are alike', () => {
    const alike = new Mean(), apart = new Mean()
    for (let i = 0; i < 100; i++) {
      alike.add(i < 50 ? 0 : 1)
      apart.add(i % 2)
      if (i % 10 === 9) alike.endGroup(), apart.endGroup()
    }
    near(apart.error, Math.sqrt(0.25 / 99))
    near(alike.error, Math.sqrt(0.25 * 10 / 9 / 10))
  })
})

describe('a reference file', () => {
  test('gives the figures of the model it was made of', async () => {
    const r = /** @type {any} */ (await perplexity(quantized, text, { n_ctx: N, chunks: CHUNKS, against: await openReference(file), worst: 5, loops: 3 }))
    for (const name of ['ppl', 'tokens', 'top1_agreement', 'top1_error']) assert.equal(r[name], exact[name], name)
    for (const name of ['ref_ppl', 'ppl_ratio', 'ppl_ratio_error', 'p_rms']) near(r[name], exact[name], 1e-5, name)
    assert.equal(exact.kld.kind, 'exact')
    assert.equal(r.kld.kind, 'estimate')
    near(r.kld.mean, exact.kld.mean, 0.05, 'mean')
    assert.ok(r.kld.lower_bound < exact.kld.mean && r.kld.lower_bound > 0)
    assert.deepEqual(r.loops, exact.loops)
    assert.equal(r.reference.model_sha256, 'ab'.repeat(32))
  })

  test('of the whole vocabulary gives the exact divergence; without drawn tokens a lower bound', async () => {
    const whole = await openReference((await createReference(original, text, { n_ctx: N, chunks: CHUNKS, topK: 512 })).bytes)
    near(/** @type {any} */ (await perplexity(quantized, undefined, { against: whole })).kld.mean, exact.kld.mean, 5e-3)
    const few = await openReference((await createReference(original, text, { n_ctx: N, chunks: CHUNKS, topK: 8, drawn: 0 })).bytes)
    const { kld } = /** @type {any} */ (await perplexity(quantized, undefined, { against: few }))
    assert.equal(kld.kind, 'lower bound')
    assert.equal(kld.mean, kld.lower_bound)
    assert.ok(kld.mean < exact.kld.mean)
  })

  test('brings its text, and refuses another', async () => {
    const reference = await openReference(file)
    const own = await perplexity(quantized, undefined, { against: reference })
    assert.equal(own.ppl, exact.ppl)
    assert.equal((await perplexity(quantized, undefined, { against: reference, chunks: 2 })).chunks, 2)
    await assert.rejects(perplexity(quantized, `x${text}`, { against: reference }), /not the one the reference was made of: they differ at token \d+ of chunk 0/)
    await assert.rejects(perplexity(quantized, text, { against: reference, n_ctx: 32 }), /chunks of 64 tokens, not 32/)
    const other = await load(/** @type {Uint8Array} */ (tinyModel({ n_vocab: 384, n_layers: 1 })))
    await assert.rejects(perplexity(other, undefined, { against: reference }), /same one can be compared/)
    await other.dispose()
  })

  test('a model is at no distance from what it was itself, and has the perplexity of the vectors', async () => {
    const [{ model: options, ppl, tokens }] = vectors.cases
    const model = await load(/** @type {Uint8Array} */ (tinyModel(options)))
    const { bytes, evaluation } = await createReference(model, text, { n_ctx: vectors.n_ctx })
    assert.equal(evaluation.tokens, tokens)
    near(evaluation.ppl, ppl, 1e-4)
    const r = /** @type {any} */ (await perplexity(model, undefined, { against: await openReference(bytes) }))
    near(r.ref_ppl, ppl, 1e-4)
    assert.ok(r.kld.mean < 1e-7 && r.kld.max < 1e-6)
    assert.equal(r.top1_agreement, 1)
    await model.dispose()
  })

  test('that was cut or changed gives a typed error', async () => {
    for (const length of [0, 7, 8, 100, 143, 144, 1000, file.length - 1]) await assert.rejects(openReference(file.slice(0, length)), isNibbleError, `${length} bytes`)
    for (let at = 0; at < file.length; at += 97) {
      const bytes = file.slice()
      bytes[at] ^= 1
      await assert.rejects(openReference(bytes), (error) => isNibbleError(error) && ['E_FORMAT', 'E_INTEGRITY', 'E_UNSUPPORTED', 'E_TRUNCATED'].includes(error.code), `byte ${at}`)
    }
  })

  test('that lies, with a valid checksum, is refused or harmless', async () => {
    /** @param {(bytes: Uint8Array, view: DataView) => void} change */
    const forged = (change) => {
      const bytes = file.slice()
      change(bytes, new DataView(bytes.buffer))
      bytes.set(createHash('sha256').update(bytes.subarray(0, -32)).digest(), bytes.length - 32)
      return bytes
    }
    for (let field = 8; field < 48; field += 4) {
      for (const value of [0, 1, 7, 255, 65536, 2 ** 20, 2 ** 31, 2 ** 32 - 1]) {
        if (new DataView(file.buffer).getUint32(field, true) === value) continue
        if (field === 32 && value === 1) continue // made with float activations: may be
        await assert.rejects(openReference(forged((_, view) => view.setUint32(field, value, true))).then((r) => {
          // Limits that are higher than what is used are no lie.
          if (field === 12 || field === 24 || field === 28) throw Object.assign(new Error(), { name: 'NibbleError', code: String(r.top_k) })
        }), isNibbleError, `field at ${field} = ${value}`)
      }
    }
    const start = 112 + new DataView(file.buffer).getUint32(40, true) + CHUNKS * N * 2
    const change = (/** @type {number} */ at, /** @type {number} */ value) => forged((_, view) => view.setUint16(start + at, value, true))
    const kept = new DataView(file.buffer).getUint16(start, true)
    await assert.rejects(openReference(change(0, 0)), /keeps 0 tokens/)
    await assert.rejects(openReference(change(12, 60000)), /names token 60000, the vocabulary has 512/)
    await assert.rejects(openReference(change(12, new DataView(file.buffer).getUint16(start + 14, true))), /twice/)
    await assert.rejects(openReference(change(12 + 2 * kept, 40000)), /falling order|sum to/)
    await assert.rejects(openReference(forged((_, view) => view.setFloat32(start + 4, NaN, true))), /for a log-probability/)
    await assert.rejects(openReference(forged((_, view) => view.setFloat32(start + 8, 7, true))), /for a probability/)
    await assert.rejects(openReference(forged((_, view) => view.setFloat32(start + 8, 0.9999, true))), /sum to/)
  })

  test('says what cannot be made', async () => {
    await assert.rejects(createReference(original, text, { n_ctx: N, topK: 0 }), /topK must be/)
    await assert.rejects(createReference(original, text, { n_ctx: N, modelHash: 'x' }), /64 hexadecimal digits/)
    await assert.rejects(createReference(original, 'short', { n_ctx: N }), /needs a longer one/)
  })
})

describe('loops', () => {
  test('are found where they are', () => {
    const random = Array.from({ length: 128 }, (_, i) => Math.imul(i + 1, 2654435761) >>> 20)
    assert.equal(loopOf(random), 0)
    assert.equal(repeatedOf(random), 0)
    assert.equal(loopOf([...random, ...Array(30).fill([7, 8, 9]).flat()]), 3)
    assert.equal(loopOf(Array(24).fill(5)), 1)
    assert.equal(loopOf(Array(23).fill(5)), 0, 'too short')
    assert.equal(loopOf([...random.slice(0, 40), ...random.slice(0, 40), ...random.slice(0, 40)]), 0, 'longer than what counts')
    assert.equal(loopOf([...random.slice(0, 20), ...random.slice(0, 20)]), 0, 'twice is no loop')
    assert.equal(loopOf([...random.slice(0, 20), ...random.slice(0, 20), ...random.slice(0, 20)]), 20)
    near(repeatedOf([1, 2, 3, 4, 1, 2, 3, 4]), 0.2)
  })

  test('of a model against itself: none added, none removed', async () => {
    const { loops } = /** @type {any} */ (await validate(original, await referenceOf(original, text, { n_ctx: N, chunks: 2, loops: 4 }), undefined))
    assert.equal(loops.prompts, 4)
    assert.deepEqual([loops.added, loops.removed, loops.excess, loops.repeated_difference], [0, 0, 0, 0])
  })
})

describe('gates', () => {
  /** @type {any} */
  const figures = {
    ppl: 10.2, ppl_error: 0.2, tokens: 1000, n_ctx: 64, chunks: 10, kld: { mean: 0.028, error: 0.004, p99: 0.2, max: 1 }, top1_agreement: 0.93, top1_error: 0.002,
    ppl_ratio: 1.02, ppl_ratio_error: 0.001, p_rms: 0.04, p_rms_error: 0.001, loops: { prompts: 16, excess: 1, excess_error: 1 },
  }
  const big = { bpw: 4.5, parameters: 7e9 }

  test('limits follow bits and size', () => {
    assert.deepEqual(defaultGates(big), { kld: 0.03, top1: 0.92, ppl: 0.025 })
    assert.deepEqual(defaultGates({ bpw: 8.5, parameters: 7e9 }), { kld: 0.002, top1: 0.975 })
    assert.deepEqual(defaultGates({ bpw: 4.5, parameters: 5e6 }), { kld: 0.06, top1: 0.88, ppl: 0.05 })
  })

  test('are read from a line', () => {
    assert.deepEqual(parseGates('kld=0.05,top1=0.9,ppl=3%,loops=0', big), { kld: 0.05, top1: 0.9, ppl: 0.03, loops: 0 })
    assert.deepEqual(parseGates('default,ppl=none,kld=.04', big), { kld: 0.04, top1: 0.92 })
    assert.deepEqual(parseGates('8bit', big), { kld: 0.002, top1: 0.975 })
    for (const wrong of ['', 'x', 'kld', 'kld=', 'kld=a', 'toString=1', 'top1=92', '9bit', 'ppl=none', 'kld=-1']) {
      assert.throws(() => parseGates(wrong, big), (error) => isNibbleError(error) && error.code === 'E_ARGUMENT', wrong)
    }
  })

  test('pass and fail, each by itself, and say where the sample is too small', () => {
    const { passed, gates } = checkGates(figures, { kld: 0.03, top1: 0.94, ppl: 0.025, loops: 0, kldmax: 2 })
    assert.equal(passed, false)
    assert.deepEqual(gates.map((g) => [g.name, g.passed, g.sure]), [['kld', true, false], ['top1', false, true], ['ppl', true, true], ['loops', false, false], ['kldmax', true, true]])
    assert.equal(Math.round(Number(gates[0].needed) / 100), 40)
    assert.match(gates[0].text, /^PASS  kld .*1000 predictions are too few to be sure.*about 4000 would do$/)
    assert.match(gates[1].text, /^FAIL  top1   93\.00 % ± 0\.20 %, at least 94\.00 %/)
    assert.equal(checkGates(figures, { kld: 0.03 }).passed, true)
    assert.equal(checkGates({ ...figures, kld: { ...figures.kld, mean: NaN } }, { kld: 0.03 }).passed, false)
    assert.throws(() => checkGates({ ...figures, loops: undefined }, { loops: 0 }), /greedy texts/)
    assert.throws(() => checkGates(figures, { constructor: 1 }), /no gate 'constructor'/)
  })
})

describe('the command line', () => {
  const CLI = fileURLToPath(new URL('../../js/cli.js', import.meta.url)), TEXT = fileURLToPath(new URL('../vectors/text.txt', import.meta.url))
  /** @type {string} */ let folder
  /** @type {(name: string) => string} */
  const at = (name) => join(folder, name)
  /** @param {string[]} args @returns {Promise<{status: number, stdout: string, stderr: string}>} */
  const nibble = (...args) => new Promise((resolve) => {
    execFile(process.execPath, [CLI, 'perplexity', ...args], { maxBuffer: 1 << 26 }, (error, stdout, stderr) => resolve({ status: error ? /** @type {any} */ (error).code : 0, stdout, stderr }))
  })
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'nibble-validate-'))
    await writeFile(at('f32.gguf'), WEIGHTS)
    await writeFile(at('q4.gguf'), ROUNDED)
  })
  after(() => rm(folder, { recursive: true }))

  test('saves a reference, compares with it, and ends with status 1 where a gate is not kept', async () => {
    const saved = await nibble(at('f32.gguf'), '--file', TEXT, '--ctx', '64', '--chunks', '2', '--loops', '2', '--save-reference', at('r.nbref'), '--json')
    assert.equal(saved.status, 0, saved.stderr)
    assert.deepEqual((await readdir(folder)).sort(), ['f32.gguf', 'q4.gguf', 'r.nbref'])
    const { model_sha256 } = await openReference(readFileSync(at('r.nbref')))
    assert.equal(model_sha256, createHash('sha256').update(readFileSync(at('f32.gguf'))).digest('hex'))

    const passed = await nibble(at('q4.gguf'), '--against', at('r.nbref'), '--gate', 'kld=100,loops=16', '--json')
    assert.equal(passed.status, 0, passed.stderr)
    const j = JSON.parse(passed.stdout)
    assert.equal(j.gate.passed, true)
    assert.equal(j.kld.kind, 'estimate')
    assert.equal(j.tokens, 62)
    assert.equal(j.worst.length, 20)
    assert.equal(j.ref_ppl.toFixed(2), JSON.parse(saved.stdout).ppl.toFixed(2))

    const failed = await nibble(at('q4.gguf'), '--against', at('f32.gguf'), '--file', TEXT, '--ctx', '64', '--chunks', '2', '--gate', 'kld=1e-9,top1=0')
    assert.equal(failed.status, 1)
    assert.match(failed.stdout, /^FAIL {2}kld .*\nPASS {2}top1 /m)
    assert.match(failed.stdout, /nats; exact\)/)
  })

  test('says what does not fit together', async () => {
    for (const [message, ...args] of [
      [/--gate needs --against/, '--file', TEXT, '--gate', 'default'], [/exclude each other/, '--file', TEXT, '--against', 'x', '--save-reference', 'y'],
      [/--file is missing/, '--against', at('f32.gguf')], [/--top-k needs/, '--file', TEXT, '--top-k', '4'],
    ]) {
      const r = await nibble(at('f32.gguf'), .../** @type {string[]} */ (args))
      assert.equal(r.status, 2, r.stderr)
      assert.match(r.stderr, /** @type {RegExp} */ (message))
    }
    const r = await nibble(at('q4.gguf'), '--file', TEXT, '--against', at('f32.gguf'), '--gate', 'speed=1')
    assert.equal(r.status, 1)
    assert.match(r.stderr, /'speed=1' is not a gate.*E_ARGUMENT/)
  })
})
