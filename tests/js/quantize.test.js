// The quantizer's pipeline: types by name, the file that comes of it, resuming, what is refused; and the command.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { EMBEDDED } from '../../js/cli/common.js'
import { load } from '../../js/index.js'
import { memorySink, openCheckpoint, pair, quantize, valueOf } from '../../js/quantize/index.js'
import { planTypes } from '../../js/quantize/plan.js'
import { supports } from '../../js/runtime.js'
import { SHAPES } from '../vectors/make_mixes.mjs'
import { shared } from './shared.js'
import { tinyModel } from './tiny-model.js'

const run = promisify(execFile)
const CLI = fileURLToPath(new URL('../../js/cli.js', import.meta.url))
const ORIGINAL = EMBEDDED.replace('Q4_0', 'F16')
const SMALL = { n_layers: 1, d_ff: 256, n_vocab: 384, n_ctx: 64 }

/** @type {string} */ let folder
before(async () => { folder = await mkdtemp(join(tmpdir(), 'nibble-quantize-')) })
after(() => rm(folder, { recursive: true, force: true }))

/** @param {any} [options] */
const tiny = (options) => /** @type {Uint8Array} */ (tinyModel({ ...SMALL, ...options }))
/** @param {Uint8Array} bytes */
const hash = (bytes) => createHash('sha256').update(bytes).digest('hex')

/** Quantizes into memory. @param {any} source @param {import('../../js/quantize/quantize.js').QuantizeOptions} options */
async function inMemory(source, options) {
  const sink = memorySink(), result = await quantize(source, sink, { threads: 1, method: 'rtn', ...options })
  return { result, bytes: await sink.bytes() }
}

/** What a plan makes of the tensors of a model, by name. @param {any} source @param {any} options */
async function types(source, options) {
  const plan = planTypes(await openCheckpoint(source), options)
  return { plan, of: Object.fromEntries(plan.tensors.map(({ tensor, to }) => [tensor.name.replace('.weight', ''), to])) }
}

describe('types', () => {
  /** @type {Record<string, Record<string, {file_type: number, types: Record<string, string[]>}>>} */
  const recorded = JSON.parse(readFileSync(new URL('../vectors/mixes.json', import.meta.url), 'utf8'))
  for (const [name, shape] of Object.entries(SHAPES)) {
    test(`every mix chooses as llama.cpp's quantizer does: ${name}`, async () => {
      const checkpoint = await openCheckpoint(/** @type {any} */ (tinyModel(/** @type {any} */ (shape))))
      for (const [mix, { file_type, types: theirs }] of Object.entries(recorded[name])) {
        const { tensors, fileType } = planTypes(checkpoint, { type: mix })
        const most = /** @type {string} */ (Object.keys(theirs).find((type) => theirs[type].length === 0))
        for (const { tensor, to } of tensors) {
          if (tensor.type === 'F32') assert.equal(to, 'F32')
          else {
            const short = tensor.name.replace('.weight', ''), their = Object.keys(theirs).find((type) => theirs[type].includes(short)) ?? most
            // Of two types of the same size, rows that Q2_K and Q3_K do not divide get the more accurate one.
            const ours = to === 'IQ4_NL' && their === 'Q4_0' && /^Q[23]_K/.test(mix) && tensor.shape[0] % 256 ? 'Q4_0' : to
            assert.equal(ours, their, `${mix} ${tensor.name}`)
          }
        }
        assert.equal(fileType, file_type)
      }
    })
  }

  test('options choose for single tensors, the last pattern that matches counts, and names of types may be small', async () => {
    const model = tiny({ type: 'F16' })
    const { of } = await types(model, { type: 'q4_k', tensorTypes: [['ffn_.*', 'Q5_K'], ['ffn_down', 'q8_0'], [/attn_q/, 'F16']], outputTensorType: 'Q5_0', tokenEmbeddingType: 'Q4_1' })
    assert.deepEqual([of['blk.0.ffn_up'], of['blk.0.ffn_down'], of['blk.0.attn_q'], of.output, of.token_embd, of['blk.0.attn_k']], ['Q5_K', 'Q8_0', 'F16', 'Q5_0', 'Q4_1', 'Q4_K'])
    assert.equal((await types(tiny({ type: 'F16', tied: true }), { type: 'Q4_0', outputTensorType: 'Q8_0' })).of.token_embd, 'Q8_0')
    const { of: pure } = await types(model, { type: 'Q4_K_M', pure: true })
    assert.deepEqual([...new Set(Object.values(pure))].sort(), ['F32', 'Q4_K'])
  })
  test('what comes otherwise than asked for is said', async () => {
    const { plan, of } = await types(tiny({ type: 'F16', d_model: 288, n_heads: 4, n_kv_heads: 2, head_dim: 72 }), { type: 'Q4_K_M', tensorTypes: [['no_such', 'Q8_0']] })
    assert.equal(of['blk.0.attn_q'], 'Q5_0')
    assert.ok(plan.notes.some((n) => /blk\.0\.attn_q\.weight becomes Q5_0: its rows of 288 weights are no whole blocks of Q4_K \(256\)/.test(n)), plan.notes.join('\n'))
    assert.ok(plan.notes.some((n) => n.includes('no_such')))
    const { of: narrow } = await types(tiny({ type: 'F16', d_model: 48, n_heads: 2, n_kv_heads: 1, head_dim: 32 }), { type: 'Q4_0' })
    assert.equal(narrow['blk.0.attn_q'], 'F16')
  })
  test('what cannot be is refused, with what to do', async () => {
    const model = tiny({ type: 'F16' })
    for (const [options, message] of /** @type {[any, RegExp][]} */ ([
      [{ type: 'Q9_K' }, /no type 'Q9_K'.*Q4_K_M/], [{ type: 'Q4_0', tensorTypes: [['(', 'Q8_0']] }, /regular expression/], [{ type: 'Q4_0', tensorTypes: [['x', 'Q4_K_M']] }, /no type 'Q4_K_M'/],
      [{ type: 'Q4_0', method: 'magic' }, /no method 'magic'/], [{}, /type is missing/], [{ type: 'Q4_0', threads: 0 }, /threads/],
    ])) await assert.rejects(inMemory(model, options), { code: 'E_ARGUMENT', message })
    const quantized = tiny({ type: 'Q8_0' })
    await assert.rejects(inMemory(quantized, { type: 'Q4_0' }), { code: 'E_ARGUMENT', message: /Q8_0 already.*--allow-requantize/ })
    const { result } = await inMemory(quantized, { type: 'Q4_0', allowRequantize: true })
    assert.ok(result.tensors.some((t) => t.from === 'Q8_0' && t.to === 'Q4_0' && t.error > 0))
    assert.ok((await inMemory(quantized, { type: 'Q8_0' })).result.tensors.every((t) => t.copied), 'what has its type already is copied')
  })
})

describe('the file', () => {
  /** Relative error that a type may have on these weights: half again as much as measured. @type {Record<string, number>} */
  const ERROR = { F32: 0, F16: 3e-4, BF16: 3e-3, Q8_0: 0.008, Q6_K: 0.03, Q5_K: 0.06, Q5_1: 0.06, Q5_0: 0.07, Q4_K: 0.12, Q4_1: 0.12, Q4_0: 0.15, IQ4_NL: 0.13, IQ4_XS: 0.13, Q3_K: 0.25, Q2_K: 0.5 }

  for (const [type, most] of Object.entries(ERROR)) {
    test(`${type}: runs, has the weights it should have, and says what it is`, async () => {
      const source = tiny({ type: 'F32' }), { result, bytes } = await inMemory(source, { type, pure: true, method: 'search' })
      const [before, after] = [await openCheckpoint(source), await openCheckpoint(bytes)]
      assert.deepEqual(after.tensors.map((t) => [t.name, t.shape]), before.tensors.map((t) => [t.name, t.shape]))
      for (const t of result.tensors) {
        assert.equal(after.tensors.find((x) => x.name === t.name)?.type, t.to)
        assert.ok(Math.sqrt(t.error) <= most, `${t.name} ${Math.sqrt(t.error)}`)
        if (t.shape.length > 1) assert.equal(t.to, type)
        else assert.ok(t.copied)
      }
      const vector = before.tensors.find((t) => t.shape.length === 1)
      assert.deepEqual(await after.read(/** @type {any} */ (vector), 0, 64), await before.read(/** @type {any} */ (vector), 0, 64))
      assert.deepEqual(after.pairs.slice(0, before.pairs.length), before.pairs)
      assert.deepEqual(after.pairs.slice(before.pairs.length).map((p) => p.key), ['general.quantization_version', 'general.file_type'])
      assert.equal(result.file_bytes, bytes.length)
      assert.equal(result.output_bytes, after.tensors.reduce((n, t) => n + t.bytes, 0))
      const model = await load(bytes, { threads: 1 })
      assert.equal((await model.completions.create({ prompt: 'Hello', max_tokens: 3, ignore_eos: true })).usage.completion_tokens, 3)
      await model.dispose()
    })
  }

  test('the reported error is that of the weights in the file', async () => {
    const source = tiny({ type: 'F32' })
    const { result, bytes } = await inMemory(source, { type: 'Q4_0', pure: true })
    const wide = await inMemory(bytes, { type: 'F32', allowRequantize: true })
    const [a, b] = [await openCheckpoint(source), await openCheckpoint(wide.bytes)]
    for (const t of result.tensors.filter((t) => !t.copied)) {
      const floats = async (/** @type {typeof a} */ c) => {
        const tensor = /** @type {any} */ (c.tensors.find((x) => x.name === t.name))
        return new Float32Array((await c.read(tensor, 0, tensor.bytes)).slice().buffer)
      }
      const [x, y] = [await floats(a), await floats(b)]
      let error = 0, norm = 0
      for (let i = 0; i < x.length; i++) {
        error += (x[i] - y[i]) ** 2
        norm += x[i] ** 2
      }
      assert.ok(Math.abs(t.error - error / norm) < 1e-9, t.name)
    }
  })
  test('halves of both kinds are read', async () => {
    for (const from of ['F16', 'BF16']) {
      const { result } = await inMemory(tiny({ type: from }), { type: 'Q6_K' })
      assert.ok(result.tensors.some((t) => t.from === from && t.to === 'Q6_K' && t.error > 0 && t.error < 1e-3), from)
    }
  })
  test('a search has no more error than rounding', async () => {
    const source = tiny({ type: 'F16' })
    for (const type of ['Q4_0', 'Q5_1', 'Q4_K', 'Q3_K', 'IQ4_XS', 'Q8_0']) {
      const [plain, searched] = [await inMemory(source, { type, pure: true }), await inMemory(source, { type, pure: true, method: 'search' })]
      for (const [i, t] of searched.result.tensors.entries()) assert.ok(t.error <= plain.result.tensors[i].error, `${type} ${t.name}`)
    }
  })
  test('it is the same for any number of threads and every variant', async () => {
    const source = tiny({ type: 'F16' }), options = { type: 'Q4_K_M', method: /** @type {const} */ ('search') }
    const { bytes } = await inMemory(source, options)
    for (const variant of /** @type {const} */ (['simd128', 'relaxed']).filter(supports)) {
      for (const threads of [1, 3]) {
        const other = await inMemory(source, { ...options, variant, threads })
        assert.equal(other.result.threads, threads)
        assert.equal(hash(other.bytes), hash(bytes), `${variant} ${threads}`)
        assert.deepEqual(other.result.tensors.map((t) => t.error), (await inMemory(source, options)).result.tensors.map((t) => t.error))
      }
    }
  })
  test('large tensors take no more memory than pieces of them', async () => {
    const sizes = await Promise.all([8192, 32768].map(async (n_vocab) => {
      const { result } = await inMemory(tiny({ type: 'F32', n_vocab, d_model: 256 }), { type: 'Q8_0' })
      return result.memory_bytes
    }))
    assert.equal(sizes[0], sizes[1])
  })
  test('one that llama.cpp loads, where it is at hand', { skip: !existsSync(shared('../peers/node_modules/node-llama-cpp')) && `no node-llama-cpp in ${shared('../peers')}` }, async () => {
    const path = join(folder, 'native.gguf')
    for (const type of ['Q4_0', 'Q4_K_M', 'Q3_K_M', 'IQ4_XS', 'Q5_1', 'BF16']) {
      await quantize(ORIGINAL, path, { type, method: 'rtn' })
      const { stdout } = await run(process.execPath, [shared('tools/native_ref.mjs'), path, '--prompt', 'Once upon a time', '--n', '12', '--peers', shared('../peers')])
      const { greedy, margins } = JSON.parse(stdout).reference, model = await load(path, { threads: 1 })
      const { choices: [{ tokens }] } = await model.completions.create({ prompt: 'Once upon a time', max_tokens: 12, temperature: 0, ignore_eos: true })
      // Both quantize what they multiply to int8, each in its own way: texts part where two words are about as probable.
      const sure = [...margins, 0].findIndex((/** @type {number} */ m) => m < 0.3)
      assert.ok(sure > 0)
      assert.deepEqual(tokens.slice(0, sure), greedy.slice(0, sure), type)
      await model.dispose()
    }
  })
})

describe('robust', () => {
  test('a weight that is no finite number is refused with its place', async () => {
    for (const [bad, type] of /** @type {[number, string][]} */ ([[0x7e00, 'Q4_0'], [0x7c00, 'F32'], [0xfc00, 'F16']])) {
      const source = tiny({ type: 'F16' }), checkpoint = await openCheckpoint(source)
      const broken = { ...checkpoint, async read(/** @type {any} */ tensor, /** @type {number} */ at, /** @type {number} */ n) {
        const bytes = (await checkpoint.read(tensor, at, n)).slice(), place = (5 * 256 + 17) * 2
        if (tensor.name === 'blk.0.attn_k.weight' && at <= place && at + n > place) new DataView(bytes.buffer).setUint16(place - at, bad, true)
        return bytes
      } }
      await assert.rejects(inMemory(broken, { type }), { code: 'E_FORMAT', message: /blk\.0\.attn_k\.weight .*row 5, column 17/ })
    }
  })

  /** Runs until some of it is done, then gives up. @param {string} path @param {any} options */
  async function interrupted(path, options) {
    const controller = new AbortController()
    await assert.rejects(quantize(ORIGINAL, path, { method: 'rtn', ...options, signal: controller.signal, onProgress: ({ index }) => { if (index > 20) controller.abort() } }), { code: 'E_ABORTED' })
    assert.ok(!existsSync(path) && existsSync(`${path}.part`))
  }

  test('what was interrupted goes on where it stood, to the same file', async () => {
    const path = join(folder, 'resumed.gguf'), whole = join(folder, 'whole.gguf')
    await quantize(ORIGINAL, whole, { type: 'Q4_K_M', method: 'rtn' })
    await interrupted(path, { type: 'Q4_K_M' })
    const result = await quantize(ORIGINAL, path, { type: 'Q4_K_M', method: 'rtn' })
    assert.ok(result.resumed > 0.1 && result.resumed < 1, String(result.resumed))
    assert.equal(hash(await readFile(path)), hash(await readFile(whole)))
    assert.ok(!existsSync(`${path}.part`) && !existsSync(`${path}.part.jsonl`))
    const again = await quantize(ORIGINAL, join(folder, 'whole.gguf'), { type: 'Q4_K_M', method: 'rtn' })
    assert.equal(again.resumed, 0)
    assert.deepEqual(result.tensors.map((t) => t.error), again.tensors.map((t) => t.error))
  })
  test('bytes that changed meanwhile are made again', async () => {
    const path = join(folder, 'changed.gguf')
    await interrupted(path, { type: 'Q8_0' })
    const part = await open(`${path}.part`, 'r+')
    await part.write(Uint8Array.of(1, 2, 3, 4), 0, 4, 200_000)
    await part.close()
    await quantize(ORIGINAL, path, { type: 'Q8_0', method: 'rtn' })
    assert.equal(hash(await readFile(path)), hash((await inMemory(ORIGINAL, { type: 'Q8_0' })).bytes))
  })
  test('other options, or another input, begin anew', async () => {
    const path = join(folder, 'anew.gguf'), notes = /** @type {string[]} */ ([])
    await interrupted(path, { type: 'Q8_0' })
    const result = await quantize(ORIGINAL, path, { type: 'Q4_0', method: 'rtn', onNote: (text) => notes.push(text) })
    assert.equal(result.resumed, 0)
    assert.match(notes.join(), /begins anew/)
    assert.equal(hash(await readFile(path)), hash((await inMemory(ORIGINAL, { type: 'Q4_0' })).bytes))
  })
  test('a killed command goes on where it stood, to the same file', async () => {
    const path = join(folder, 'killed.gguf'), args = [CLI, 'quantize', ORIGINAL, path, '--type', 'Q5_K_M', '--threads', '1']
    const child = spawn(process.execPath, args, { stdio: 'ignore' })
    const ended = new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)))
    const lines = async () => (await readFile(`${path}.part.jsonl`, 'utf8').catch(() => '')).split('\n').length
    while (child.exitCode === null && await lines() < 8) await new Promise((resolve) => setTimeout(resolve, 5))
    child.kill('SIGKILL')
    assert.equal(await ended, 'SIGKILL')
    assert.ok(!existsSync(path))
    const result = JSON.parse((await run(process.execPath, [...args, '--json'])).stdout)
    assert.ok(result.resumed > 0, String(result.resumed))
    assert.equal(hash(await readFile(path)), hash((await inMemory(ORIGINAL, { type: 'Q5_K_M', method: 'search' })).bytes))
  })
  test('progress goes from nothing to all, and names tensors', async () => {
    const seen = /** @type {import('../../js/quantize/quantize.js').QuantizeProgress[]} */ ([])
    await inMemory(tiny({ type: 'F16' }), { type: 'Q4_0', onProgress: (p) => seen.push(p) })
    assert.equal(seen[0].done, 0)
    assert.ok(seen.every((p, i) => i === 0 || p.done >= seen[i - 1].done) && seen.every((p) => p.secondsLeft >= 0 && p.done <= 1))
    assert.equal(new Set(seen.map((p) => p.tensor)).size, seen[0].count)
  })
  test('the input is not overwritten, and folders are no files', async () => {
    const path = join(folder, 'input.gguf')
    await writeFile(path, tiny({ type: 'F16' }))
    await assert.rejects(quantize(path, path, { type: 'Q4_0' }), { code: 'E_ARGUMENT', message: /is the file that is read/ })
    await assert.rejects(quantize(path, join(folder, 'none', 'x.gguf'), { type: 'Q4_0' }), { code: 'E_ARGUMENT', message: /folder/ })
    await assert.rejects(quantize(path, undefined, { type: 'Q4_0' }), { code: 'E_ARGUMENT', message: /where the result goes/ })
    assert.deepEqual(new Uint8Array(await readFile(path)), tiny({ type: 'F16' }))
  })
})

describe('importance', () => {
  /** @param {(name: string, i: number) => number} value @param {any} [more] */
  const imatrix = (value, more) => ({
    entries: new Map(['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down'].map((name) => [`blk.0.${name}.weight`,
      { sums: Float32Array.from({ length: 256 }, (_, i) => 10 * value(name, i)), counts: Float32Array.of(10) }])),
    datasets: ['text.txt'], chunks: 7, chunkSize: 512, file: 'tiny.imatrix', ...more,
  })

  test('lowers the error that it weights, and stands in the metadata as llama.cpp writes it', async () => {
    const source = tiny({ type: 'F16' }), options = { type: 'Q4_K', pure: true, method: /** @type {const} */ ('search') }
    const uneven = imatrix((_, i) => (i % 16 === 3 ? 100 : 0.1))
    const [without, weighted] = [await inMemory(source, options), await inMemory(source, { ...options, imatrix: uneven })]
    for (const [i, t] of weighted.result.tensors.entries()) {
      if (!uneven.entries.has(t.name)) continue
      assert.ok(t.weighted_error < 0.5 * without.result.tensors[i].error, `${t.name} ${t.weighted_error} ${without.result.tensors[i].error}`)
    }
    const { pairs } = await openCheckpoint(weighted.bytes)
    assert.deepEqual(pairs.slice(-4).map((p) => [p.key, p.kind, valueOf(p)]), [
      ['quantize.imatrix.file', 8, 'tiny.imatrix'], ['quantize.imatrix.dataset', 8, 'text.txt'], ['quantize.imatrix.entries_count', 4, 7], ['quantize.imatrix.chunks_count', 4, 7],
    ])
  })
  test('of another model is refused, and what it lacks is said', async () => {
    const source = tiny({ type: 'F16' }), wrong = imatrix(() => 1)
    wrong.entries.set('blk.0.attn_q.weight', { sums: new Float32Array(100).fill(1), counts: Float32Array.of(1) })
    await assert.rejects(inMemory(source, { type: 'Q4_0', imatrix: wrong }), { code: 'E_ARGUMENT', message: /100 sums for blk\.0\.attn_q\.weight, which has 256 columns/ })
    await assert.rejects(inMemory(source, { type: 'Q4_0', imatrix: { ...wrong, entries: new Map([['x', { sums: new Float32Array(4), counts: Float32Array.of(1) }]]) } }), { code: 'E_ARGUMENT', message: /nothing for any matrix/ })
    const partial = imatrix(() => 1)
    partial.entries.delete('blk.0.ffn_up.weight')
    partial.entries.set('blk.0.ffn_gate.weight', { sums: new Float32Array(256), counts: Float32Array.of(0) })
    const { result } = await inMemory(source, { type: 'Q4_0', imatrix: partial })
    assert.match(result.notes.join('\n'), /has nothing for blk\.0\.ffn_up\.weight/)
    assert.match(result.notes.join('\n'), /saw no input of blk\.0\.ffn_gate\.weight/)
    assert.match(result.notes.join('\n'), /method rtn does not look/)
  })
})

describe('the command', () => {
  const nibble = (/** @type {string[]} */ ...args) => run(process.execPath, [CLI, 'quantize', ...args]).then((r) => ({ ...r, code: 0 }), (error) => error)

  test('prints a plan without writing, and JSON', async () => {
    const out = join(folder, 'dry.gguf')
    const plain = await nibble(ORIGINAL, '--type', 'Q4_K_M', '--dry-run')
    assert.match(plain.stdout, /token_embd\.weight +256 x 4096 +F16 -> Q6_K/)
    assert.match(plain.stdout, /would be: 5\.0M parameters, .* bits per weight \(Q4_K/)
    assert.match(plain.stderr, /thread.* of memory/)
    const json = JSON.parse((await nibble(ORIGINAL, out, '--type', 'Q4_K_M', '--dry-run', '--json')).stdout)
    assert.ok(json.dry_run && json.estimate.seconds > 0 && json.tensors.length > 40 && !existsSync(out) && !existsSync(`${out}.part`))
    const { bytes } = await inMemory(ORIGINAL, { type: 'Q4_K_M' })
    assert.equal(json.file_bytes, bytes.length)
  })
  test('does what its options say', async () => {
    const out = join(folder, 'options.gguf')
    const { stdout } = await nibble(ORIGINAL, out, '--type', 'Q8_0', '--method', 'rtn', '--tensor-type', 'ffn_(up|gate)=Q4_0', '--tensor-type', 'blk.1.*up=Q5_1', '--token-embedding-type', 'F16', '--threads', '2', '--json')
    const { tensors, threads, method, output } = JSON.parse(stdout), of = Object.fromEntries(tensors.map((/** @type {any} */ t) => [t.name, t.to]))
    assert.deepEqual([of['blk.0.ffn_up.weight'], of['blk.1.ffn_up.weight'], of['blk.1.ffn_gate.weight'], of['token_embd.weight'], of['blk.0.attn_q.weight']], ['Q4_0', 'Q5_1', 'Q4_0', 'F16', 'Q8_0'])
    assert.deepEqual([threads, method, output], [2, 'rtn', out])
  })
  test('says what is wrong, with the exit status', async () => {
    assert.deepEqual([(await nibble(ORIGINAL, 'x.gguf')).code, (await nibble(ORIGINAL, '--type', 'Q4_0')).code, (await nibble(ORIGINAL, 'x.gguf', '--type', 'Q4_0', '--tensor-type', 'x')).code], [2, 2, 2])
    const unknown = await nibble(ORIGINAL, join(folder, 'x.gguf'), '--type', 'Q7')
    assert.equal(unknown.code, 1)
    assert.match(unknown.stderr, /no type 'Q7'/)
    assert.equal((await nibble(join(folder, 'missing.gguf'), join(folder, 'x.gguf'), '--type', 'Q4_0')).code, 1)
  })
})

test('metadata that the file had is replaced, not doubled', async () => {
  const source = tiny({ type: 'F16', metadata: [['general.file_type', 4, 1], ['general.quantization_version', 4, 1]] })
  const { pairs } = await openCheckpoint((await inMemory(source, { type: 'Q4_1' })).bytes)
  assert.deepEqual(pairs.filter((p) => /file_type|quantization_version/.test(p.key)), [pair.u32('general.quantization_version', 2), pair.u32('general.file_type', 3)])
})
