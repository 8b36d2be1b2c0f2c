/**
 * What the model loses for an error of one tensor: noise is put on its weights, and the divergence from the original is measured by running both on a text.
 */
import { NibbleError } from '../errors.js'
import { createReference, openReference } from '../evaluate/reference.js'
import { perplexity } from '../evaluate.js'
import { load } from '../load.js'
import { importanceOf } from './imatrix.js'
import { chooseSamples } from './samples.js'
import { ggufStream } from './stream.js'
import { floatRows, notFinite } from './tensor-stats.js'
import { rowBytes } from './types.js'

/** Of a reference's predictions, so that the divergence is exact but for a few thousandths. */
const KEPT = { topK: 64, drawn: 32 }
/** The noise to begin with: its square over that of the weights. About the error of a type of four bits. */
const NOISE = 0.005
/** A divergence within these comes of the noise and not of rounding, and rises with it in proportion. */
const LEAST = 1e-4, MOST = 1e-2
/** Noise goes no further than this. */
const MOST_NOISE = 0.08
const TRIES = 3
const BLOCK = 32

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./checkpoint.js').Tensor} Tensor
 * @typedef {import('./imatrix.js').ImatrixEntry} ImatrixEntry
 *
 * @typedef {object} Measured
 * @property {number} sensitivity  divergence (nats a token) for a relative squared error of 1, if it rose in proportion
 * @property {number} noise  relative squared error that was put in, columns weighted by importance
 * @property {number} kld  that came of it  @property {number} kld_error  its standard error
 */

/** Numbers of mean 0 and variance 1, the same for the same seed: sums of four uniform numbers. @param {number} seed */
function normals(seed) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
  return () => (next() + next() + next() + next() - 2 * 2 ** 32) / 2 ** 32 * Math.sqrt(3)
}

/** @param {string} text @param {number} n */
function seedOf(text, n) {
  let h = 2166136261 ^ n
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619)
  return h
}

export class Sensitivity {
  /**
   * @param {import('./encode.js').RowEncoder} encoder @param {Checkpoint} checkpoint
   * @param {object} options
   * @param {import('./calibrated.js').CalibrationText} options.calibration
   * @param {number} options.samples  of the text, that are evaluated for every tensor
   * @param {number} options.threads  @param {import('../runtime.js').Variant | 'auto'} [options.variant]  @param {URL | string} [options.wasm]
   * @param {AbortSignal} [options.signal]
   * @param {(text: string) => void} [options.onNote]
   */
  static async create(encoder, checkpoint, options) {
    const { calibration: { text, ctx = 512, parseSpecial = false }, samples, threads, variant, wasm, signal, onNote } = options
    const settings = { threads, variant, signal, ...(wasm !== undefined && { wasm }) }
    const model = await load(ggufStream(checkpoint), settings)
    try {
      const longest = Math.min(ctx, model.contextLength), { addBos, bos, n_vocab } = model.tokenizer
      const chosen = chooseSamples(model.tokenizer.encode(text, { addSpecial: false, parseSpecial }), { samples, ctx: longest, n_vocab, ...(addBos && { bos }) })
      if (chosen.samples.length < samples) onNote?.(`sensitivities are measured on ${chosen.samples.length} samples of ${chosen.n_ctx} tokens: the calibration text has no more`)
      const { bytes } = await createReference(model, chosen.samples.map((s) => [...s]), { ...KEPT, signal })
      return new Sensitivity(encoder, checkpoint, await openReference(bytes), settings)
    } finally {
      await model.dispose()
    }
  }

  /**
   * @param {import('./encode.js').RowEncoder} encoder @param {Checkpoint} checkpoint @param {import('../evaluate/reference.js').Reference} reference
   * @param {import('../load.js').LoadOptions} settings
   */
  constructor(encoder, checkpoint, reference, settings) {
    this.encoder = encoder
    this.checkpoint = checkpoint
    this.reference = reference
    this.settings = settings
  }

  /** The divergence of the model with some tensors otherwise. @param {Map<string, import('./stream.js').Substitute>} instead */
  async divergence(instead) {
    const { checkpoint, reference, settings } = this
    const model = await load(ggufStream(checkpoint, instead), { ...settings, contextLength: reference.n_ctx })
    try {
      const { kld } = await perplexity(model, undefined, { against: reference, signal: settings.signal })
      return /** @type {NonNullable<typeof kld>} */ (kld)
    } finally {
      await model.dispose()
    }
  }

  /**
   * How much the model minds errors of tensors. Noise of several is independent, so that what it costs adds up.
   * @param {Tensor[]} tensors @param {(name: string) => ImatrixEntry | undefined} entryOf
   * @returns {Promise<Measured>} noise: the mean of theirs
   */
  async measure(tensors, entryOf) {
    let size = NOISE
    for (let t = 1; ; t++) {
      const noise = new Map(tensors.map((tensor) => [tensor.name, this.noisy(tensor, size, entryOf(tensor.name))]))
      const { mean, error } = await this.divergence(noise)
      if (!Number.isFinite(mean)) throw new NibbleError('E_FORMAT', `${this.checkpoint.name} gives no numbers on the calibration text when ${tensors[0].name} is a little other; the model is damaged`)
      const parts = [...noise.values()].map(({ sums }) => (sums.weighted > 0 ? sums.weightedNoise / sums.weighted : 0)), relative = parts.reduce((a, b) => a + b, 0) / parts.length
      const found = { sensitivity: relative > 0 ? mean / relative : 0, noise: relative, kld: mean, kld_error: error }
      const again = mean > MOST ? size * MOST / mean / 3 : mean < LEAST && size < MOST_NOISE ? Math.min(MOST_NOISE, size * Math.min(16, 3 * LEAST / Math.max(mean, 1e-9))) : 0
      if (!again || t === TRIES) return found
      size = again
    }
  }

  /**
   * A tensor with noise on its weights; like errors of quantizing it is as large as the weights around it are.
   * @param {Tensor} tensor @param {number} size  its square over theirs @param {ImatrixEntry | undefined} importance
   * @returns {import('./stream.js').Substitute & {sums: {weighted: number, weightedNoise: number}}} sums: of the rows read so far
   */
  noisy(tensor, size, importance) {
    const { encoder, checkpoint } = this, { name, shape: [cols, height = 1] } = tensor
    const sums = { weighted: 0, weightedNoise: 0 }
    /** Importance, and of which matrix of a stack. */
    let at = -1, weights = /** @type {Float32Array | undefined} */ (undefined)
    return {
      type: 'F32', sums,
      read: async (row, rows) => {
        const floats = await floatRows(encoder, checkpoint, tensor, row, rows)
        for (let r = 0; r < rows; r++) {
          const normal = normals(seedOf(name, row + r)), matrix = Math.floor((row + r) / height)
          if (importance && matrix !== at) weights = importanceOf(importance, at = matrix)
          for (let from = 0; from < cols; from += BLOCK) {
            const block = floats.subarray(r * cols + from, r * cols + Math.min(cols, from + BLOCK))
            const scale = Math.sqrt(size * block.reduce((n, x) => n + x * x, 0) / block.length)
            for (let i = 0; i < block.length; i++) {
              const weight = weights ? weights[from + i] : 1, before = block[i]
              block[i] += scale * normal()
              sums.weighted += weight * before ** 2
              sums.weightedNoise += weight * (block[i] - before) ** 2
            }
          }
        }
        return new Uint8Array(floats.buffer)
      },
    }
  }

  /**
   * The divergence with tensors in a type: rounding, for what only depends on the type being whole numbers.
   * @param {Tensor[]} tensors @param {(tensor: Tensor) => string | undefined} typeOf @param {(name: string) => ImatrixEntry | undefined} importanceFor @param {number} method  of ENCODE
   */
  async quantized(tensors, typeOf, importanceFor, method) {
    /** @type {Map<string, import('./stream.js').Substitute>} */
    const instead = new Map()
    for (const tensor of tensors) {
      const to = typeOf(tensor)
      if (to !== undefined && to !== tensor.type) instead.set(tensor.name, this.encoded(tensor, to, importanceFor(tensor.name), method))
    }
    return this.divergence(instead)
  }

  /** @param {Tensor} tensor @param {string} to @param {ImatrixEntry | undefined} importance @param {number} method @returns {import('./stream.js').Substitute} */
  encoded(tensor, to, importance, method) {
    const { encoder, checkpoint } = this, { name, type: from, shape: [cols, height = 1] } = tensor, inRow = rowBytes(from, cols)
    return {
      type: to,
      read: async (first, count) => {
        const out = new Uint8Array(count * rowBytes(to, cols))
        for (let row = first; row < first + count;) { // importance is of one matrix of a stack
          const rows = Math.min(first + count - row, height - row % height)
          const result = encoder.encode(await checkpoint.read(tensor, row * inRow, rows * inRow), {
            from, to, method, rows, cols, importance: importance && importanceOf(importance, Math.floor(row / height)),
          })
          if ('bad' in result) throw notFinite(checkpoint, name, row + result.bad.row, result.bad.col)
          out.set(result.blocks, (row - first) * rowBytes(to, cols))
          row += rows
        }
        return out
      },
    }
  }
}
