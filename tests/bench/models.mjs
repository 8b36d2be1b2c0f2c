/**
 * The models of the benchmark: the shapes of models that people run, with random weights, written once into a cache folder. Types of tensors
 * are those that llama.cpp's quantizer chooses. Random blocks are drawn once for each type and deviation and then written in runs from random
 * places of that pool, so that a file takes about as long as the disk does; speed depends on none of it.
 */
import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { blockOf, header, padded, plan, random, randomBlocks, tensorBytes, tensorSize } from '../js/tiny-model.js'

/** Counted up when files of the same name get other content. */
const VERSION = 1
const POOL = 1 << 20

/** @typedef {import('../js/tiny-model.js').Shape} Shape */
/** @type {Record<string, Shape & {d_model: number, n_layers: number, n_kv_heads: number, head_dim: number}>} */
export const SHAPES = {
  // SmolLM2-135M
  '135m': { arch: 'llama', d_model: 576, n_layers: 30, n_heads: 9, n_kv_heads: 3, head_dim: 64, d_ff: 1536, n_vocab: 49152, n_ctx: 8192, ropeBase: 1e5, tied: true },
  // Qwen2.5-0.5B
  '0.5b': { arch: 'qwen2', d_model: 896, n_layers: 24, n_heads: 14, n_kv_heads: 2, head_dim: 64, d_ff: 4864, n_vocab: 151936, n_ctx: 32768, tied: true },
  // Llama-3.2-1B
  '1b': { arch: 'llama', d_model: 2048, n_layers: 16, n_heads: 32, n_kv_heads: 8, head_dim: 64, d_ff: 8192, n_vocab: 128256, n_ctx: 131072, ropeBase: 5e5, ropeFactors: true, tied: true },
  // For tests: rows of 288 weights, which K-quants do not divide, and of 512, which they do; not tied.
  tiny: { arch: 'llama', d_model: 288, n_layers: 8, n_heads: 4, n_kv_heads: 2, head_dim: 72, d_ff: 512, n_vocab: 512, n_ctx: 512, tied: false },
}

/** A head in Q6_K, the rest in one type; Q4_K_M has Q6_K for more tensors, see typeOf. */
export const TYPES = ['Q4_0', 'Q4_K_M', 'Q8_0', 'F16']

/** What the quantizer falls back to where a row is no whole number of blocks. @type {Record<string, string>} */
const FALLBACK = { Q4_K: 'Q5_0', Q6_K: 'Q8_0' }

/**
 * The type that llama.cpp's quantizer gives a matrix.
 * @param {string} mix  of TYPES @param {string} name @param {number} cols @param {{n_layers: number, tied: boolean}} shape
 */
export function typeOf(mix, name, cols, { n_layers, tied }) {
  if (mix === 'F16' || mix === 'Q8_0') return mix
  let type = mix === 'Q4_K_M' ? 'Q4_K' : mix
  if (name === (tied ? 'token_embd.weight' : 'output.weight')) type = 'Q6_K'
  else if (mix === 'Q4_K_M' && /attn_v\.weight|ffn_down\.weight/.test(name)) {
    // The first and last eighth of the layers and every third between them have more bits.
    const layer = Number(/^blk\.(\d+)\./.exec(name)?.[1]), eighth = Math.floor(n_layers / 8)
    if (layer < eighth || layer >= Math.floor(7 * n_layers / 8) || (layer - eighth) % 3 === 2) type = 'Q6_K'
  }
  return cols % blockOf(type).weights === 0 ? type : FALLBACK[type]
}

/**
 * @typedef {object} BenchModel
 * @property {string} name  such as '0.5b Q4_0'  @property {string} shape  @property {string} type
 * @property {string} file  @property {number} file_bytes
 * @property {number} weight_bytes  all tensors  @property {number} token_bytes  those that the pass of one token reads
 * @property {number} kv_bytes_per_token  keys and values in halves
 */

/** @param {string} shapeName @param {string} type */
function planOf(shapeName, type) {
  const shape = SHAPES[shapeName], { kv, tensors } = plan(shape)
  const tied = shape.tied === true
  for (const t of tensors) if (t.dims.length === 2) t.type = typeOf(type, t.name, t.dims[0], { n_layers: shape.n_layers, tied })
  const bytes = tensors.map(tensorSize)
  const weight_bytes = bytes.reduce((a, b) => a + b, 0)
  const lookup = tied ? 0 : bytes[tensors.findIndex((t) => t.name === 'token_embd.weight')] // of which a token reads one row
  return { kv, tensors, weight_bytes, token_bytes: weight_bytes - lookup, kv_bytes_per_token: shape.n_layers * shape.n_kv_heads * shape.head_dim * 2 * 2 }
}

/**
 * What a model takes, and whether its file is there.
 * @param {string} folder  the cache @param {string} shape  of SHAPES @param {string} type  of TYPES
 */
export function modelSizes(folder, shape, type) {
  const file = join(folder, `${shape}-${type}-v${VERSION}.gguf`)
  const { kv, tensors, ...sizes } = planOf(shape, type)
  const head = header(kv, tensors)
  const file_bytes = head.length + tensors.reduce((sum, t) => sum + padded(tensorSize(t)), 0)
  return { name: `${shape} ${type}`, shape, type, file, file_bytes, ...sizes, there: existsSync(file) && statSync(file).size === file_bytes, head, tensors }
}

/**
 * The file of a model, written where it is not there yet.
 * @param {string} folder @param {string} shape @param {string} type @param {(text: string) => void} [say]  told before a file is written
 * @returns {BenchModel}
 */
export function makeModel(folder, shape, type, say = () => {}) {
  const { there, head, tensors, ...model } = modelSizes(folder, shape, type)
  if (!there) {
    say(`writing ${model.file} (${(model.file_bytes / 1e6).toFixed(0)} MB)`)
    mkdirSync(folder, { recursive: true })
    const part = `${model.file}.${process.pid}.part`
    try {
      write(part, head, tensors)
      renameSync(part, model.file)
    } finally {
      rmSync(part, { force: true })
    }
  }
  return model
}

/** @param {string} path @param {Uint8Array} head @param {import('../js/tiny-model.js').Tensor[]} tensors */
function write(path, head, tensors) {
  const r = random(VERSION)
  /** @type {Map<string, Uint8Array>} */
  const pools = new Map()
  const fd = openSync(path, 'w')
  const put = (/** @type {Uint8Array} */ bytes) => {
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at)
  }
  try {
    put(head)
    for (const t of tensors) {
      const size = tensorSize(t)
      if (t.dims.length === 2) {
        const { bytes: block } = blockOf(t.type), key = `${t.type} ${t.sigma}`
        if (!pools.has(key)) pools.set(key, randomBlocks(t.type, t.sigma ?? 0, Math.floor(POOL / block) * block, r))
        const pool = /** @type {Uint8Array} */ (pools.get(key)), blocks = pool.length / block
        for (let left = size; left > 0;) {
          const from = r.below(blocks) * block, n = Math.min(left, pool.length - from)
          put(pool.subarray(from, from + n))
          left -= n
        }
      } else put(tensorBytes(t, VERSION))
      put(new Uint8Array(padded(size) - size))
    }
  } finally {
    closeSync(fd)
  }
}
