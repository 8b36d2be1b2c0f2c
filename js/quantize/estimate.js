/**
 * What quantizing will take, before it begins: bytes from the plan, time from trials of the first rows of some tensors.
 */
import { ENCODE } from './encode.js'
import { weightsOf } from './plan.js'
import { isFloat, rowBytes } from './types.js'

/** Weights of a trial: some milliseconds. */
const TRIAL = 1 << 16
/** Weights of a piece: what is in memory at a time, and what a killed run loses at most. */
export const PIECE = 1 << 20

/** Rows of a piece. @param {number} cols */
export const pieceRows = (cols) => Math.max(1, Math.floor(PIECE / cols))

/**
 * @typedef {object} Estimate
 * @property {number} inputBytes  @property {number} outputBytes  of tensors
 * @property {number} parameters  @property {number} bpw  bits per weight, over all tensors
 * @property {number} memoryBytes  of the engine, beside what the program itself takes
 * @property {number} seconds
 * @property {Map<string, number>} secondsOf  by the names of tensors
 */

/**
 * @param {import('./checkpoint.js').Checkpoint} checkpoint @param {import('./plan.js').Plan} plan @param {import('./encode.js').RowEncoder} encoder
 * @param {number} method  of ENCODE
 * @returns {Promise<Estimate>}
 */
export async function estimateWork(checkpoint, { tensors }, encoder, method) {
  /** @type {Map<string, number>} */
  const speeds = new Map(), secondsOf = new Map()
  let memory = 0, seconds = 0, inputBytes = 0, outputBytes = 0, parameters = 0
  for (const { tensor, to, copied, bytes } of tensors) {
    const { name, type: from, shape: [cols] } = tensor, weights = weightsOf(tensor)
    inputBytes += tensor.bytes
    outputBytes += bytes
    parameters += weights
    if (copied && !isFloat(from)) continue
    const key = `${from} ${to}`, all = weights / cols
    const rows = Math.min(all, Math.max(1, Math.floor(TRIAL / cols)))
    const how = { from, to, method: copied ? ENCODE.rtn : method, rows, cols }
    memory = Math.max(memory, encoder.bytes({ ...how, rows: Math.min(all, pieceRows(cols)) }))
    let speed = speeds.get(key)
    if (speed === undefined) {
      const input = await checkpoint.read(tensor, 0, rows * rowBytes(from, cols))
      const few = Math.ceil(rows / 8)
      encoder.encode(input.subarray(0, few * rowBytes(from, cols)), { ...how, rows: few }) // before the engine has optimised it
      const start = performance.now()
      encoder.encode(input, how)
      speed = (performance.now() - start) / 1000 / (rows * cols)
      speeds.set(key, speed)
    }
    secondsOf.set(name, speed * weights)
    seconds += speed * weights
  }
  return { inputBytes, outputBytes, parameters, bpw: parameters ? outputBytes * 8 / parameters : 0, memoryBytes: memory + (4 << 20), seconds, secondsOf }
}
