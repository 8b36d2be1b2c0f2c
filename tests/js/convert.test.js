// Hugging Face folders become GGUF files that hold the same model: the same tensors, the same tokens, the same logits. What a file cannot say is refused.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { EMBEDDED } from '../../js/cli/common.js'
import { load } from '../../js/index.js'
import { openCheckpoint } from '../../js/quantize/checkpoint.js'
import { convert } from '../../js/quantize/convert.js'
import { convertFloats } from '../../js/quantize/floats.js'
import { GgufWriter } from '../../js/quantize/gguf-writer.js'
import { sizeLabel } from '../../js/quantize/hf-metadata.js'
import { lookUp } from '../../js/quantize/pairs.js'
import { quantize } from '../../js/quantize/quantize.js'
import { memorySink } from '../../js/quantize/sinks.js'
import { modules } from '../bench/peers.mjs'
import { huggingFaceFolder } from './hf-folder.js'
import { CHATML, f16, random, tinyModel } from './tiny-model.js'

const ORIGINAL = EMBEDDED.replace('Q4_0', 'F16')
const CLI = fileURLToPath(new URL('../../js/cli.js', import.meta.url))
const NATIVE = fileURLToPath(new URL('native-text.js', import.meta.url))
const run = promisify(execFile)

/** @type {string} */ let temporary
before(async () => { temporary = await mkdtemp(join(tmpdir(), 'nibble-convert-')) })
after(() => rm(temporary, { recursive: true, force: true }))

/** @typedef {{name: string, file: Uint8Array}[]} Files */

/** @param {any} source @param {object} [options] */
async function converted(source, options) {
  const sink = memorySink()
  const report = await convert(source, sink, options)
  return { report, bytes: await sink.bytes() }
}

/** @param {object} shape @param {object} [options] */
async function tinyFolder(shape, options) {
  const bytes = /** @type {Uint8Array} */ (tinyModel({ n_layers: 1, d_model: 64, d_ff: 96, n_heads: 4, n_kv_heads: 2, head_dim: 16, n_vocab: 400, ...shape }))
  return { bytes, files: await huggingFaceFolder(bytes, options) }
}

/** Every tensor of a file by its name. @param {any} source */
async function contents(source) {
  const checkpoint = await openCheckpoint(source)
  const tensors = new Map()
  for (const t of checkpoint.tensors) tensors.set(t.name, { type: t.type, shape: t.shape, bytes: Buffer.from(await checkpoint.read(t, 0, t.bytes)) })
  await checkpoint.close()
  return { pairs: checkpoint.pairs, tensors }
}

/** @param {any} a @param {any} b  expected */
function sameTensors(a, b) {
  assert.deepEqual([...a.keys()].sort(), [...b.keys()].sort())
  for (const [name, { type, shape, bytes }] of b) {
    assert.deepEqual([a.get(name).type, a.get(name).shape], [type, shape], name)
    assert.ok(a.get(name).bytes.equals(bytes), name)
  }
}

/** @param {any} source @param {number[]} ids */
async function logitsOf(source, ids) {
  const model = await load(source, { threads: 1, variant: 'simd128' })
  const logits = await model.logits(ids)
  await model.dispose()
  return logits
}

/** A llama with a bias on each projection of attention, which the generator of tiny models does not make. */
async function withBiases() {
  const checkpoint = await openCheckpoint(/** @type {Uint8Array} */ (tinyModel({ n_layers: 1, d_model: 64, d_ff: 96, n_heads: 4, n_kv_heads: 2, head_dim: 16, n_vocab: 400 })))
  const r = random(5)
  const biases = new Map([['q', 64], ['k', 32], ['v', 32], ['output', 64]].map(([part, n]) => [`blk.0.attn_${part}.bias`, Float32Array.from({ length: Number(n) }, () => r.normal())]))
  const tensors = [...checkpoint.tensors, ...[...biases].map(([name, values]) => ({ name, type: 'F32', shape: [values.length], bytes: values.length * 4 }))]
  const sink = memorySink(), writer = new GgufWriter(sink, { pairs: checkpoint.pairs, tensors })
  for (const t of tensors) await writer.write(t.name, biases.has(t.name) ? new Uint8Array(/** @type {Float32Array} */ (biases.get(t.name)).buffer) : await checkpoint.read(t, 0, t.bytes))
  await writer.finish()
  return sink.bytes()
}

describe('a folder gives the model it was made of, tensor by tensor, and the same logits', () => {
  const shapes = {
    'llama in F32, SentencePiece': { vocab: 'spm' }, 'llama in F16, tied, heads wider than the model': { type: 'F16', tied: true, head_dim: 32 },
    'qwen2 in BF16, with biases': { arch: 'qwen2', type: 'BF16' }, 'qwen3 in F16, with normed heads': { arch: 'qwen3', type: 'F16', tied: true, n_kv_heads: 4 },
    'llama with linear scaling': { metadata: [['llama.rope.scaling.type', 8, 'linear'], ['llama.rope.scaling.factor', 6, 4]] },
  }
  for (const [what, shape] of Object.entries(shapes)) {
    test(what, async () => {
      const { bytes, files } = await tinyFolder(shape, { parts: 2 })
      const made = await converted(files), ids = [3, 260, 5, 300, 17]
      assert.deepEqual(made.report.notes, [])
      sameTensors((await contents(made.bytes)).tensors, (await contents(bytes)).tensors)
      assert.deepEqual(await logitsOf(made.bytes, ids), await logitsOf(bytes, ids))
    })
  }
  test('llama with biases', async () => {
    const bytes = await withBiases()
    const made = await converted(await huggingFaceFolder(bytes))
    sameTensors((await contents(made.bytes)).tensors, (await contents(bytes)).tensors)
    assert.deepEqual(await logitsOf(made.bytes, [1, 2, 3]), await logitsOf(bytes, [1, 2, 3]))
  })
  test('the embedded model, in three parts: also its tokens and its text', async () => {
    const files = await huggingFaceFolder(ORIGINAL, { parts: 3 })
    const made = await converted(files)
    sameTensors((await contents(made.bytes)).tensors, (await contents(ORIGINAL)).tensors)
    const [a, b] = [await load(made.bytes), await load(ORIGINAL)]
    const text = 'Tell me of a fox, zwölf Füchse 🦊\n  and </s> of 1234 stars.'
    assert.deepEqual(a.tokenize(text), b.tokenize(text))
    const messages = [{ role: 'user', content: text }]
    const answers = await Promise.all([a, b].map((m) => m.chat.completions.create({ messages, temperature: 0, max_tokens: 40 })))
    assert.deepEqual(answers[0].choices[0].message, answers[1].choices[0].message)
    await Promise.all([a.dispose(), b.dispose()])
  })
  test('read in small pieces, q and k are the same', async () => {
    const { files } = await tinyFolder({ type: 'F16' })
    const checkpoint = await openCheckpoint(files)
    for (const t of checkpoint.tensors.filter(({ name }) => /attn_[qkv]|norm/.test(name))) {
      const whole = Buffer.from(await checkpoint.read(t, 0, t.bytes)), pieces = []
      for (let at = 0; at < t.bytes; at += 52) pieces.push(await checkpoint.read(t, at, Math.min(52, t.bytes - at)))
      assert.ok(Buffer.concat(pieces).equals(whole), t.name)
    }
  })
})

describe('types', () => {
  test('vectors become F32 whatever they are', async () => {
    const { bytes, files } = await tinyFolder({ arch: 'qwen2', type: 'F16' }, { vectors: 'F16' })
    const [made, was] = [(await contents((await converted(files)).bytes)).tensors, (await contents(bytes)).tensors]
    const floats = (/** @type {Buffer} */ b) => new Float32Array(b.buffer.slice(b.byteOffset, b.byteOffset + b.length))
    for (const name of ['blk.0.attn_norm.weight', 'blk.0.attn_q.bias', 'output_norm.weight']) {
      assert.equal(made.get(name).type, 'F32')
      const exact = floats(was.get(name).bytes)
      floats(made.get(name).bytes).forEach((x, i) => assert.ok(Math.abs(x - exact[i]) <= Math.abs(exact[i]) * 2 ** -11, name))
    }
  })
  test('every half and brain float becomes the float of its value, and back', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i), bytes = new Uint8Array(all.buffer)
    const halves = new Float32Array(convertFloats(bytes, 'F16', 'F32', 'x').buffer), brains = new Uint32Array(convertFloats(bytes, 'BF16', 'F32', 'x').buffer)
    all.forEach((h) => {
      const exponent = h >> 10 & 31, fraction = h & 1023, size = exponent === 0 ? fraction * 2 ** -24 : exponent < 31 ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction ? NaN : Infinity
      if (!Object.is(halves[h], h >> 15 ? -size : size) && !Number.isNaN(size)) assert.fail(`half ${h} is ${halves[h]}`)
      if (brains[h] !== h * 65536) assert.fail(`brain float ${h}`)
      if (Number.isNaN(size) !== Number.isNaN(halves[h])) assert.fail(`half ${h}`)
    })
    const isNan = (/** @type {number} */ i) => (i & 0x7fff) > 0x7c00
    new Uint16Array(convertFloats(new Uint8Array(halves.buffer), 'F32', 'F16', 'x').buffer).forEach((h, i) => { if (h !== i && !isNan(i)) assert.fail(`half ${i} comes back as ${h}`) })
  })
  test('floats are rounded to the nearest, and refused where a type has none', () => {
    const r = random(9), floats = Float32Array.from({ length: 40_000 }, (_, i) => (i % 2 ? r.normal() : 1) * 2 ** (r.below(40) - 26) * (1 + r.below(4096) / 4096)).map((x) => Math.max(-65000, Math.min(65000, x)))
    const as = (/** @type {string} */ type) => new Uint16Array(convertFloats(new Uint8Array(floats.buffer), 'F32', type, 'x').buffer)
    as('F16').forEach((h, i) => { if (h !== f16(floats[i])) assert.fail(`${floats[i]} became the half ${h}`) })
    const bits = new Uint32Array(floats.buffer)
    as('BF16').forEach((h, i) => {
      const [below, rest] = [Math.floor(bits[i] / 65536), bits[i] % 65536]
      if (h !== below + Number(rest > 32768 || (rest === 32768 && below % 2 === 1))) assert.fail(`${floats[i]} became the brain float ${h}`)
    })
    const one = (/** @type {number} */ x, /** @type {string} */ type) => convertFloats(new Uint8Array(Float32Array.of(x).buffer), 'F32', type, 'blk.0.x')
    assert.deepEqual([65519.99, -65519, Infinity].map((x) => one(x, 'F16')[1]), [0x7b, 0xfb, 0x7c])
    for (const [x, type] of /** @type {[number, string][]} */ ([[65520, 'F16'], [-1e30, 'F16'], [3.4e38, 'BF16']])) assert.throws(() => one(x, type), { code: 'E_UNSUPPORTED', message: /blk\.0\.x has numbers too large/ })
    assert.throws(() => convertFloats(Uint8Array.of(0, 0x48), 'BF16', 'F16', 'x'), { code: 'E_UNSUPPORTED' })
  })
  test('matrices become the type that is asked for, and the file says so', async () => {
    const { files } = await tinyFolder({ type: 'BF16' })
    for (const [type, number] of [['F32', 0], ['F16', 1], ['BF16', 32], ['keep', 32]]) {
      const { bytes, report } = await converted(files, { type })
      const { pairs, tensors } = await contents(bytes)
      assert.equal(lookUp(pairs, 'general.file_type'), number)
      for (const [name, t] of tensors) assert.equal(t.type, t.shape.length === 1 ? 'F32' : type === 'keep' ? 'BF16' : type, name)
      assert.equal(report.file_bytes, bytes.length)
    }
    const wide = (await converted(files, { type: 'F32' })).bytes
    sameTensors((await contents((await converted(wide, { type: 'BF16' })).bytes)).tensors, (await contents((await converted(files)).bytes)).tensors)
  })
  test('a GGUF file in parts becomes one, and quantized matrices stay what they are', async () => {
    const parts = tinyModel({ type: 'Q4_0', split: 3 }), whole = tinyModel({ type: 'Q4_0' })
    sameTensors((await contents((await converted(parts)).bytes)).tensors, (await contents(whole)).tensors)
    await assert.rejects(converted(whole, { type: 'F16' }), { code: 'E_UNSUPPORTED', message: /token_embd\.weight is quantized \(Q4_0\)/ })
  })
})

describe('metadata', () => {
  /** @param {object} options @param {object} [shape] */
  const pairsOf = async (options, shape) => {
    const { report, bytes } = await converted((await tinyFolder(shape ?? {}, options)).files)
    const { pairs } = await contents(bytes)
    return { report, pairs, get: (/** @type {string} */ key) => lookUp(pairs, key) }
  }
  test('name, licence and languages of the model card, and the size', async () => {
    const card = '---\nlicense: other\nlicense_name: "my licence"\nlicense_link: https://example.org/x\nlanguage:\n- en\n- de\ntags: [story, tiny]\nmodel-index:\n- name: x\n---\n# Title\nlicense: no\n'
    const { get } = await pairsOf({ files: { 'README.md': card } })
    assert.deepEqual(['license', 'license.name', 'license.link', 'languages', 'tags', 'type'].map((key) => get(`general.${key}`)), ['other', 'my licence', 'https://example.org/x', ['en', 'de'], ['story', 'tiny'], 'model'])
    assert.deepEqual([134.5e6, 1.236e9, 4.98e6, 70.6e9, 9.96e6].map(sizeLabel), ['135M', '1.2B', '5.0M', '71B', '10M'])
  })
  test('recommended sampling, unless the publisher says that it is not for sampling', async () => {
    const generation_config = { do_sample: true, temperature: 0.6, top_k: 20, top_p: 0.95, repetition_penalty: 1.05 }
    const { get } = await pairsOf({ files: { 'generation_config.json': generation_config } })
    assert.deepEqual(['temp', 'top_k', 'top_p', 'penalty_repeat', 'min_p'].map((key) => get(`general.sampling.${key}`)), [Math.fround(0.6), 20, Math.fround(0.95), Math.fround(1.05), undefined])
    assert.equal((await pairsOf({ files: { 'generation_config.json': { ...generation_config, do_sample: false } } })).get('general.sampling.temp'), undefined)
  })
  test('chat templates: one, several by name, from a file of their own', async () => {
    const base = { bos_token: null, eos_token: '<|im_end|>' }
    assert.equal((await pairsOf({})).get('tokenizer.chat_template'), CHATML)
    const named = [{ name: 'default', template: 'D' }, { name: 'tool_use', template: 'T' }]
    const { get } = await pairsOf({ files: { 'tokenizer_config.json': { ...base, chat_template: named }, 'additional_chat_templates/rag.jinja': 'R' } })
    assert.deepEqual(['chat_template', 'chat_templates', 'chat_template.tool_use', 'chat_template.rag'].map((key) => get(`tokenizer.${key}`)), ['D', ['tool_use', 'rag'], 'T', 'R'])
    assert.equal((await pairsOf({ files: { 'chat_template.jinja': 'J' } })).get('tokenizer.chat_template'), 'J')
    assert.equal((await pairsOf({ files: { 'tokenizer_config.json': base, 'chat_template.json': { chat_template: 'C' } } })).get('tokenizer.chat_template'), 'C')
  })
  test('ends of a text: the tokenizer names one, generation_config.json more', async () => {
    const { get } = await pairsOf({ files: { 'generation_config.json': { eos_token_id: [398, 399, 396] } } })
    assert.deepEqual(['eos', 'eot', 'eom'].map((role) => get(`tokenizer.ggml.${role}_token_id`)), [398, 399, undefined], '396 is <|endoftext|>, which programs know')
  })
  test('the factors of Llama 3.1 are those of its formula', async () => {
    const rope_scaling = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 }
    for (const config of [{ rope_theta: 500000, rope_scaling }, { rope_theta: undefined, rope_parameters: { ...rope_scaling, rope_theta: 500000 } }]) {
      const { bytes } = await converted((await tinyFolder({ head_dim: 64, n_heads: 1, n_kv_heads: 1 }, { config })).files)
      const { pairs, tensors } = await contents(bytes), { bytes: raw, shape } = tensors.get('rope_freqs.weight')
      assert.equal(lookUp(pairs, 'llama.rope.freq_base'), 500000)
      assert.deepEqual(shape, [32])
      const expected = Array.from({ length: 32 }, (_, i) => {
        const length = 2 * Math.PI / (1 / 500000 ** (i / 32))
        if (length < 8192 / 4) return 1
        if (length > 8192) return 8
        const smooth = (8192 / length - 1) / (4 - 1)
        return 1 / ((1 - smooth) * (1 / 8) + smooth)
      })
      assert.ok(expected.some((x) => x > 1 && x < 8))
      expected.forEach((x, i) => assert.ok(Math.abs(raw.readFloatLE(4 * i) - x) <= 1e-6 * x, `factor ${i}`))
    }
  })
  test('a window of attention bounds the context, and is told', async () => {
    const { get, report } = await pairsOf({ config: { architectures: ['MistralForCausalLM'], model_type: 'mistral', sliding_window: 100, max_position_embeddings: 256 } })
    assert.equal(get('llama.context_length'), 100)
    assert.match(report.notes.join(), /last 100 tokens/)
    assert.equal((await pairsOf({ config: { sliding_window: 100, use_sliding_window: false } }, { arch: 'qwen2' })).get('qwen2.context_length'), 256)
  })
  test('a number of tokens below the rows of the embedding is filled up, an added token beyond them left out', async () => {
    const { files } = await tinyFolder({})
    const tokenizer = JSON.parse(Buffer.from(files.find(({ name }) => name === 'tokenizer.json')?.file ?? []).toString())
    tokenizer.added_tokens.pop() // 399
    tokenizer.added_tokens.push({ id: 400, content: '[EXTRA]', special: true })
    const { pairs, report } = await pairsOf({ files: { 'tokenizer.json': tokenizer } })
    assert.equal(/** @type {string[]} */ (lookUp(pairs, 'tokenizer.ggml.tokens'))[399], '[PAD399]')
    assert.equal(/** @type {number[]} */ (lookUp(pairs, 'tokenizer.ggml.token_type'))[399], 5)
    assert.match(report.notes.join(), /no rows for "\[EXTRA\]"/)
  })
})

describe('what is refused, and what the sentence says', () => {
  /** @type {Record<string, [object, string, RegExp]>} */
  const cases = {
    'another architecture': [{ config: { architectures: ['GemmaForCausalLM'] } }, 'E_UNSUPPORTED', /GemmaForCausalLM.*LlamaForCausalLM, MistralForCausalLM/],
    'no architecture': [{ config: { architectures: undefined } }, 'E_UNSUPPORTED', /not named/],
    'YaRN': [{ config: { rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32768 } } }, 'E_UNSUPPORTED', /"yarn".*take it out of config\.json/],
    'another activation': [{ config: { hidden_act: 'gelu' } }, 'E_UNSUPPORTED', /hidden_act is "gelu"/],
    'biases of the feed-forward part': [{ config: { mlp_bias: true } }, 'E_UNSUPPORTED', /mlp_bias/],
    'half of a head rotated': [{ config: { partial_rotary_factor: 0.5 } }, 'E_UNSUPPORTED', /partial_rotary_factor/],
    'quantized weights': [{ config: { quantization_config: { quant_method: 'awq' } } }, 'E_UNSUPPORTED', /"awq".*original/],
    'sizes that do not fit the weights': [{ config: { intermediate_size: 128 } }, 'E_FORMAT', /gate_proj\.weight has the shape \[96,64\], where config\.json calls for \[128,64\]/],
    'a layer too few': [{ config: { num_hidden_layers: 2 } }, 'E_FORMAT', /no tensor model\.layers\.1\.input_layernorm/],
    'sizes that are no numbers': [{ config: { hidden_size: '64' } }, 'E_FORMAT', /hidden_size is "64"/],
    'sizes beyond all use': [{ config: { num_hidden_layers: 1e9 } }, 'E_FORMAT', /num_hidden_layers.*1 to 1024/],
    'no head where one is promised': [{ config: { tie_word_embeddings: false } }, 'E_FORMAT', /lm_head\.weight/],
    'weights that can run code': [{ files: { 'model.safetensors': undefined, 'pytorch_model.bin': 'x' } }, 'E_UNSUPPORTED', /pytorch_model\.bin.*safetensors/],
    'an adapter': [{ files: { 'config.json': undefined, 'adapter_config.json': '{}' } }, 'E_UNSUPPORTED', /adapter.*merge/],
    'no weights': [{ files: { 'model.safetensors': undefined } }, 'E_ARGUMENT', /no model\.safetensors/],
    'no tokenizer': [{ files: { 'tokenizer.json': undefined } }, 'E_ARGUMENT', /no tokenizer\.json/],
    'config.json that is no JSON': [{ files: { 'config.json': '{' } }, 'E_FORMAT', /config\.json is not JSON/],
    'config.json that is no object': [{ files: { 'config.json': '[1]' } }, 'E_FORMAT', /must hold a JSON object/],
  }
  for (const [what, [options, code, message]] of Object.entries(cases)) {
    test(what, async () => {
      await assert.rejects(async () => converted((await tinyFolder({ tied: true }, options)).files), { name: 'NibbleError', code, message })
    })
  }
  test('tensors that the architecture does not use', async () => {
    const { files } = await tinyFolder({ arch: 'qwen3' }, { config: { architectures: ['LlamaForCausalLM'] } })
    await assert.rejects(converted(files), { code: 'E_UNSUPPORTED', message: /2 tensors.*q_norm/ })
  })
  test('parts that are missing', async () => {
    const { files } = await tinyFolder({}, { parts: 3 })
    await assert.rejects(converted(files.filter(({ name }) => !name.includes('00002'))), { code: 'E_TRUNCATED', message: /1 of the 3 parts.*00002-of-00003/ })
  })
  test('nothing is left behind', async () => {
    const { files } = await tinyFolder({}, { config: { mlp_bias: true } }), path = join(temporary, 'refused')
    await mkdir(path)
    for (const { name, file } of files) await writeFile(join(path, name), file)
    await assert.rejects(run(process.execPath, [CLI, 'convert', path, join(path, 'out.gguf'), '--json']), (/** @type {any} */ error) => error.code === 1 && JSON.parse(error.stdout).error.code === 'E_UNSUPPORTED')
    assert.ok(!(await readdir(path)).some((name) => name.startsWith('out.gguf')))
  })
})

describe('where folders come from', () => {
  test('the command line converts a folder, also through links as in the cache of Hugging Face', async () => {
    const { files, bytes } = await tinyFolder({ type: 'F16' }, { files: { 'generation_config.json': { eos_token_id: 398 } } })
    const cache = join(temporary, 'models--org--My-Tiny_Model'), path = join(cache, 'snapshots', 'abc'), out = join(temporary, 'out.gguf')
    for (const part of [path, join(cache, 'blobs')]) await mkdir(part, { recursive: true })
    for (const [i, { name, file }] of files.entries()) {
      await writeFile(join(cache, 'blobs', String(i)), file)
      await symlink(join('..', '..', 'blobs', String(i)), join(path, name))
    }
    const report = JSON.parse((await run(process.execPath, [CLI, 'convert', path, out, '--json', '--type', 'f16'])).stdout)
    assert.deepEqual([report.name, report.architecture, report.types, report.output], ['My Tiny Model', 'llama', { F16: 9, F32: 3 }, out])
    sameTensors((await contents(out)).tensors, (await contents(bytes)).tensors)
    assert.match((await run(process.execPath, [CLI, 'convert', path, out])).stdout, /My Tiny Model, llama, .* 12 tensors \(9 F16, 3 F32\)/)
    await assert.rejects(run(process.execPath, [CLI, 'convert', path, out, '--type', 'Q4_0']), { code: 2 })
  })
  test('work that is cancelled leaves no file', async () => {
    const { files } = await tinyFolder({}), controller = new AbortController(), out = join(temporary, 'cancelled.gguf')
    await assert.rejects(convert(files, out, { signal: controller.signal, onProgress: ({ written, total }) => { if (written > total / 2) controller.abort() } }), { code: 'E_ABORTED' })
    assert.deepEqual((await readdir(temporary)).filter((name) => name.startsWith('cancelled')), [])
  })
  test('an input that cannot be read leaves what an interrupted quantizer wrote', async () => {
    const out = join(temporary, 'later.gguf')
    await writeFile(`${out}.part`, 'half')
    await assert.rejects(convert(join(temporary, 'nowhere'), out), { name: 'NibbleError' })
    assert.equal(await readFile(`${out}.part`, 'utf8'), 'half')
  })
  test('the quantizer takes a folder as it takes the file made of it', async () => {
    const { files } = await tinyFolder({ type: 'BF16' }, { config: { sliding_window: 100, use_sliding_window: true, architectures: ['LlamaForCausalLM'] } })
    const [a, b] = [memorySink(), memorySink()], options = { type: 'Q4_0', method: /** @type {const} */ ('rtn') }
    const { notes } = await quantize(files, a, options)
    await quantize((await converted(files)).bytes, b, options)
    assert.ok(Buffer.from(await a.bytes()).equals(Buffer.from(await b.bytes())))
    assert.match(notes[0], /sliding_window/)
  })
  test('a page gives the files of a folder that a person chose', async () => {
    const { files, bytes } = await tinyFolder({})
    const chosen = files.map(({ name, file }) => Object.defineProperty(new File([file], name), 'webkitRelativePath', { value: `My-Model/${name}` }))
    const made = await converted([...chosen, Object.defineProperty(new File(['x'], 'x.txt'), 'webkitRelativePath', { value: 'My-Model/sub/x.txt' })])
    assert.equal(made.report.name, 'My Model')
    sameTensors((await contents(made.bytes)).tensors, (await contents(bytes)).tensors)
  })
})

describe('llama.cpp', () => {
  const places = [modules, process.env.NIBBLE_PEERS ?? ''].filter((path) => path && existsSync(join(path, 'node-llama-cpp')))
  const shapes = {
    'llama, SentencePiece, with the factors of Llama 3': { shape: { vocab: 'spm', n_vocab: 512 }, bos: 1, config: { rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 } } },
    'llama in BF16, with linear scaling': { shape: { type: 'BF16', metadata: [['llama.rope.scaling.type', 8, 'linear'], ['llama.rope.scaling.factor', 6, 4]] } },
    qwen2: { shape: { arch: 'qwen2' } }, 'qwen3 in F16': { shape: { arch: 'qwen3', type: 'F16', tied: true } },
  }
  const why = places.length === 0 && 'node-llama-cpp is not there (NIBBLE_PEERS names a node_modules folder with it)'
  /** @param {string} file @param {string} prompt @param {number | undefined} bos @param {number} n */
  async function compare(file, prompt, bos, n) {
    const theirs = JSON.parse((await run(process.execPath, [NATIVE, places[0], file, prompt, String(n), ...(bos === undefined ? [] : [String(bos)])])).stdout)
    const model = await load(file, { floatActivations: true })
    const ids = model.tokenize(prompt)
    const ours = await model.completions.create({ prompt, max_tokens: n, temperature: 0, repeat_penalty: 1, ignore_eos: true })
    await model.dispose()
    assert.deepEqual(theirs.prompt, ids)
    assert.deepEqual(theirs.tokens, ours.choices[0].tokens)
  }
  for (const [what, { shape, config, bos }] of Object.entries(/** @type {Record<string, any>} */ (shapes))) {
    test(`reads and continues text as this library does: ${what}`, { skip: why }, async () => {
      const { files } = await tinyFolder({ n_layers: 2, d_model: 128, d_ff: 256, head_dim: 32, ...shape }, { config }), out = join(temporary, 'native.gguf')
      await writeFile(out, (await converted(files)).bytes)
      await compare(out, 'Once upon a time there was', bos, 12)
    })
  }
  test('and the embedded model', { skip: why }, async () => {
    const out = join(temporary, 'embedded.gguf')
    await writeFile(out, (await converted(await huggingFaceFolder(ORIGINAL), { type: 'F32' })).bytes)
    await compare(out, 'Tell me a story about a little fox.', 1, 24)
  })
})
