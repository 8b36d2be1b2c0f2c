/**
 * Which tensor gets which type. Mixes are named as llama.cpp names them, and choose as its quantizer does.
 */
import { NibbleError } from '../errors.js'
import { lookUp } from './pairs.js'
import { TYPE_NAMES, isFloat, rowsOf, tensorBytes, typeInfo } from './types.js'

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./checkpoint.js').Tensor} Tensor
 *
 * @typedef {object} PlanOptions
 * @property {string} type  a type or a mix, such as 'Q4_0' or 'Q4_K_M'; not looked at where there are types
 * @property {Map<string, string>} [types]  of matrices by their names, as js/quantize/target.js chooses them; none of them is otherwise then
 * @property {[pattern: string | RegExp, type: string][]} [tensorTypes]  types of tensors whose name matches; the last that matches counts
 * @property {string} [outputTensorType]  @property {string} [tokenEmbeddingType]
 * @property {boolean} [pure]  all matrices in the one type
 * @property {boolean} [allowRequantize]  also from types that are quantized
 * @property {boolean} [hasImatrix]  importance is known: some mixes then choose otherwise
 *
 * @typedef {object} TensorPlan
 * @property {Tensor} tensor
 * @property {string} to  type in the output; that of the tensor where it is copied
 * @property {boolean} copied
 * @property {number} bytes  in the output
 *
 * @typedef {object} Plan
 * @property {string} type  as asked for, in capitals
 * @property {number} fileType  general.file_type: llama_ftype
 * @property {TensorPlan[]} tensors  in the order of the input
 * @property {string[]} notes  what is otherwise than asked for, for people
 */

/** Mixes and what general.file_type calls them. @type {Record<string, {base: string, fileType: number}>} */
const MIXES = {
  F32: { base: 'F32', fileType: 0 }, F16: { base: 'F16', fileType: 1 }, BF16: { base: 'BF16', fileType: 32 },
  Q4_0: { base: 'Q4_0', fileType: 2 }, Q4_1: { base: 'Q4_1', fileType: 3 }, Q5_0: { base: 'Q5_0', fileType: 8 }, Q5_1: { base: 'Q5_1', fileType: 9 },
  Q8_0: { base: 'Q8_0', fileType: 7 }, IQ4_NL: { base: 'IQ4_NL', fileType: 25 }, IQ4_XS: { base: 'IQ4_XS', fileType: 30 },
  Q2_K: { base: 'Q2_K', fileType: 10 }, Q3_K_S: { base: 'Q3_K', fileType: 11 }, Q3_K_M: { base: 'Q3_K', fileType: 12 }, Q3_K_L: { base: 'Q3_K', fileType: 13 },
  Q4_K_S: { base: 'Q4_K', fileType: 14 }, Q4_K_M: { base: 'Q4_K', fileType: 15 }, Q5_K_S: { base: 'Q5_K', fileType: 16 }, Q5_K_M: { base: 'Q5_K', fileType: 17 },
  Q6_K: { base: 'Q6_K', fileType: 18 },
}
/** The plain name means the mix that people use. @type {Record<string, string>} */
const ALIASES = { Q3_K: 'Q3_K_M', Q4_K: 'Q4_K_M', Q5_K: 'Q5_K_M' }

export const MIX_NAMES = Object.keys(MIXES)
/** The name of mixes that are chosen for a model. */
export const MIXED = 'MIXED'

/** What stands in for a type where a row is no whole number of its blocks. @type {Record<string, string>} */
const FALLBACK = { Q2_K: 'IQ4_NL', Q3_K: 'IQ4_NL', IQ4_XS: 'IQ4_NL', Q4_K: 'Q5_0', Q5_K: 'Q5_1', Q6_K: 'Q8_0' }

/** Matrices that are kept: small, and sensitive. */
const KEPT = /_norm\.weight|ffn_gate_inp\.weight|altup|laurel|per_layer_model_proj|position_embd|token_types|ssm_conv1d\.weight|shortconv\.conv\.weight|time_mix_(first|w[012]|v[012]|a[012]|g[12]|decay_w[12]|lerp_fused)\.weight|attn_rel_b\.weight/

/** @param {string} text @param {string} what */
export function typeNamed(text, what) {
  const name = text.toUpperCase()
  if (!TYPE_NAMES.includes(name)) throw new NibbleError('E_ARGUMENT', `${what}: there is no type '${text}'; the types are ${TYPE_NAMES.join(', ')}`)
  return name
}

/** @param {string} text @returns {{type: string, base: string, fileType: number}} */
export function mixNamed(text) {
  const name = text.toUpperCase(), type = Object.hasOwn(ALIASES, name) ? ALIASES[name] : name
  if (!Object.hasOwn(MIXES, type)) throw new NibbleError('E_ARGUMENT', `there is no type '${text}'; the types are ${MIX_NAMES.join(', ')}`)
  return { type, ...MIXES[type] }
}

/** Whether a tensor is one of those that are quantized. @param {Tensor} tensor */
export const isMatrix = ({ name, shape }) => name.endsWith('weight') && shape.slice(1).some((d) => d > 1) && !KEPT.test(name)

/** What the rules look at. @param {Checkpoint} checkpoint */
function traits({ pairs, tensors }) {
  const architecture = String(lookUp(pairs, 'general.architecture') ?? '')
  const number = (/** @type {string} */ key) => {
    const value = lookUp(pairs, `${architecture}.${key}`)
    return Number(Array.isArray(value) ? value[0] : value ?? 0)
  }
  const layers = number('block_count'), heads = number('attention.head_count')
  const values = tensors.filter(({ name }) => /attn_v\.weight|attn_qkv\.weight|attn_kv_b\.weight/.test(name)).map(({ name }) => layerOf(name)).sort((a, b) => a - b)
  return {
    architecture, layers, experts: number('expert_count'), values,
    groups: heads / (number('attention.head_count_kv') || heads || 1), // heads that share keys and values
    hasOutput: tensors.some((t) => t.name === 'output.weight'),
  }
}

/** @param {string} name */
export const layerOf = (name) => Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1)

/** The first and last eighth of the layers, and every third between them. @param {number} i @param {number} n */
const moreBits = (i, n) => i < Math.floor(n / 8) || i >= Math.floor(7 * n / 8) || (i - Math.floor(n / 8)) % 3 === 2

/**
 * The type that a mix gives a matrix.
 * @param {string} mix @param {string} base @param {Tensor} tensor @param {ReturnType<typeof traits>} model @param {PlanOptions} options
 */
function mixType(mix, base, { name, shape }, model, options) {
  const { layers, experts, groups } = model
  const layer = layerOf(name), eighth = Math.floor(layers / 8)
  if (name === 'output.weight' || (name === 'token_embd.weight' && !model.hasOutput)) {
    if (options.outputTensorType) return typeNamed(options.outputTensorType, 'outputTensorType')
    if (shape[0] % typeInfo(base).weights) return 'Q8_0'
    return base === 'Q8_0' ? base : 'Q6_K'
  }
  if (name === 'token_embd.weight' || name === 'per_layer_token_embd.weight') return base
  if (name.includes('attn_v.weight')) {
    const at = model.values.indexOf(layer), n = model.values.length
    let type = base
    if (mix === 'Q2_K') type = groups >= 4 ? 'Q4_K' : 'Q3_K'
    else if (mix === 'Q3_K_M') type = at < 2 ? 'Q5_K' : 'Q4_K'
    else if (mix === 'Q3_K_L') type = 'Q5_K'
    else if ((mix === 'IQ4_NL' || mix === 'IQ4_XS') && groups >= 4) type = 'Q5_K'
    else if ((mix === 'Q4_K_M' || mix === 'Q5_K_M') && moreBits(at, n)) type = 'Q6_K'
    else if (mix === 'Q4_K_S' && at < 4) type = 'Q5_K'
    // Models of 70 billion parameters share values among so many heads that more bits cost next to nothing.
    if (layers === 80 && /^(llama|qwen2)$/.test(model.architecture) && (type === 'Q3_K' || type === 'Q4_K')) type = 'Q5_K'
    return experts === 8 ? 'Q8_0' : type
  }
  if (name.includes('attn_k.weight')) return experts === 8 ? 'Q8_0' : base
  if (name.includes('ffn_down')) {
    if (mix === 'Q2_K') return 'Q3_K'
    if (mix === 'Q3_K_M') return layer < Math.floor(layers / 16) ? 'Q5_K' : 'Q4_K'
    if (mix === 'Q3_K_L') return 'Q5_K'
    if ((mix === 'Q4_K_M' || mix === 'Q5_K_M') && moreBits(layer, layers)) return 'Q6_K'
    if (layer >= eighth) return base
    if ((mix === 'IQ4_NL' || mix === 'IQ4_XS') && !options.hasImatrix) return 'Q5_K'
    if (mix === 'Q4_K_S') return 'Q5_K'
    if (mix === 'Q4_0' && options.hasImatrix) return 'Q4_1'
    if (mix === 'Q5_0' && options.hasImatrix) return 'Q5_1'
    return base
  }
  if (name.includes('attn_output.weight')) {
    if (experts === 8) return /^(Q2_K|Q3_K_[SM]|IQ4_NL|Q4_K_[SM]|IQ4_XS)$/.test(mix) ? 'Q5_K' : base
    return { Q2_K: 'Q3_K', Q3_K_M: 'Q4_K', Q3_K_L: 'Q5_K' }[mix] ?? base
  }
  if (name.includes('attn_qkv.weight')) return { Q3_K_M: 'Q4_K', Q3_K_L: 'Q4_K', Q4_K_M: 'Q5_K', Q5_K_M: 'Q6_K' }[mix] ?? base
  return base
}

/** @param {[pattern: string | RegExp, type: string][]} list @returns {[RegExp, string][]} */
function compilePatterns(list) {
  return list.map(([pattern, type]) => {
    const named = typeNamed(type, `tensor type for ${pattern}`)
    try {
      return [new RegExp(pattern), named]
    } catch (error) {
      throw new NibbleError('E_ARGUMENT', `'${pattern}' is no regular expression: ${/** @type {Error} */ (error).message}`, { cause: error })
    }
  })
}

/**
 * The types of all tensors of a model.
 * @param {Checkpoint} checkpoint @param {PlanOptions} options
 * @returns {Plan}
 */
export function planTypes(checkpoint, options) {
  const { type: mix, base, fileType } = options.types ? mixOf(checkpoint, options.types) : mixNamed(options.type)
  const asked = overridesOf(options)
  const model = traits(checkpoint)
  /** @type {string[]} */
  const notes = []
  const tensors = checkpoint.tensors.map((tensor) => {
    const { name, shape, type: from, bytes } = tensor
    if (!isMatrix(tensor)) return { tensor, to: from, copied: true, bytes }
    const own = options.types ? options.types.get(name) : options.pure || isFloat(base) ? base : mixType(mix, base, tensor, model, options)
    const wanted = asked.typeOf(name) ?? own ?? from
    const to = fitting(wanted, shape[0])
    if (to !== wanted) notes.push(`${name} becomes ${to}: its rows of ${shape[0]} weights are no whole blocks of ${wanted} (${typeInfo(wanted).weights})`)
    if (to === from) return { tensor, to, copied: true, bytes }
    if (!isFloat(from) && !options.allowRequantize) throw requantizing(name, from)
    return { tensor, to, copied: false, bytes: tensorBytes(to, shape) }
  })
  return { type: mix, fileType, tensors, notes: [...notes, ...asked.unused()] }
}

/** @param {string} name @param {string} from */
export const requantizing = (name, from) =>
  new NibbleError('E_ARGUMENT', `${name} is ${from} already, and quantizing again loses more than quantizing the original does; start from the F16, BF16 or F32 file, or allow it (--allow-requantize)`)

/**
 * Types that are asked for by name.
 * @param {Pick<PlanOptions, 'tensorTypes' | 'outputTensorType' | 'tokenEmbeddingType'>} options
 */
export function overridesOf({ tensorTypes = [], outputTensorType, tokenEmbeddingType }) {
  const patterns = compilePatterns(tensorTypes), used = new Set()
  return {
    /** @param {string} name @returns {string | undefined} */
    typeOf(name) {
      let type = name === 'output.weight' && outputTensorType ? typeNamed(outputTensorType, 'outputTensorType')
        : name === 'token_embd.weight' && tokenEmbeddingType ? typeNamed(tokenEmbeddingType, 'tokenEmbeddingType') : undefined
      for (const [pattern, named] of patterns) {
        if (!pattern.test(name)) continue
        used.add(pattern)
        type = named
      }
      return type
    },
    /** What matched nothing, for people. */
    unused: () => patterns.filter(([pattern]) => !used.has(pattern)).map(([pattern, type]) => `no matrix has a name that matches ${pattern.source}: nothing becomes ${type} by it`),
  }
}

/** What a mix of types chosen one by one is called: file formats know names of a type for most weights. @param {Checkpoint} checkpoint @param {Map<string, string>} types */
function mixOf({ tensors }, types) {
  const weights = new Map()
  for (const tensor of tensors) {
    const type = types.get(tensor.name)
    if (type !== undefined) weights.set(type, (weights.get(type) ?? 0) + weightsOf(tensor))
  }
  const base = [...weights].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'F16'
  return { type: MIXED, base, fileType: /** @type {{fileType: number}} */ (Object.values(MIXES).find((mix) => mix.base === base)).fileType }
}

/** The type, or what stands in for it, where rows of so many weights are whole blocks. @param {string} type @param {number} cols */
export function fitting(type, cols) {
  if (cols % typeInfo(type).weights === 0) return type
  const other = FALLBACK[type] ?? 'F16'
  return cols % typeInfo(other).weights === 0 ? other : 'F16'
}

/** Weights of a tensor. @param {{shape: number[]}} tensor */
export const weightsOf = ({ shape }) => shape[0] * rowsOf(shape)
