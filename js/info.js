/**
 * What the header of a model says, as plain objects.
 */
import { decodeUtf8 } from './memory.js'

/**
 * @typedef {string | number | bigint | boolean | (string | number | bigint | boolean)[]} MetadataValue
 *
 * @typedef {object} TensorInfo
 * @property {string} name
 * @property {string} type
 * @property {number[]} shape  as in the file: the length of a row first
 * @property {number} bytes
 *
 * @typedef {object} ModelInfo
 * @property {string} architecture
 * @property {boolean} supported  whether this version runs it
 * @property {string} name
 * @property {number} parameters
 * @property {number} bpw  bits per weight, over all tensors
 * @property {number} weight_bytes
 * @property {number} n_ctx  tokens the model was trained on
 * @property {Record<string, number>} config  hyper-parameters, by the names used throughout
 * @property {Record<string, MetadataValue>} metadata  everything in the header but the long arrays of the tokenizer
 * @property {string | undefined} chat_template
 * @property {TensorInfo[]} [tensors]
 * @property {string[]} [sha256]  of each part, where it was loaded with integrity
 * @property {number} [file_bytes]
 */

/** Arrays with more items are left out of the metadata: vocabularies have hundreds of thousands. */
const LONGEST_ARRAY = 64

/** How DataView calls the kinds of numbers (nb_gguf_kind, in the order of its numbers). */
const NUMBERS = /** @type {const} */ (['Uint8', 'Int8', 'Uint16', 'Int16', 'Uint32', 'Int32', 'Float32', 'Uint8', '', '', 'BigUint64', 'BigInt64', 'Float64'])
const BOOL = 7
const STRING = 8
const ARRAY = 9

/** @param {bigint} n */
const small = (n) => (n >= Number.MIN_SAFE_INTEGER && n <= Number.MAX_SAFE_INTEGER ? Number(n) : n)

/**
 * `count` items of raw metadata.
 * @param {Uint8Array} bytes @param {number} kind  nb_gguf_kind @param {number} count
 */
export function readItems(bytes, kind, count) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const items = []
  for (let i = 0, at = 0; i < count; i++) {
    if (kind === STRING) {
      const length = Number(view.getBigUint64(at, true))
      items.push(decodeUtf8(bytes.subarray(at + 8, at + 8 + length)))
      at += 8 + length
    } else {
      const name = /** @type {Exclude<typeof NUMBERS[number], ''>} */ (NUMBERS[kind])
      const value = view[`get${name}`](at, true)
      items.push(typeof value === 'bigint' ? small(value) : kind === BOOL ? value !== 0 : value)
      at += parseInt(name.replace(/\D+/, '')) / 8
    }
  }
  return items
}

/**
 * @param {import('./runtime.js').Engine} engine
 * @param {number} model
 * @param {{tensors?: boolean}} [options]
 * @returns {ModelInfo}
 */
export function readInfo(engine, model, { tensors = false } = {}) {
  const { heap, out } = engine
  /** @type {Record<string, number>} */
  const fields = {}
  for (let i = 0; ; i++) {
    const name = heap.cstring(engine.ptr('nbw_model_field_name', i))
    if (name === null) break
    fields[name] = engine.call('nbw_model_field', model, i)
  }
  const { n_parameters, weight_bytes, n_files, n_tensors, n_kv, ...config } = fields
  /** @type {Map<string, MetadataValue>} */
  const pairs = new Map()
  for (let i = 0; i < n_kv; i++) {
    engine.call('nbw_model_kv', model, i, out)
    const [key, keyLength, kind, itemKind, count, data, length] = heap.f64(out, 7)
    const name = heap.string(key, keyLength)
    const bytes = heap.bytes(data, length).slice()
    if (kind !== ARRAY) pairs.set(name, readItems(bytes, kind, 1)[0])
    else if (count <= LONGEST_ARRAY) pairs.set(name, readItems(bytes, itemKind, count))
  }
  const metadata = Object.fromEntries(pairs) // by definition, not assignment: a file may call a key __proto__
  /** @type {TensorInfo[] | undefined} */
  let list
  if (tensors) {
    list = []
    for (let i = 0; i < n_tensors; i++) {
      engine.call('nbw_model_tensor', model, i, out)
      const [name, nameLength, type, n_dims, ...rest] = heap.f64(out, 9)
      list.push({ name: heap.string(name, nameLength), type: heap.cstring(engine.ptr('nbw_type_name', type)) ?? String(type), shape: rest.slice(0, n_dims), bytes: rest[4] })
    }
  }
  const architecture = String(metadata['general.architecture'] ?? 'unknown')
  // Others may stand beside it under names of their own, such as tokenizer.chat_template.tool_use.
  const template = metadata['tokenizer.chat_template'] ?? metadata['tokenizer.chat_template.default']
  return {
    architecture,
    supported: engine.ptr('nbw_model_arch', model) !== 0,
    name: String(metadata['general.name'] ?? architecture),
    parameters: n_parameters,
    bpw: n_parameters ? (weight_bytes * 8) / n_parameters : 0,
    weight_bytes,
    n_ctx: config.n_ctx_train,
    config,
    metadata,
    chat_template: typeof template === 'string' ? template : undefined,
    ...(list && { tensors: list }),
  }
}
