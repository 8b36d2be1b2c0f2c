/**
 * The work itself: tensor by tensor, in pieces of rows, with what an earlier run has done.
 */
import { NibbleError } from '../errors.js'
import { turn } from '../generate.js'
import { abortError } from '../source.js'
import { ENCODE } from './encode.js'
import { pieceRows } from './estimate.js'
import { importanceOf } from './imatrix.js'
import { sha256 } from './journal.js'
import { weightsOf } from './plan.js'
import { isFloat, rowBytes } from './types.js'

/**
 * @typedef {import('./journal.js').PieceResult} PieceResult
 * @typedef {import('./plan.js').TensorPlan} TensorPlan
 * @typedef {import('./quantize.js').TensorResult} TensorResult
 *
 * @typedef {object} RunParts
 * @property {import('./checkpoint.js').Checkpoint} checkpoint
 * @property {import('./plan.js').Plan} plan
 * @property {import('./encode.js').RowEncoder} encoder
 * @property {number} method  of ENCODE
 * @property {Map<string, import('./imatrix.js').ImatrixEntry>} importance  by the names of tensors
 * @property {import('./estimate.js').Estimate} estimate
 * @property {import('./quantize.js').QuantizeOptions} options
 * @property {import('./quantize.js').Sink} sink
 * @property {import('./gguf-writer.js').GgufWriter} writer
 * @property {import('./journal.js').Progress} progress
 */

const COPY_PIECE = 4 << 20
const NONE = { error: 0, norm: 0, weightedError: 0, weightedNorm: 0, seconds: 0 }

export class Run {
  /** @param {RunParts} parts */
  constructor(parts) {
    const { checkpoint, plan, encoder, method, importance, estimate, options, sink, writer, progress } = parts
    this.checkpoint = checkpoint
    this.plan = plan
    this.encoder = encoder
    this.method = method
    this.importance = importance
    this.estimate = estimate
    this.options = options
    this.sink = sink
    this.writer = writer
    this.progress = progress
    this.start = performance.now()
    /** Seconds of the estimate that are done, and of these what an earlier run did. */
    this.done = 0
    this.found = 0
    /** @type {Map<string, TensorResult>} */
    this.results = new Map()
  }

  checkSignal() {
    if (this.options.signal?.aborted) throw abortError(undefined, this.options.signal)
  }

  /** @param {string} what  in work */
  async tell(what) {
    await turn()
    this.checkSignal()
    this.show(what)
  }

  /** @param {string} what  in work */
  show(what) {
    const { estimate: { seconds: all }, done, found } = this
    const own = done - found, elapsed = (performance.now() - this.start) / 1000
    // The estimate, corrected by how it has been so far.
    const factor = own > 0.02 * all || own > 10 ? elapsed / Math.max(own, 1e-9) : 1
    this.options.onProgress?.({
      tensor: what, index: this.results.size, count: this.plan.tensors.length, done: all > 0 ? Math.min(1, done / all) : 1, secondsLeft: Math.max(0, all - done) * factor,
    })
  }

  /** @param {number} seconds  of the estimate @param {boolean} [found]  by an earlier run */
  advance(seconds, found = false) {
    this.done += seconds
    if (found) this.found += seconds
  }

  /** What an earlier run wrote, if it is still there. @param {string} name @param {number} row @param {number} rows @param {number} bytes */
  async earlier(name, row, rows, bytes) {
    const entry = this.progress.entry(name, row)
    if (!entry || entry.rows !== rows || !this.sink.read) return undefined
    const { offset, written } = this.writer.place(name, bytes)
    const blocks = await this.sink.read(offset + written, bytes)
    return blocks.length === bytes && await sha256(blocks) === entry.sha256 ? entry : undefined
  }

  /**
   * Writes rows of a tensor, and that they are there.
   * @param {string} name @param {number} row @param {number} rows @param {Uint8Array} blocks @param {PieceResult & {details?: Record<string, number>}} result
   */
  async write(name, row, rows, blocks, result) {
    await this.writer.write(name, blocks)
    await this.progress.done(name, row, rows, blocks, result)
  }

  /** @param {TensorPlan} plan @param {Omit<PieceResult, 'sha256'>} sums @param {Partial<TensorResult>} [more] */
  finish({ tensor: { name, shape, type: from }, to, copied, bytes }, sums, more) {
    /** @type {TensorResult} */
    const result = {
      name, shape, from, to, copied, bytes, bits: bytes * 8 / weightsOf({ shape }), error: sums.norm > 0 ? sums.error / sums.norm : 0,
      weighted_error: sums.weightedNorm > 0 ? sums.weightedError / sums.weightedNorm : 0, seconds: sums.seconds, ...more,
    }
    this.results.set(name, result)
    return result
  }

  /** A tensor by itself, with the importance that is known of it. @param {TensorPlan} plan */
  async tensor(plan) {
    const { tensor, to, copied } = plan, { name, type: from, shape } = tensor, [cols, height = 1] = shape
    const weights = weightsOf(tensor), estimated = this.estimate.secondsOf.get(name) ?? 0
    const sum = { ...NONE }
    if (copied && !isFloat(from)) {
      await this.copy(tensor)
    } else {
      const entry = copied ? undefined : this.importance.get(name)
      for (let first = 0; first < weights / cols; first += height) {
        const importance = entry && importanceOf(entry, first / height)
        for (let row = first; row < first + height;) {
          const rows = Math.min(pieceRows(cols), first + height - row)
          await this.tell(name)
          const result = await this.piece({ tensor, to, copied, row, rows, cols, importance })
          for (const key of /** @type {(keyof typeof sum)[]} */ (Object.keys(sum))) sum[key] += result[key]
          this.advance(estimated * rows * cols / weights, result.found)
          row += rows
        }
      }
    }
    return this.finish(plan, sum)
  }

  /** @param {import('./checkpoint.js').Tensor} tensor */
  async copy(tensor) {
    for (let at = 0; at < tensor.bytes; at += COPY_PIECE) {
      await this.tell(tensor.name)
      await this.writer.write(tensor.name, await this.checkpoint.read(tensor, at, Math.min(COPY_PIECE, tensor.bytes - at)))
    }
  }

  /** @param {string} name @param {number} row @param {number} col */
  notFinite(name, row, col) {
    return new NibbleError('E_FORMAT', `${name} of ${this.checkpoint.name} holds a NaN or an infinity in row ${row}, column ${col}; the file is damaged, or went wrong when it was made`)
  }

  /**
   * @param {{tensor: import('./checkpoint.js').Tensor, to: string, copied: boolean, row: number, rows: number, cols: number, importance?: Float32Array}} piece
   * @returns {Promise<PieceResult & {found: boolean}>}
   */
  async piece({ tensor, to, copied, row, rows, cols, importance }) {
    const { name, type: from } = tensor, outBytes = rows * rowBytes(to, cols), inRow = rowBytes(from, cols)
    const before = copied ? undefined : await this.earlier(name, row, rows, outBytes)
    if (before) {
      await this.writer.skip(name, outBytes)
      return { ...before, found: true }
    }
    const input = await this.checkpoint.read(tensor, row * inRow, rows * inRow)
    const start = performance.now()
    const result = this.encoder.encode(input, { from, to, method: copied ? ENCODE.rtn : this.method, rows, cols, importance })
    if ('bad' in result) throw this.notFinite(name, row + result.bad.row, result.bad.col)
    const seconds = copied ? 0 : (performance.now() - start) / 1000
    if (copied) {
      await this.writer.write(name, input)
    } else {
      // Out of the engine's memory, which may be shared: files and hashes do not take that.
      await this.write(name, row, rows, result.blocks.slice(), { ...result, seconds })
    }
    return { ...result, seconds, found: false }
  }
}
