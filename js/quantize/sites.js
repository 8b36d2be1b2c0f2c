/**
 * The matrices that share an input, encoded together by what they are multiplied with: GPTQ and AWQ (src/quantize/gptq.h, awq.h). Their weights are in
 * the engine's memory as floats meanwhile.
 */
import { NibbleError } from '../errors.js'
import { ENCODE, Room } from './encode.js'
import { pieceRows } from './estimate.js'
import { rowBytes, rowsOf, tensorBytes, typeInfo } from './types.js'

/**
 * @typedef {import('../runtime.js').Engine} Engine
 * @typedef {import('./checkpoint.js').Tensor} Tensor
 *
 * @typedef {object} GptqOptions
 * @property {'search' | 'static' | 'groups' | 'best'} [order]  of columns (nb_gptq_order); best: of each row the better of static and groups
 * @property {number} [damping]  part of the mean of H's diagonal that is added to it (default 0.01)
 * @property {number} [alpha]  how much of the error of the layers before is made up for (GPTAQ); default 0
 * @property {number} [refine]  passes over scales and codes at the end (default 2)
 * @property {number} [shrink]  part of H off its diagonal that is taken away as chance, 0 to 1; by default by the number of samples (nb_shrink_part)
 *
 * @typedef {{tensor: Tensor, to: string, rows: number, w: number}} Matrix  w: pointer to floats [rows, columns]
 *
 * @typedef {Required<Omit<GptqOptions, 'shrink'>> & {shrink: number | undefined}} AllGptqOptions
 *
 * @typedef {object} Encoded
 * @property {Matrix} matrix
 * @property {Uint8Array} blocks
 * @property {import('./encode.js').RowsResult} sums  weighted ones: under H
 * @property {Record<string, number>} details
 */

const ORDERS = { search: 0, static: 1, groups: 2, best: 3 }
const SPEC = 16 // bytes of a matrix_spec (wasm/glue_quantize.c)
const RESULT = 8 // doubles
/** Of each matrix, on which AWQ's scales are tried. */
export const AWQ_ROWS = 128

/** @param {GptqOptions} [options] @returns {AllGptqOptions} */
export function gptqOptions({ order = 'best', damping = 0.01, alpha = 0, refine = 2, shrink } = {}) {
  if (!Object.hasOwn(ORDERS, order)) throw new NibbleError('E_ARGUMENT', `there is no order '${order}'; the orders are ${Object.keys(ORDERS).join(', ')}`)
  if (!(damping > 0 && damping <= 1)) throw new NibbleError('E_ARGUMENT', `damping must be above 0 and at most 1, not ${damping}`)
  if (!(alpha >= 0 && alpha <= 1)) throw new NibbleError('E_ARGUMENT', `alpha must be from 0 to 1, not ${alpha}`)
  if (!(Number.isInteger(refine) && refine >= 0 && refine <= 100)) throw new NibbleError('E_ARGUMENT', `refine must be a whole number from 0 to 100, not ${refine}`)
  if (shrink !== undefined && !(shrink >= 0 && shrink <= 1)) throw new NibbleError('E_ARGUMENT', `shrink must be from 0 to 1, not ${shrink}`)
  return { order, damping, alpha, refine, shrink }
}

export class SiteEncoder {
  /** @param {Engine} engine @param {import('./encode.js').RowEncoder} rows */
  constructor(engine, rows) {
    this.engine = engine
    this.rows = rows
    this.rooms = { specs: new Room(engine), scratch: new Room(engine), numbers: new Room(engine), scales: new Room(engine) }
    /** Matrices whose floats are in memory. @type {Set<Matrix>} */
    this.held = new Set()
  }

  /**
   * The weights of a tensor as floats.
   * @param {import('./run.js').Run} run @param {Tensor} tensor @param {string} to
   * @returns {Promise<Matrix>}
   */
  async load(run, tensor, to) {
    const { engine } = this, [cols] = tensor.shape, rows = rowsOf(tensor.shape), inRow = rowBytes(tensor.type, cols)
    const matrix = { tensor, to, rows, w: engine.alloc(rows * cols * 4) }
    this.held.add(matrix)
    for (let row = 0; row < rows;) {
      const n = Math.min(pieceRows(cols), rows - row)
      const result = this.rows.encode(await run.checkpoint.read(tensor, row * inRow, n * inRow), { from: tensor.type, to: 'F32', method: ENCODE.rtn, rows: n, cols })
      if ('bad' in result) throw run.notFinite(tensor.name, row + result.bad.row, result.bad.col)
      engine.heap.bytes(matrix.w + row * cols * 4, result.blocks.length).set(result.blocks)
      row += n
    }
    return matrix
  }

  /** @param {Matrix} matrix */
  drop(matrix) {
    this.engine.free(matrix.w)
    this.held.delete(matrix)
  }

  /** The specs of matrices for the engine, with room for their blocks. @param {Matrix[]} matrices @param {number[]} outs */
  specs(matrices, outs) {
    const ptr = this.rooms.specs.at(SPEC * matrices.length)
    this.engine.heap.u32(ptr, 4 * matrices.length).set(matrices.flatMap(({ to, rows, w }, i) => [typeInfo(to).id, rows, w, outs[i] ?? 0]))
    return ptr
  }

  /** Takes away what of H is chance. @param {import('./calibration.js').Statistics} stats @param {number | undefined} part */
  shrink({ cols, n, h }, part) {
    const { engine } = this
    engine.call('nb_shrink_moments', h, cols, part ?? engine.call('nb_shrink_part', cols, n))
  }

  /**
   * GPTQ, or with the order 'search' the search weighted by the diagonal of H.
   * @param {Matrix[]} matrices  of a shared input @param {import('./calibration.js').Statistics} stats  with h @param {AllGptqOptions} options
   * @returns {Encoded[]} blocks are copies
   */
  gptq(matrices, stats, { order, damping, alpha, refine }) {
    const { engine, rooms } = this, { cols, h } = stats, n = matrices.length
    const sizes = matrices.map(({ to, tensor }) => tensorBytes(to, tensor.shape)), outs = sizes.map((size) => engine.alloc(size))
    try {
      const specs = this.specs(matrices, outs), numbers = rooms.numbers.at((5 + RESULT * n) * 8)
      engine.heap.f64(numbers, 5).set([ORDERS[order], ENCODE.searchLarge, damping, alpha, refine])
      const scratch = rooms.scratch.at(engine.call('nbw_gptq_scratch_bytes', numbers, cols, specs, n, engine.threads))
      const results = numbers + 5 * 8
      engine.check('nbw_gptq', engine.team, numbers, cols, h, alpha > 0 ? stats.cross : 0, specs, n, scratch, results)
      const all = engine.heap.f64(results, RESULT * n).slice()
      return matrices.map((matrix, i) => {
        const [energy, searched, error, damped, dead, rowsSearch, rowsStatic, rowsGroups] = all.slice(i * RESULT, (i + 1) * RESULT)
        const plain = this.error(matrix, outs[i]), norm = this.error(matrix, 0)
        return {
          matrix, blocks: engine.heap.bytes(outs[i], sizes[i]).slice(), sums: { error: plain, norm, weightedError: error, weightedNorm: energy },
          details: {
            searched_error: energy > 0 ? searched / energy : 0, dead_columns: dead,
            ...(order !== 'search' && { damping: damped, rows_search: rowsSearch, rows_static: rowsStatic, rows_groups: rowsGroups }),
          },
        }
      })
    } finally {
      if (!engine.dead) outs.forEach((ptr) => engine.free(ptr))
    }
  }

  /** The sum of squared differences to what blocks decode to, or of squares where there are none. @param {Matrix} matrix @param {number} blocks */
  error({ tensor: { shape: [cols] }, to, rows, w }, blocks) {
    const { engine, rooms } = this, bytes = engine.call('nbw_error_scratch_bytes', cols, engine.threads), aligned = Math.ceil(bytes / 16) * 16
    const scratch = rooms.scratch.at(aligned + rows * 8)
    return engine.call('nbw_output_error', engine.team, typeInfo(to).id, w, blocks, rows, cols, 0, scratch, scratch + aligned)
  }

  /**
   * Scales of the input's columns under which rounding costs least; the matrices are multiplied by them, H is divided.
   * @param {Matrix[]} matrices @param {import('./calibration.js').Statistics} stats
   * @returns {{scales: Float32Array, details: Record<string, number>} | undefined} undefined: none are better than 1
   */
  awq(matrices, { cols, h }) {
    const { engine, rooms } = this, n = matrices.length
    const specs = this.specs(matrices, []), scales = rooms.scales.at(cols * 4), scratch = rooms.scratch.at(engine.call('nbw_awq_scratch_bytes', cols, specs, n, engine.threads))
    engine.check('nbw_awq', engine.team, ENCODE.searchLarge, AWQ_ROWS, cols, h, specs, n, scales, scratch, engine.out)
    const [, plain, error, exponent, scaled] = engine.heap.f64(engine.out, 5)
    if (!scaled) return undefined
    for (const { w, rows } of matrices) engine.call('nb_awq_scale_columns', w, rows, cols, scales)
    engine.call('nb_awq_scale_moments', h, cols, scales)
    return { scales: engine.heap.f32(scales, cols).slice(), details: { awq_exponent: exponent, awq_gain: plain > 0 ? 1 - error / plain : 0 } }
  }

  /** Divides the rows of a matrix: its outputs are multiplied again where they go. @param {Matrix} matrix @param {Float32Array} scales */
  divideRows({ w, rows, tensor: { shape: [cols] } }, scales) {
    const weights = this.engine.heap.f32(w, rows * cols)
    for (let r = 0; r < rows; r++) for (let c = 0; c < cols; c++) weights[r * cols + c] /= scales[r]
  }

  free() {
    for (const matrix of [...this.held]) this.drop(matrix)
    for (const room of Object.values(this.rooms)) room.free()
  }
}
