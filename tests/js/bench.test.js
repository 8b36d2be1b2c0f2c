// The parts of the benchmark that could be wrong without anybody seeing it: its statistics and ratios, the loop that measures memory, and its
// models, which must be the models that they claim to be.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { load } from '../../js/index.js'
import { median, ratios, report, spread } from '../bench/figures.mjs'
import { measure, tokenIds } from '../bench/measure.js'
import { makeModel, modelSizes, TYPES, typeOf } from '../bench/models.mjs'
import { installPeers, modules } from '../bench/peers.mjs'
import { Missing, output, processors } from '../bench/process.mjs'
import { sumModule } from '../bench/read_wasm.mjs'

const folder = mkdtempSync(join(tmpdir(), 'nibble-bench-'))
after(() => rmSync(folder, { recursive: true }))

/** @param {string} contender @param {number} threads @param {number} prefill_tps @param {number} decode_tps @param {number} [peak_bytes] */
const row = (contender, threads, prefill_tps, decode_tps, peak_bytes) => ({ contender, threads, prefill_tps, decode_tps, peak_bytes, load_s: 1, program: 'p' })
const model = { name: '0.5b Q4_0', shape: '0.5b', type: 'Q4_0', weight_bytes: 400e6, token_bytes: 300e6, kv_bytes_per_token: 1e5 }
/** @type {import('../bench/figures.mjs').Results} */
const results = {
  model, context: 1000, missing: [{ contender: 'wllama', threads: 2, why: 'it is ill' }],
  rows: [row('chromium', 1, 100, 40), row('chromium', 1, 300, 60), row('chromium', 1, 200, 50), row('chromium', 2, 390, 80, 600e6), row('native', 2, 600, 64),
    row('chromium-strict', 2, 200, 40)],
  bandwidth: [{ kind: 'native', threads: 2, gbs: 30 }, { kind: 'native', threads: 2, gbs: 20 }, { kind: 'native', threads: 2, gbs: 48 }],
}
/** @param {string} name @param {number} threads */
const ratio = (name, threads) => ratios(results).find((r) => r.name === name && r.threads === threads)

test('the median of an odd and an even count, in any order', () => {
  assert.equal(median([10, 9, 1000]), 10)
  assert.equal(median([4, 1, 3, 2]), 2.5)
  assert.deepEqual(spread([3, 1, 2]), { median: 2, min: 1, max: 3, n: 3 })
})

test('ratios are of medians with the same number of threads', () => {
  assert.equal(ratio('decode / native llama.cpp', 2)?.value, 80 / 64)
  assert.equal(ratio('decode / native llama.cpp', 1), undefined)
  assert.equal(ratio('prefill, 2 threads / 1', 2)?.value, 390 / 200)
  assert.equal(ratio('decode, 2 threads / 1', 2)?.value, 80 / 50)
  assert.equal(ratio('decode, strict / relaxed SIMD', 2)?.value, 0.5)
})

test('bandwidth is bytes of weights that a token reads, memory is all weights with keys and values', () => {
  assert.equal(ratio('decode / read bandwidth (native)', 2)?.value, 80 * 300e6 / 1e9 / 30)
  assert.equal(ratio('peak memory / (weights + keys and values)', 2)?.value, 600e6 / 500e6)
})

test('the table says what a target is short of, and what is missing and why', () => {
  const text = report(results, { chromium: 'Nibble', native: 'native', wllama: 'wllama' })
  assert.match(text, /\| Nibble +\| 1 +\| 200 \(100–300\) +\| 50\.0 \(40\.0–60\.0\)/)
  assert.match(text, /\| decode \/ native llama\.cpp +\| 2 +\| 1\.25 +\| 1\.00 +\| 1\.50 +\| met/)
  assert.match(text, /\| peak memory [^|]+\| 2 +\| 1\.20 +\| 1\.08 +\| 1\.03 +\| short/)
  assert.match(text, /\| wllama +\| 2 +\| missing/)
  assert.match(text, /^Missing: wllama with 2: it is ill\.$/m)
})

test('types of tensors are those of llama.cpp\'s quantizer', () => {
  const wide = { n_layers: 16, tied: true }, of = (/** @type {string} */ mix, /** @type {string} */ name, cols = 2048) => typeOf(mix, name, cols, wide)
  assert.equal(of('Q4_0', 'token_embd.weight'), 'Q6_K')
  assert.equal(of('Q4_0', 'token_embd.weight', 896), 'Q8_0')
  assert.equal(of('Q4_K_M', 'blk.3.attn_q.weight', 896), 'Q5_0')
  assert.equal(of('F16', 'token_embd.weight'), 'F16')
  // The mix of the first eighth, the last, and every third between.
  const more = Array.from({ length: 16 }, (_, i) => i).filter((i) => of('Q4_K_M', `blk.${i}.ffn_down.weight`, 8192) === 'Q6_K')
  assert.deepEqual(more, [0, 1, 4, 7, 10, 13, 14, 15])
})

test('the sizes of the models are those of the files that people download', () => {
  // About, in MB: SmolLM2-135M, Qwen2.5-0.5B, Llama-3.2-1B, which have longer vocabularies.
  for (const [shape, type, MB] of /** @type {[string, string, number][]} */ ([['135m', 'Q4_0', 91.7], ['0.5b', 'Q4_0', 352], ['0.5b', 'Q4_K_M', 398], ['1b', 'Q4_0', 771], ['1b', 'Q4_K_M', 808]])) {
    const { file_bytes } = modelSizes(folder, shape, type)
    assert.ok(Math.abs(file_bytes / 1e6 / MB - 1) < 0.03, `${shape} ${type}: ${file_bytes}`)
  }
})

for (const type of TYPES) {
  test(`a model in ${type} is written once, loads, and takes what it says`, async () => {
    const made = makeModel(folder, 'tiny', type), { mtimeMs, size } = statSync(made.file)
    assert.equal(size, made.file_bytes)
    makeModel(folder, 'tiny', type, () => assert.fail('written again'))
    assert.equal(statSync(made.file).mtimeMs, mtimeMs)
    const loaded = await load(made.file)
    assert.equal(loaded.info.weight_bytes, made.weight_bytes)
    const logits = loaded.logits(tokenIds(20, 3))
    assert.ok((await logits).every(Number.isFinite))
    await loaded.dispose()
  })
}

test('a measurement runs in the variant that is asked for, and gives the tokens of an ordinary completion', async () => {
  const { file } = makeModel(folder, 'tiny', 'Q4_0')
  const speed = await measure(load, file, { prompt: 70, generated: 5, threads: 1, variant: 'simd128' })
  assert.ok(speed.prefill_tps > 0 && speed.decode_tps > 0 && speed.wasm_bytes > 0)
  assert.equal(speed.variant, 'simd128')
  const loaded = await load(file)
  const { choices } = await loaded.completions.create({ prompt: tokenIds(70, 2), max_tokens: 6, temperature: 0, ignore_eos: true })
  await loaded.dispose()
  assert.deepEqual(speed.tokens, choices[0].tokens)
})

test('native llama.cpp goes on from a prompt as Nibble does', { skip: installPeers(false).native ?? false }, async () => {
  const { file } = makeModel(folder, 'tiny', 'F16'), task = { prompt: 70, generated: 5, threads: 1 }
  const child = fileURLToPath(new URL('../bench/native_child.mjs', import.meta.url))
  const native = JSON.parse(await output(process.execPath, [child, modules, file, JSON.stringify(task)]))
  assert.ok(native.prefill_tps > 0 && native.decode_tps > 0)
  assert.deepEqual(native.tokens, (await measure(load, file, task)).tokens.slice(0, 5))
})

test('the loop that measures memory reads every byte between its addresses', () => {
  const { m, sum } = /** @type {any} */ (new WebAssembly.Instance(new WebAssembly.Module(sumModule(1))).exports)
  const words = new BigUint64Array(m.buffer)
  for (let i = 0; i < words.length; i++) words[i] = BigInt(i * i)
  const expected = (/** @type {number} */ from, /** @type {number} */ to) => Array.from(words.slice(from / 8, to / 8)).reduce((a, b) => a + b, 0n)
  assert.equal(sum(0, 65536), expected(0, 65536))
  assert.equal(sum(256, 1024), expected(256, 1024))
})

test('what a child complains of is the reason that is given', async () => {
  await assert.rejects(output(process.execPath, ['-e', 'throw new TypeError("no such thing")']), (e) => e instanceof Missing && /TypeError: no such thing/.test(e.message))
  await assert.rejects(output(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { seconds: 0.2 }), /took longer than 0\.2 s/)
})

test('each processor is listed once', () => {
  const { cores, list } = processors()
  assert.ok(cores >= 1 && cores <= list.length)
  assert.equal(new Set(list).size, list.length)
})
