/**
 * What can be told of a tensor without running the model: the spread of its weights, and what each type would cost in accuracy.
 */
import { NibbleError } from '../errors.js'
import { turn } from '../generate.js'
import { ENCODE } from './encode.js'
import { pieceRows } from './estimate.js'
import { importanceOf } from './imatrix.js'
import { rowBytes, rowsOf, typeInfo } from './types.js'

/** Weights further from 0 than so many times their root mean square are counted as outliers. */
export const OUTLIER = 5
/** Weights of a tensor by which errors of types are estimated; and rows that are read together. */
const SAMPLE = 1 << 18
const STRIP = 16

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./checkpoint.js').Tensor} Tensor
 *
 * @typedef {object} Spread
 * @property {number} min  @property {number} max  @property {number} rms
 * @property {number} outliers  part of the weights beyond 5 times the root mean square
 * @property {number} kurtosis  excess: 0 for a normal distribution, more where few weights are far out
 *
 * @typedef {{error: number, weighted_error: number}} RelativeError  sum of squared differences over the sum of squares; and the same, each column times its importance
 */

/**
 * Rows of a tensor as floats.
 * @param {import('./encode.js').RowEncoder} encoder @param {Checkpoint} checkpoint @param {Tensor} tensor @param {number} row @param {number} rows
 * @returns {Promise<Float32Array>} a copy
 */
export async function floatRows(encoder, checkpoint, tensor, row, rows) {
  const { type, shape: [cols] } = tensor, inRow = rowBytes(type, cols)
  const result = encoder.encode(await checkpoint.read(tensor, row * inRow, rows * inRow), { from: type, to: 'F32', method: ENCODE.rtn, rows, cols })
  if ('bad' in result) throw notFinite(checkpoint, tensor.name, row + result.bad.row, result.bad.col)
  return new Float32Array(result.blocks.slice().buffer)
}

/** @param {Checkpoint} checkpoint @param {string} name @param {number} row @param {number} col */
export const notFinite = (checkpoint, name, row, col) =>
  new NibbleError('E_FORMAT', `${name} of ${checkpoint.name} holds a NaN or an infinity in row ${row}, column ${col}; the file is damaged, or went wrong when it was made`)

/**
 * @param {import('./encode.js').RowEncoder} encoder @param {Checkpoint} checkpoint @param {Tensor} tensor
 * @returns {Promise<Spread>}
 */
export async function spreadOf(encoder, checkpoint, tensor) {
  const [cols] = tensor.shape, all = rowsOf(tensor.shape)
  let min = Infinity, max = -Infinity, squares = 0, fourths = 0, sum = 0, cubes = 0
  for (let row = 0; row < all;) {
    const rows = Math.min(pieceRows(cols), all - row)
    for (const x of await floatRows(encoder, checkpoint, tensor, row, rows)) {
      const square = x * x
      if (x < min) min = x
      if (x > max) max = x
      sum += x
      squares += square
      cubes += square * x
      fourths += square * square
    }
    row += rows
    await turn()
  }
  const n = all * cols, mean = sum / n, rms = Math.sqrt(squares / n)
  const variance = squares / n - mean * mean
  const fourth = fourths / n - 4 * mean * cubes / n + 6 * mean * mean * squares / n - 3 * mean ** 4
  let outliers = 0
  for (let row = 0; row < all && Math.max(-min, max) > OUTLIER * rms;) { // once more, now that the root mean square is known
    const rows = Math.min(pieceRows(cols), all - row)
    for (const x of await floatRows(encoder, checkpoint, tensor, row, rows)) if (Math.abs(x) > OUTLIER * rms) outliers++
    row += rows
    await turn()
  }
  return { min, max, rms, outliers: outliers / n, kurtosis: variance > 0 ? fourth / variance ** 2 - 3 : 0 }
}

/** Strips of rows spread evenly over a tensor: [first row, rows], none across two matrices of a stack. @param {number[]} shape @returns {[number, number][]} */
export function strips(shape) {
  const [cols, height = 1] = shape, all = rowsOf(shape), wanted = Math.max(1, Math.floor(SAMPLE / cols / STRIP))
  if (all <= wanted * STRIP && all === height) return [[0, all]]
  const ends = Math.ceil(height / STRIP), total = ends * (all / height), n = Math.min(wanted, total)
  return Array.from({ length: n }, (_, i) => {
    const at = Math.floor((i + 0.5) * total / n), row = Math.floor(at / ends) * height + at % ends * STRIP
    return [row, Math.min(STRIP, height - at % ends * STRIP)]
  })
}

/**
 * What types would cost, estimated by a part of the rows.
 * @param {import('./encode.js').RowEncoder} encoder @param {Checkpoint} checkpoint @param {Tensor} tensor
 * @param {{types: string[], method: number, importance?: import('./imatrix.js').ImatrixEntry}} options  method: of ENCODE
 * @returns {Promise<Record<string, RelativeError>>} of those types whose blocks divide the rows
 */
export async function errorsOf(encoder, checkpoint, tensor, { types, method, importance }) {
  const { name, type: from, shape } = tensor, [cols, height = 1] = shape, inRow = rowBytes(from, cols)
  /** @type {Map<string, {error: number, norm: number, weightedError: number, weightedNorm: number}>} */
  const sums = new Map(types.filter((type) => cols % typeInfo(type).weights === 0).map((type) => [type, { error: 0, norm: 0, weightedError: 0, weightedNorm: 0 }]))
  for (const [row, rows] of strips(shape)) {
    const input = (await checkpoint.read(tensor, row * inRow, rows * inRow)).slice()
    const weights = importance && importanceOf(importance, Math.floor(row / height))
    for (const [to, sum] of sums) {
      const result = encoder.encode(input, { from, to, method, rows, cols, importance: weights })
      if ('bad' in result) throw notFinite(checkpoint, name, row + result.bad.row, result.bad.col)
      sum.error += result.error
      sum.norm += result.norm
      sum.weightedError += result.weightedError
      sum.weightedNorm += result.weightedNorm
    }
    await turn()
  }
  const part = (/** @type {number} */ a, /** @type {number} */ b) => (b > 0 ? a / b : 0)
  return Object.fromEntries([...sums].map(([type, s]) => [type, { error: part(s.error, s.norm), weighted_error: part(s.weightedError, s.weightedNorm) }]))
}
