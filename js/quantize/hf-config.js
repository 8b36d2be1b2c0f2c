/**
 * config.json of a Hugging Face folder: the architectures that are run here, and their sizes, checked once. What would be computed otherwise than the
 * model was trained is refused by its name.
 */
import { NibbleError } from '../errors.js'
import { isObject, own } from './folder.js'

/**
 * @typedef {object} Family
 * @property {'llama' | 'qwen2' | 'qwen3'} arch  in GGUF files
 * @property {boolean} neighbours  whether that rotates neighbouring numbers of a head, where Hugging Face's rotates its halves: rows of q and k are reordered
 * @property {(config: Record<string, unknown>) => string[]} biases  the projections that have one
 * @property {boolean} headNorms  q and k are normed
 */

/** @param {Record<string, unknown>} config */
const ofAttention = (config) => (own(config, 'attention_bias') === true ? ['q', 'k', 'v', 'o'] : [])

/** @type {Record<string, Family>} */
const FAMILIES = {
  LlamaForCausalLM: { arch: 'llama', neighbours: true, biases: ofAttention, headNorms: false },
  LLaMAForCausalLM: { arch: 'llama', neighbours: true, biases: ofAttention, headNorms: false },
  MistralForCausalLM: { arch: 'llama', neighbours: true, biases: () => [], headNorms: false },
  Qwen2ForCausalLM: { arch: 'qwen2', neighbours: false, biases: () => ['q', 'k', 'v'], headNorms: false },
  Qwen3ForCausalLM: { arch: 'qwen3', neighbours: false, biases: ofAttention, headNorms: true },
}

/**
 * @typedef {object} Config
 * @property {Family} family
 * @property {number} layers  @property {number} width  @property {number} ffn  @property {number} heads  @property {number} kvHeads  @property {number} headDim
 * @property {number} context  @property {number} vocab
 * @property {number} eps  @property {number} ropeBase
 * @property {number} [linear]  positions are divided by this
 * @property {number[]} [ropeFactors]  each frequency is divided by its own
 * @property {boolean | undefined} tied  whether the embedding is also the head; undefined where config.json does not say
 * @property {Set<string>} biases  the projections that have one: q, k, v, o
 */

/** @param {string} what */
const unsupported = (what) => new NibbleError('E_UNSUPPORTED', `config.json: ${what}`)

/** @param {unknown} value */
const shown = (value) => (JSON.stringify(value) ?? 'nothing').slice(0, 80)

/** @param {Record<string, unknown>} config @param {string} key @param {number} least @param {number} most @param {number} [fallback] @returns {number} */
function whole(config, key, least, most, fallback) {
  const value = own(config, key) ?? fallback
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) throw new NibbleError('E_FORMAT', `config.json: ${key} is ${shown(value)}; it must be a whole number from ${least} to ${most}`)
  return value
}

/** @param {Record<string, unknown>} config @param {string} key @param {number} least @param {number} most @param {number} [fallback] @returns {number} */
function real(config, key, least, most, fallback) {
  const value = own(config, key) ?? fallback
  if (typeof value !== 'number' || !(value >= least && value <= most)) throw new NibbleError('E_FORMAT', `config.json: ${key} is ${shown(value)}; it must be a number from ${least} to ${most}`)
  return value
}

/**
 * Llama 3's factors: slow frequencies are divided by the factor, fast ones left, those in between blended.
 * @param {Record<string, unknown>} scaling @param {number} base @param {number} dim
 */
function llama3Factors(scaling, base, dim) {
  const factor = real(scaling, 'factor', 1, 1e6), low = real(scaling, 'low_freq_factor', 1e-3, 1e6), high = real(scaling, 'high_freq_factor', 1e-3, 1e6)
  const original = whole(scaling, 'original_max_position_embeddings', 1, 2 ** 30)
  if (high <= low) throw new NibbleError('E_FORMAT', `config.json: high_freq_factor ${high} must be above low_freq_factor ${low}`)
  return Array.from({ length: dim / 2 }, (_, i) => {
    const turns = original / (2 * Math.PI * base ** (2 * i / dim)) // within the original context
    if (turns > high) return 1
    if (turns < low) return factor
    const smooth = (turns - low) / (high - low)
    return 1 / ((1 - smooth) / factor + smooth)
  })
}

/** @param {Record<string, unknown>} config @param {number} dim @param {string} arch @returns {Pick<Config, 'ropeBase' | 'linear' | 'ropeFactors'>} */
function readRope(config, dim, arch) {
  // Newer files have all of it in rope_parameters.
  const together = own(config, 'rope_parameters'), scaling = isObject(together) ? together : own(config, 'rope_scaling')
  const ropeBase = real(isObject(together) && own(together, 'rope_theta') !== undefined ? together : config, 'rope_theta', 1, 1e12, 10000)
  if (scaling === undefined || scaling === null) return { ropeBase }
  if (!isObject(scaling)) throw new NibbleError('E_FORMAT', `config.json: rope_scaling is ${shown(scaling)}; it must be an object or null`)
  const type = own(scaling, 'rope_type') ?? own(scaling, 'type') ?? 'default'
  if (type === 'default') return { ropeBase }
  if (type === 'linear') return { ropeBase, linear: real(scaling, 'factor', 1e-3, 1e6) }
  if (type === 'llama3' && arch === 'llama') return { ropeBase, ropeFactors: llama3Factors(scaling, ropeBase, dim) }
  throw unsupported(`rope_scaling has the type ${shown(type)}; linear is run, and llama3 by Llama models. Without rope_scaling the model runs on its original context: take it out of config.json` +
    `${own(scaling, 'original_max_position_embeddings') ? ' and set max_position_embeddings to its original_max_position_embeddings' : ''}`)
}

/** What would make the model compute something that is not run here. @param {Record<string, unknown>} config */
function checkFeatures(config) {
  const act = own(config, 'hidden_act') ?? own(config, 'hidden_activation') ?? 'silu'
  if (act !== 'silu' && act !== 'swish') throw unsupported(`hidden_act is ${shown(act)}; silu is run`)
  if (own(config, 'mlp_bias') === true) throw unsupported('mlp_bias is true; feed-forward parts with biases are not run')
  const rotary = own(config, 'partial_rotary_factor') ?? 1
  if (rotary !== 1) throw unsupported(`partial_rotary_factor is ${shown(rotary)}; heads are rotated as a whole`)
  for (const key of ['attn_logit_softcapping', 'final_logit_softcapping', 'no_rope_layers', 'logits_scaling', 'embedding_multiplier', 'residual_multiplier', 'attention_multiplier']) {
    if (own(config, key) !== undefined && own(config, key) !== null) throw unsupported(`${key} is given, which is not run`)
  }
  const quantization = own(config, 'quantization_config')
  if (quantization !== undefined && quantization !== null) {
    throw unsupported(`the weights are quantized already (${shown(isObject(quantization) ? own(quantization, 'quant_method') : quantization)}); take the original model in BF16, F16 or F32`)
  }
}

/** Attention that looks back a limited way gives the same up to there. @param {Record<string, unknown>} config @param {number} context @param {string[]} notes */
function contextOf(config, context, notes) {
  const window = own(config, 'sliding_window'), types = own(config, 'layer_types')
  const sliding = Array.isArray(types) ? types.some((type) => type !== 'full_attention') : (own(config, 'use_sliding_window') ?? own(config, 'model_type') === 'mistral') === true
  const first = own(config, 'max_window_layers') // Qwen: of the layers with a window
  if (!sliding || window === undefined || window === null || (!Array.isArray(types) && typeof first === 'number' && first >= Number(own(config, 'num_hidden_layers')))) return context
  const limit = whole(config, 'sliding_window', 1, 2 ** 30)
  if (limit >= context) return context
  notes.push(`the model attends to the last ${limit} tokens only (sliding_window), which is not run: the file's context is ${limit} tokens, in which there is no difference`)
  return limit
}

/**
 * @param {Record<string, unknown>} config  config.json @param {string[]} notes
 * @returns {Config}
 */
export function readConfig(config, notes) {
  const names = own(config, 'architectures'), name = Array.isArray(names) ? names[0] : undefined
  const family = typeof name === 'string' && Object.hasOwn(FAMILIES, name) ? FAMILIES[name] : undefined
  if (!family) throw unsupported(`the architecture ${name === undefined ? 'is not named' : `is ${shown(name)}`}; converted are ${Object.keys(FAMILIES).filter((f) => f !== 'LLaMAForCausalLM').join(', ')}`)
  checkFeatures(config)
  const heads = whole(config, 'num_attention_heads', 1, 1024), kvHeads = whole(config, 'num_key_value_heads', 1, 1024, heads)
  if (heads % kvHeads) throw new NibbleError('E_FORMAT', `config.json: num_attention_heads ${heads} is not a multiple of num_key_value_heads ${kvHeads}`)
  const width = whole(config, 'hidden_size', 1, 1 << 16)
  if (own(config, 'head_dim') == null && width % heads) throw new NibbleError('E_FORMAT', `config.json: hidden_size ${width} is not a multiple of num_attention_heads ${heads}, and head_dim is not given`)
  const headDim = whole(config, 'head_dim', 2, 1024, width / heads)
  if (headDim % 2) throw unsupported(`head_dim is ${headDim}; it must be even`)
  const tied = own(config, 'tie_word_embeddings')
  return {
    family, biases: new Set(family.biases(config)), heads, kvHeads, width, headDim,
    layers: whole(config, 'num_hidden_layers', 1, 1024), ffn: whole(config, 'intermediate_size', 1, 1 << 20), vocab: whole(config, 'vocab_size', 1, 1 << 22),
    context: contextOf(config, whole(config, 'max_position_embeddings', 1, 2 ** 30, 2048), notes), eps: real(config, 'rms_norm_eps', 1e-12, 1e-1, 1e-6),
    ...readRope(config, headDim, family.arch),
    tied: typeof tied === 'boolean' ? tied : undefined,
  }
}
