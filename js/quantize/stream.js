/**
 * A checkpoint as the bytes of a GGUF file, made while they are read: the runtime loads it without a file in between, with some tensors otherwise than they are.
 */
import { GgufWriter } from './gguf-writer.js'

const PIECE = 1 << 20

/**
 * What stands in the place of a tensor.
 * @typedef {object} Substitute
 * @property {string} type
 * @property {(row: number, rows: number) => Promise<Uint8Array>} read  bytes of rows; good until the next call
 */

/**
 * @param {import('./checkpoint.js').Checkpoint} checkpoint
 * @param {Map<string, Substitute>} [instead]  by the names of tensors
 * @returns {ReadableStream<Uint8Array>}
 */
export function ggufStream(checkpoint, instead = new Map()) {
  const nothing = async () => {}
  const tensors = checkpoint.tensors.map(({ name, shape, type }) => ({ name, shape, type: instead.get(name)?.type ?? type }))
  const writer = new GgufWriter({ write: nothing, commit: nothing, abort: nothing }, { pairs: checkpoint.pairs, tensors })
  const pieces = bytesOf(checkpoint, instead, writer)
  return new ReadableStream({
    async pull(controller) {
      const { value, done } = await pieces.next()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    async cancel() {
      await pieces.return()
    },
  }, { highWaterMark: 0 })
}

/**
 * @param {import('./checkpoint.js').Checkpoint} checkpoint @param {Map<string, Substitute>} instead @param {GgufWriter} writer
 * @returns {AsyncGenerator<Uint8Array, void>}
 */
async function* bytesOf(checkpoint, instead, writer) {
  yield writer.header
  let at = writer.header.length
  for (const tensor of checkpoint.tensors) {
    const other = instead.get(tensor.name), { offset, bytes, shape } = writer.place(tensor.name, 0)
    const rows = shape.slice(1).reduce((n, d) => n * d, 1), inRow = bytes / rows, atOnce = Math.max(1, Math.floor(PIECE / inRow))
    if (offset > at) yield new Uint8Array(offset - at)
    for (let row = 0; row < rows; row += atOnce) {
      const n = Math.min(atOnce, rows - row)
      yield (other ? await other.read(row, n) : await checkpoint.read(tensor, row * inRow, n * inRow)).slice()
    }
    at = offset + bytes
  }
  if (writer.size > at) yield new Uint8Array(writer.size - at)
}
