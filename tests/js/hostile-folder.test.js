// Folders from outside: whatever their bytes are, the answer is a checkpoint or a typed error that says where it is wrong.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { openCheckpoint } from '../../js/quantize/checkpoint.js'
import { parseHeader } from '../../js/quantize/safetensors.js'
import { readSentencePiece } from '../../js/quantize/sentencepiece.js'
import { huggingFaceFolder } from './hf-folder.js'
import { random, tinyModel } from './tiny-model.js'

const SHAPE = { n_layers: 1, d_model: 32, d_ff: 32, n_heads: 2, n_kv_heads: 1, head_dim: 16, n_vocab: 330 }
const utf8 = new TextEncoder()
/** @type {Record<string, any>} */
const folders = {
  bpe: await huggingFaceFolder(tinyModel(SHAPE)), spm: await huggingFaceFolder(tinyModel({ ...SHAPE, vocab: 'spm' })),
  parts: await huggingFaceFolder(tinyModel(SHAPE), { parts: 2, config: { rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 }, sliding_window: 16 } }),
}
/** @param {string} folder @param {string} name @returns {Uint8Array} */
const fileOf = (folder, name) => folders[folder].find((/** @type {any} */ f) => f.name === name).file

/**
 * Opens a folder with another file in it; true where that is a model, too. Errors without a type, or that blame this library, fail the test.
 * @param {string} folder @param {string} name @param {Uint8Array} file
 */
async function opens(folder, name, file) {
  try {
    const checkpoint = await openCheckpoint(folders[folder].map((/** @type {any} */ f) => (f.name === name ? { name, file } : f)))
    await checkpoint.close()
    return true
  } catch (error) {
    const { name: kind, code, message, stack } = /** @type {any} */ (error)
    assert.equal(kind, 'NibbleError', `${stack}\n${Buffer.from(file.subarray(0, 2000))}`)
    assert.notEqual(code, 'E_INTERNAL', message)
    assert.ok(message.length < 1000, message)
    return false
  }
}

/** @param {Uint8Array} bytes @param {number} end  of the part that is changed @param {ReturnType<typeof random>} r */
function flipped(bytes, end, r) {
  const copy = bytes.slice()
  for (let i = 1 + r.below(3); i > 0; i--) copy[r.below(end)] = r.below(2) ? r.next() & 255 : '"{}[],:0189-.eE\\ '.charCodeAt(r.below(16))
  return copy
}

/** A header before no more than `data` bytes. @param {string} text @param {number} data */
const header = (text, data) => parseHeader(utf8.encode(text), 8 + utf8.encode(text).length + data, 'x.safetensors')
const one = (/** @type {string} */ fields) => `{"a":{${fields}}}`

describe('headers of safetensors', () => {
  test('what the format allows is read', () => {
    assert.deepEqual([...header('{}', 0)], [])
    const text = ' {"__metadata__":{"a":"b"},"x\\u00e9":{"data_offsets":[0,4],"shape":[],"dtype":"F32"},"__proto__":{"dtype":"BF16","shape":[2,0],"data_offsets":[4,4]}}   '
    assert.deepEqual([...header(text, 4).values()].map(({ dtype, shape, bytes }) => ({ dtype, shape, bytes })), [{ dtype: 'F32', shape: [], bytes: 4 }, { dtype: 'BF16', shape: [2, 0], bytes: 0 }])
    assert.deepEqual([...header(text, 4).keys()], ['xé', '__proto__'])
  })
  /** @type {Record<string, [string, number, string, RegExp]>} */
  const cases = {
    'no JSON': ['hello', 0, 'E_FORMAT', /has no '\{'/],
    'a list': ['[]', 0, 'E_FORMAT', /has no '\{'/],
    'something behind it': ['{}x', 0, 'E_FORMAT', /goes on behind its end/],
    'a name twice': ['{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', 2, 'E_FORMAT', /names 'a' twice/],
    'a field twice': [one('"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]'), 1, 'E_FORMAT', /names 'shape' twice/],
    'a field missing': [one('"dtype":"U8","shape":[1]'), 0, 'E_FORMAT', /must have dtype, shape and two data_offsets/],
    'an unknown field': [one('"dtype":"U8","shape":[1],"data_offsets":[0,1],"strides":[1]'), 1, 'E_FORMAT', /unknown field 'strides'/],
    'an unknown type': [one('"dtype":"F4","shape":[1],"data_offsets":[0,1]'), 1, 'E_UNSUPPORTED', /'a' has the type F4/],
    'a type that objects inherit': [one('"dtype":"toString","shape":[1],"data_offsets":[0,1]'), 1, 'E_UNSUPPORTED', /has the type toString/],
    'a negative size': [one('"dtype":"U8","shape":[-1],"data_offsets":[0,1]'), 1, 'E_FORMAT', /no whole number/],
    'a fraction': [one('"dtype":"U8","shape":[1.5],"data_offsets":[0,1]'), 1, 'E_FORMAT', /no whole number/],
    'a number beyond 2^53': [one('"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,1]'), 1, 'E_FORMAT', /no whole number/],
    'a product beyond 2^53': [one('"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]'), 0, 'E_FORMAT', /does not fill/],
    'a product of infinity and nothing': [one(`"dtype":"F32","shape":[${Array(8).fill('9007199254740991')}],"data_offsets":[0,0]`), 0, 'E_FORMAT', /does not fill/],
    'nine dimensions': [one('"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]'), 1, 'E_FORMAT', /more than 8 numbers/],
    'three offsets': [one('"dtype":"U8","shape":[1],"data_offsets":[0,1,1]'), 1, 'E_FORMAT', /more than 2 numbers/],
    'offsets turned round': [one('"dtype":"U8","shape":[1],"data_offsets":[1,0]'), 1, 'E_FORMAT', /does not fill/],
    'too few bytes': [one('"dtype":"F32","shape":[2],"data_offsets":[0,4]'), 4, 'E_FORMAT', /shape \[2\] in F32 does not fill its bytes 0 to 4/],
    'an overlap': ['{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}', 3, 'E_FORMAT', /'b' overlaps/],
    'a hole': ['{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', 2, 'E_FORMAT', /'a' leaves a hole/],
    'data that is cut': [one('"dtype":"U8","shape":[9],"data_offsets":[0,9]'), 5, 'E_TRUNCATED', /was cut/],
    'data behind the last tensor': [one('"dtype":"U8","shape":[1],"data_offsets":[0,1]'), 2, 'E_FORMAT', /1 bytes behind/],
    'metadata that is no text': ['{"__metadata__":{"a":1}}', 0, 'E_FORMAT', /has no '"'/],
    'objects without end': [`{"a":${'{"shape":'.repeat(50_000)}`, 0, 'E_FORMAT', /has no '\['/],
  }
  for (const [what, [text, data, code, message]] of Object.entries(cases)) {
    test(`refused: ${what}`, () => assert.throws(() => header(text, data), { name: 'NibbleError', code, message }))
  }
  test('bytes that are no UTF-8', () => assert.throws(() => parseHeader(Uint8Array.of(0x7b, 0xff, 0x7d), 11, 'x'), { code: 'E_FORMAT', message: /not UTF-8/ }))
  test('a length beyond the file, and one beyond all use', async () => {
    const file = fileOf('bpe', 'model.safetensors').slice()
    new DataView(file.buffer).setUint32(0, file.length - 7, true)
    await assert.rejects(openCheckpoint([...folders.bpe.filter((/** @type {any} */ f) => f.name !== 'model.safetensors'), { name: 'model.safetensors', file }]), { code: 'E_TRUNCATED' })
    new DataView(file.buffer).setUint32(4, 1 << 30, true)
    await assert.rejects(openCheckpoint([...folders.bpe.filter((/** @type {any} */ f) => f.name !== 'model.safetensors'), { name: 'model.safetensors', file }]), { code: 'E_FORMAT', message: /is it a safetensors file/ })
  })
})

/** Where the header of a safetensors file ends. @param {Uint8Array} file */
const headerEnd = (file) => 8 + new DataView(file.buffer, file.byteOffset).getUint32(0, true)

describe('damage', () => {
  test('a safetensors file that ends anywhere in its header, or soon after, is refused', async () => {
    const file = fileOf('bpe', 'model.safetensors')
    for (let n = 0; n < headerEnd(file) + 40; n++) assert.equal(await opens('bpe', 'model.safetensors', file.subarray(0, n)), false, `${n} bytes`)
  })
  test('flipped bytes in a header', async () => {
    const file = fileOf('bpe', 'model.safetensors'), r = random(1)
    let refused = 0
    for (let i = 0; i < 1500; i++) refused += Number(!await opens('bpe', 'model.safetensors', flipped(file, headerEnd(file), r)))
    assert.ok(refused > 1000)
  })
  /** @type {[string, string][]} */
  const texts = [['bpe', 'config.json'], ['parts', 'config.json'], ['bpe', 'tokenizer.json'], ['spm', 'tokenizer.json'], ['bpe', 'tokenizer_config.json'], ['bpe', 'generation_config.json'], ['parts', 'model.safetensors.index.json']]
  for (const [folder, name] of texts) {
    test(`${name} (${folder}) that ends anywhere is refused`, async () => {
      const file = fileOf(folder, name), step = Math.ceil(file.length / 400)
      for (let n = 0; n < file.length; n += step) assert.equal(await opens(folder, name, file.subarray(0, n)), false, `${n} bytes`)
    })
    test(`flipped bytes in ${name} (${folder})`, async () => {
      const file = fileOf(folder, name), r = random(2)
      for (let i = 0; i < 300; i++) await opens(folder, name, flipped(file, file.length, r))
    })
    test(`other values in ${name} (${folder})`, async () => {
      const r = random(3), values = [null, true, -1, 0, 1.5, 1e300, 4294967296, '', 'x', '\ud800', '__proto__', [], [null], [[]], [1, 'a'], {}, { type: 'Sequence' }, { content: 5 }, { type: 'BPE' }]
      const text = Buffer.from(fileOf(folder, name)).toString()
      /** Paths to every value, of long lists and objects to some. @param {any} value @param {string[]} path @returns {string[][]} */
      const paths = (value, path) => [path, ...(typeof value === 'object' && value !== null
        ? Object.keys(value).filter((_, i, all) => all.length < 30 || i % Math.ceil(all.length / 5) === 0).flatMap((key) => paths(value[key], [...path, key])) : [])]
      const all = paths(JSON.parse(text), [])
      for (let i = 0; i < 600; i++) {
        const root = { root: JSON.parse(text) }, path = ['root', ...all[r.below(all.length)]], value = values[r.below(values.length)]
        const parent = path.slice(0, -1).reduce((/** @type {any} */ at, key) => at[key], root), last = path[path.length - 1]
        if (r.below(4) === 0 && path.length > 1) delete parent[last]
        else parent[last] = value
        await opens(folder, name, utf8.encode(JSON.stringify(root.root)))
      }
    })
  }
  test('JSON that is nested deeply', async () => {
    for (const open of ['[', '{"a":']) for (const name of ['config.json', 'tokenizer.json']) assert.equal(await opens('bpe', name, utf8.encode(open.repeat(100_000))), false)
    const deep = `${'{"type":"Sequence","processors":['.repeat(20_000)}${']}'.repeat(20_000)}`
    const text = Buffer.from(fileOf('bpe', 'tokenizer.json')).toString().replace(/"post_processor":\{.*?\}(?=,"decoder")/, `"post_processor":${deep}`)
    await opens('bpe', 'tokenizer.json', utf8.encode(text))
  })
  test('tokenizer.model: cut, flipped, and without an end', () => {
    const first = [0x0a, 10, 0x0a, 1, 97, 0x15, 0, 0, 0x80, 0xbf, 0x18, 1], second = [0x0a, 3, 0x0a, 1, 98], trainer = [0x12, 2, 0x18, 2], normalizer = [0x1a, 2, 0x20, 0]
    const model = Uint8Array.from([...first, ...second, ...trainer, ...normalizer])
    assert.deepEqual(readSentencePiece(model, []), { model: 'llama', tokens: ['a', 'b'], types: [1, 1], scores: [-1, 0], spacePrefix: true })
    const r = random(4)
    for (let i = 0; i < 3000; i++) {
      const bytes = i < model.length ? model.subarray(0, i) : flipped(model, model.length, r)
      try {
        readSentencePiece(bytes, [])
      } catch (error) {
        assert.equal(/** @type {any} */ (error).name, 'NibbleError', /** @type {any} */ (error).stack)
      }
    }
    assert.throws(() => readSentencePiece(new Uint8Array(20).fill(0xff), []), { code: 'E_FORMAT', message: /number is too long/ })
    assert.throws(() => readSentencePiece(Uint8Array.of(0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f), []), { code: 'E_FORMAT', message: /cut off/ })
  })
})
