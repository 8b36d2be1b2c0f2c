/**
 * Encoding rows in the engine: buffers that are kept from one piece to the next.
 */
import { NibbleError } from '../errors.js'
import { rowBytes, typeInfo } from './types.js'

/** nb_encode_method (src/quantize/encode.h), and HQQ (hqq.h). */
export const ENCODE = /** @type {const} */ ({ rtn: 0, search: 1, searchLarge: 2, hqq: 3 })

/**
 * @typedef {import('../runtime.js').Engine} Engine
 *
 * @typedef {object} Rows
 * @property {string} from  @property {string} to
 * @property {number} method  of ENCODE
 * @property {number} rows  @property {number} cols
 * @property {Float32Array} [importance]  [cols]
 *
 * @typedef {object} RowsResult  sums over all weights
 * @property {number} error  of the squares of differences  @property {number} norm  of the squares of weights
 * @property {number} weightedError  @property {number} weightedNorm  the same, each column times its importance
 */

/** A piece of memory in the engine that grows. */
export class Room {
  /** @param {Engine} engine */
  constructor(engine) {
    this.engine = engine
    this.ptr = 0
    this.size = 0
  }

  /** @param {number} bytes */
  at(bytes) {
    if (bytes > this.size) {
      this.free()
      this.ptr = this.engine.alloc(bytes)
      this.size = bytes
    }
    return this.ptr
  }

  free() {
    this.engine.free(this.ptr)
    this.ptr = this.size = 0
  }
}

export class RowEncoder {
  /** @param {Engine} engine  of the quantizer */
  constructor(engine) {
    this.engine = engine
    this.rooms = { input: new Room(engine), output: new Room(engine), importance: new Room(engine), scratch: new Room(engine) }
  }

  /** Bytes of memory that pieces of this size take. @param {Rows} rows */
  bytes({ from, to, rows, cols }) {
    return rows * (rowBytes(from, cols) + rowBytes(to, cols)) + cols * 4 + this.engine.call('nb_rows_scratch', rows, cols, this.engine.threads)
  }

  /**
   * Encodes rows.
   * @param {Uint8Array} bytes  the rows in the type they have @param {Rows} rows
   * @returns {{blocks: Uint8Array} & RowsResult | {bad: {row: number, col: number}}} blocks: valid until the next call; bad: a number that is not finite
   */
  encode(bytes, { from, to, method, rows, cols, importance }) {
    const { engine, rooms } = this, { heap, out } = engine
    const outBytes = rows * rowBytes(to, cols)
    if (bytes.length !== rows * rowBytes(from, cols)) throw new NibbleError('E_ARGUMENT', `${rows} rows of ${cols} weights in ${from} are not ${bytes.length} bytes`)
    if (importance && importance.length !== cols) throw new NibbleError('E_ARGUMENT', `rows of ${cols} weights have not ${importance.length} importances`)
    const input = rooms.input.at(bytes.length), output = rooms.output.at(outBytes)
    const scratch = rooms.scratch.at(engine.call('nb_rows_scratch', rows, cols, engine.threads)), weights = importance ? rooms.importance.at(cols * 4) : 0
    heap.bytes(input, bytes.length).set(bytes)
    if (importance) heap.f32(weights, cols).set(importance)
    engine.call('nbw_requantize_rows', engine.team, typeInfo(from).id, typeInfo(to).id, method, input, output, rows, cols, weights, scratch, out)
    const [finite, row, col, error, norm, weightedError, weightedNorm] = heap.f64(out, 7)
    if (!finite) return { bad: { row, col } }
    return { blocks: heap.bytes(output, outBytes), error, norm, weightedError, weightedNorm }
  }

  free() {
    for (const room of Object.values(this.rooms)) room.free()
  }
}
