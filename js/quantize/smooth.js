/**
 * Smoothing: inputs of matrices that have outliers are divided by a scale for each column, and the matrices multiplied by it. What is divided is what comes
 * before: the norm's weights, or the rows of ffn_up. The model computes what it did; what is rounded to int8 has fewer outliers.
 */
import { NibbleError } from '../errors.js'
import { Calibration, SITES } from './calibration.js'
import { FLOAT_BYTES, convertFloats } from './floats.js'
import { isFloat, rowsOf } from './types.js'

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./checkpoint.js').Tensor} Tensor
 * @typedef {{cols?: Float32Array, rows?: Float32Array}} Factors  of a tensor's columns and rows
 *
 * @typedef {object} SmoothOptions
 * @property {number} alpha  s = max|x|^alpha / max|w|^(1 - alpha): 0 looks at weights alone, 1 at inputs alone
 * @property {import('./calibrated.js').CalibrationText} calibration
 * @property {AbortSignal} [signal]
 * @property {(text: string) => void} [onNote]
 * @property {(done: number, total: number) => void} [onProgress]
 */

/** Sites, and what gives their inputs. */
const BEFORE = /** @type {const} */ ({ qkv: 'attn_norm.weight', gate_up: 'ffn_norm.weight', down: 'ffn_up.weight' })
const PIECE = 4 << 20

/** @param {Checkpoint} checkpoint @param {Tensor} tensor */
const check = ({ name }, tensor) => {
  if (tensor.type in FLOAT_BYTES && isFloat(tensor.type)) return
  throw new NibbleError('E_ARGUMENT', `${tensor.name} of ${name} is ${tensor.type}: smooth the F16, BF16 or F32 model`)
}

/** The greatest |w| of every column. @param {Checkpoint} checkpoint @param {Tensor} tensor @param {Float32Array} greatest  of other matrices, so far */
async function raise(checkpoint, tensor, greatest) {
  const size = FLOAT_BYTES[tensor.type], [cols] = tensor.shape, rows = Math.max(1, Math.floor(PIECE / (cols * size)))
  for (let row = 0; row < rowsOf(tensor.shape); row += rows) {
    const n = Math.min(rows, rowsOf(tensor.shape) - row)
    const bytes = convertFloats(await checkpoint.read(tensor, row * cols * size, n * cols * size), tensor.type, 'F32', tensor.name)
    const w = new Float32Array(bytes.buffer, bytes.byteOffset, n * cols)
    for (let i = 0; i < w.length; i++) {
      const a = Math.abs(w[i]), j = i % cols
      if (!Number.isFinite(a)) throw new NibbleError('E_FORMAT', `${tensor.name} of ${checkpoint.name} holds a NaN or an infinity in row ${row + Math.floor(i / cols)}, column ${j}; the file is damaged, or went wrong when it was made`)
      if (a > greatest[j]) greatest[j] = a
    }
  }
}

/** @param {Float32Array} inputs @param {Float32Array} weights @param {number} alpha */
const scalesOf = (inputs, weights, alpha) => inputs.map((x, j) => {
  const s = Math.pow(x, alpha) / Math.pow(weights[j], 1 - alpha)
  return x > 0 && weights[j] > 0 && Number.isFinite(s) && s > 0 ? s : 1 // of a column that is 0 nothing needs scaling
})

/** @param {Map<string, Factors>} factors @param {string} name @param {'cols' | 'rows'} side @param {Float32Array} scales */
function multiply(factors, name, side, scales) {
  const own = factors.get(name) ?? {}
  factors.set(name, { ...own, [side]: scales })
}

/**
 * The model with its tensors multiplied, as it is read.
 * @param {Checkpoint} checkpoint @param {Map<string, Factors>} factors
 * @returns {Checkpoint}
 */
export function scaled(checkpoint, factors) {
  return {
    ...checkpoint,
    async read(tensor, offset, length) {
      const own = factors.get(tensor.name)
      if (!own || length === 0) return checkpoint.read(tensor, offset, length)
      // Whole numbers, of which the ends may not be asked for.
      const size = FLOAT_BYTES[tensor.type], [cols] = tensor.shape, first = Math.floor(offset / size), end = Math.ceil((offset + length) / size)
      const wide = convertFloats(await checkpoint.read(tensor, first * size, (end - first) * size), tensor.type, 'F32', tensor.name).slice()
      const w = new Float32Array(wide.buffer)
      for (let i = 0; i < w.length; i++) {
        const at = first + i
        w[i] *= (own.cols ? own.cols[at % cols] : 1) * (own.rows ? own.rows[Math.floor(at / cols)] : 1)
      }
      return convertFloats(wide, 'F32', tensor.type, tensor.name).subarray(offset - first * size, offset - first * size + length)
    },
  }
}

/**
 * A model that computes the same with smoother inputs of its matrices: of q, k, v, of gate and up, and of down.
 * @param {import('../runtime.js').Engine} engine @param {Checkpoint} checkpoint @param {SmoothOptions} options
 * @returns {Promise<Checkpoint>}
 */
export async function smoothed(engine, checkpoint, { alpha, calibration: text, signal, onNote, onProgress }) {
  const calibration = await Calibration.create(engine, checkpoint, { ...text, signal, onNote })
  /** @type {Map<string, Factors>} */
  const factors = new Map()
  try {
    await calibration.embed()
    for (let layer = 0; layer < calibration.nLayers; layer++) {
      await calibration.begin(layer)
      await calibration.gather({ advance: true, onSample: (done, all) => onProgress?.(layer * all + done, calibration.nLayers * all) })
      for (const [site, end] of /** @type {[keyof typeof BEFORE, string][]} */ (Object.entries(BEFORE))) {
        const stats = calibration.statistics(site), prefix = `blk.${layer}.`, before = calibration.tensor(`${prefix}${end}`)
        const matrices = SITES[site].map((name) => calibration.tensor(`${prefix}${name}`))
        if (!stats?.n || !before || matrices.includes(undefined)) continue
        const inputs = engine.heap.f32(stats.maxAbs, stats.cols).slice(), weights = new Float32Array(stats.cols)
        check(checkpoint, before)
        for (const matrix of /** @type {Tensor[]} */ (matrices)) {
          check(checkpoint, matrix)
          await raise(checkpoint, matrix, weights)
        }
        const scales = scalesOf(inputs, weights, alpha)
        for (const matrix of /** @type {Tensor[]} */ (matrices)) multiply(factors, matrix.name, 'cols', scales)
        multiply(factors, before.name, site === 'down' ? 'rows' : 'cols', scales.map((s) => 1 / s))
      }
    }
  } finally {
    calibration.free()
  }
  return scaled(checkpoint, factors)
}
