/**
 * A Hugging Face folder (config.json, safetensors, tokenizer) as a checkpoint: metadata and tensors as a GGUF file has them.
 */
import { NibbleError } from '../errors.js'
import { convertFloats, FLOAT_BYTES } from './floats.js'
import { readJson } from './folder.js'
import { readConfig } from './hf-config.js'
import { chatTemplates, general, sampling } from './hf-metadata.js'
import { readTokenizer } from './hf-tokenizer.js'
import { pair } from './pairs.js'
import { openSafetensors } from './safetensors.js'

/**
 * @typedef {object} Place  where a tensor of the GGUF file comes from
 * @property {string} name  @property {number[]} shape  the length of a row first
 * @property {string} [source]  the tensor of the folder
 * @property {Float32Array} [values]  or its numbers
 * @property {number} [heads]  rows are reordered within so many heads
 */

/** general.file_type @type {Record<string, number>} */
export const FILE_TYPES = { F32: 0, F16: 1, BF16: 32 }

/** Saved by old versions of transformers, and computed from the configuration. @param {string} name */
const isComputed = (name) => name.endsWith('.rotary_emb.inv_freq') || name.endsWith('.attention.masked_bias')

/**
 * The tensors that a model of this configuration has, in the order in which they are used.
 * @param {import('./hf-config.js').Config} c @param {boolean} tied
 * @returns {Place[]}
 */
function places(c, tied) {
  const { family, width, ffn, heads, kvHeads, headDim } = c, q = heads * headDim, kv = kvHeads * headDim
  /** @type {Place[]} */
  const list = [{ name: 'token_embd.weight', source: 'model.embed_tokens.weight', shape: [width, c.vocab] }]
  if (c.ropeFactors) list.push({ name: 'rope_freqs.weight', values: Float32Array.from(c.ropeFactors), shape: [headDim / 2] })
  for (let i = 0; i < c.layers; i++) {
    /** @param {string} name @param {string} source @param {number[]} shape @param {number} [turned] */
    const put = (name, source, shape, turned) => list.push({
      name: `blk.${i}.${name}`, source: `model.layers.${i}.${source}`, shape, ...(turned && family.neighbours && { heads: turned }),
    })
    /** @param {string} name @param {string} letter @param {number} cols @param {number} rows @param {number} [turned] */
    const project = (name, letter, cols, rows, turned) => {
      put(`${name}.weight`, `self_attn.${letter}_proj.weight`, [cols, rows], turned)
      if (c.biases.has(letter)) put(`${name}.bias`, `self_attn.${letter}_proj.bias`, [rows], turned)
    }
    put('attn_norm.weight', 'input_layernorm.weight', [width])
    project('attn_q', 'q', width, q, heads)
    project('attn_k', 'k', width, kv, kvHeads)
    project('attn_v', 'v', width, kv)
    if (family.headNorms) for (const letter of ['q', 'k']) put(`attn_${letter}_norm.weight`, `self_attn.${letter}_norm.weight`, [headDim])
    project('attn_output', 'o', q, width)
    put('ffn_norm.weight', 'post_attention_layernorm.weight', [width])
    put('ffn_gate.weight', 'mlp.gate_proj.weight', [width, ffn])
    put('ffn_up.weight', 'mlp.up_proj.weight', [width, ffn])
    put('ffn_down.weight', 'mlp.down_proj.weight', [ffn, width])
  }
  list.push({ name: 'output_norm.weight', source: 'model.norm.weight', shape: [width] })
  if (!tied) list.push({ name: 'output.weight', source: 'lm_head.weight', shape: [width, c.vocab] })
  return list
}

/** @param {Place[]} wanted @param {import('./safetensors.js').SafeTensors} weights @param {boolean} tied */
function checkTensors(wanted, { tensors }, tied) {
  for (const { source, shape } of wanted) {
    const found = source === undefined ? undefined : tensors.get(source)
    if (source === undefined) continue
    if (!found) throw new NibbleError('E_FORMAT', `the weights have no tensor ${source}, which config.json calls for; is the model complete?`)
    if (!Object.hasOwn(FLOAT_BYTES, found.dtype)) throw new NibbleError('E_UNSUPPORTED', `the tensor ${source} is in ${found.dtype}; take the model in BF16, F16 or F32`)
    const rows = [...shape].reverse()
    if (found.shape.length !== rows.length || found.shape.some((d, i) => d !== rows[i])) {
      throw new NibbleError('E_FORMAT', `the tensor ${source} has the shape [${found.shape}], where config.json calls for [${rows}]`)
    }
  }
  const known = new Set(wanted.map(({ source }) => source))
  const strange = [...tensors.keys()].filter((name) => !known.has(name) && !isComputed(name) && !(tied && name === 'lm_head.weight'))
  if (strange.length > 0) {
    throw new NibbleError('E_UNSUPPORTED', `the weights have ${strange.length} tensors that this architecture does not use, such as ${strange[0].slice(0, 120)}: the model computes more than is run here`)
  }
}

/** @param {import('./hf-config.js').Config} c @param {string} matrices  the type of most of them @returns {import('./pairs.js').Pair[]} */
function sizes(c, matrices) {
  const { arch } = c.family
  return [
    pair.u32(`${arch}.block_count`, c.layers), pair.u32(`${arch}.context_length`, c.context), pair.u32(`${arch}.embedding_length`, c.width),
    pair.u32(`${arch}.feed_forward_length`, c.ffn), pair.u32(`${arch}.attention.head_count`, c.heads), pair.u32(`${arch}.attention.head_count_kv`, c.kvHeads),
    pair.f32(`${arch}.rope.freq_base`, c.ropeBase), pair.f32(`${arch}.attention.layer_norm_rms_epsilon`, c.eps),
    pair.u32(`${arch}.attention.key_length`, c.headDim), pair.u32(`${arch}.attention.value_length`, c.headDim),
    pair.u32('general.file_type', FILE_TYPES[matrices]), pair.u32(`${arch}.vocab_size`, c.vocab), pair.u32(`${arch}.rope.dimension_count`, c.headDim),
    ...(c.linear ? [pair.string(`${arch}.rope.scaling.type`, 'linear'), pair.f32(`${arch}.rope.scaling.factor`, c.linear)] : []),
    pair.u32('general.quantization_version', 2),
  ]
}

/**
 * Bytes of a tensor's rows as the GGUF file has them: where rows are reordered, number i of a head's first half goes to 2i, of its second half to 2i + 1.
 * @param {Place & {source: string, from: string, type: string}} place @param {import('./safetensors.js').SafeTensors} weights @param {number} offset @param {number} length
 */
async function readPlace({ name, source, shape, heads, from, type }, weights, offset, length) {
  const before = FLOAT_BYTES[from], after = FLOAT_BYTES[type]
  if (offset % after || length % after) throw new NibbleError('E_INTERNAL', `the bytes ${offset} to ${offset + length} of ${name} are no whole numbers`)
  const start = offset / after * before, end = (offset + length) / after * before
  if (!heads) return convertFloats(await weights.read(source, start, end - start), from, type, name)
  const rows = shape.at(-1) ?? 1, row = (shape.length > 1 ? shape[0] : 1) * before, head = rows / heads
  const first = Math.floor(start / (head * row)), last = Math.ceil(end / (head * row)), out = new Uint8Array((last - first) * head * row)
  for (let h = first; h < last; h++) {
    const halves = await weights.read(source, h * head * row, head * row)
    for (let i = 0; i < head; i++) {
      const at = i % 2 * head / 2 + (i >> 1)
      out.set(halves.subarray(at * row, (at + 1) * row), ((h - first) * head + i) * row)
    }
  }
  return convertFloats(out.slice(start - first * head * row, end - first * head * row), from, type, name)
}

/** The type that holds the most bytes of matrices. @param {{type: string, shape: number[], bytes: number}[]} tensors */
export function mainType(tensors) {
  /** @type {Map<string, number>} */
  const bytes = new Map()
  for (const t of tensors) if (t.shape.length > 1) bytes.set(t.type, (bytes.get(t.type) ?? 0) + t.bytes)
  return [...bytes].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'F32'
}

/**
 * Opens a folder. Vectors are F32, as everything that runs GGUF files wants them; matrices keep their type.
 * @param {import('./folder.js').Folder} folder
 * @returns {Promise<import('./checkpoint.js').Checkpoint>}
 */
export async function openHuggingFace(folder) {
  /** @type {string[]} */
  const notes = []
  const config = await readJson(folder, 'config.json')
  if (!config) {
    throw folder.files.has('adapter_config.json') ? new NibbleError('E_UNSUPPORTED', `${folder.name} is an adapter (LoRA), not a model: merge it into its base model first`)
      : new NibbleError('E_ARGUMENT', `${folder.name} has no config.json: it is no folder of a Hugging Face model`)
  }
  const c = readConfig(config, notes)
  const weights = await openSafetensors(folder)
  try {
    const tied = c.tied ?? !weights.tensors.has('lm_head.weight')
    const wanted = places(c, tied)
    checkTensors(wanted, weights, tied)
    const generation = await readJson(folder, 'generation_config.json')
    const placed = new Map(wanted.map((place) => {
      const from = place.source === undefined ? 'F32' : weights.tensors.get(place.source)?.dtype ?? ''
      return [place.name, { ...place, from, type: place.shape.length > 1 ? from : 'F32' }]
    }))
    const tensors = [...placed.values()].map(({ name, type, shape }) => ({ name, type, shape, bytes: shape.reduce((n, d) => n * d, FLOAT_BYTES[type]) }))
    const parameters = wanted.reduce((n, { shape, values }) => n + (values ? 0 : shape.reduce((a, d) => a * d, 1)), 0)
    const tokenizer = await readTokenizer(folder, c.vocab, { config, generation }, notes)
    return {
      name: folder.name, tensors, notes,
      pairs: [...await general(folder, parameters, c.family.arch), ...sampling(generation), ...sizes(c, mainType(tensors)), ...tokenizer, ...await chatTemplates(folder, notes)],
      async read({ name }, offset, length) {
        const place = placed.get(name)
        if (!place) throw new NibbleError('E_INTERNAL', `there is no tensor ${name}`)
        const { source, values } = place
        if (values) return new Uint8Array(values.buffer.slice(offset, offset + length))
        return readPlace({ ...place, source: source ?? '' }, weights, offset, length)
      },
      close: () => weights.close(),
    }
  } catch (error) {
    await weights.close()
    throw error
  }
}
