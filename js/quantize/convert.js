/**
 * A model as one GGUF file: of a Hugging Face folder, or of a GGUF file in parts; matrices of floats as another type of floats.
 */
import { NibbleError } from '../errors.js'
import { abortError } from '../source.js'
import { openCheckpoint } from './checkpoint.js'
import { convertFloats, FLOAT_BYTES } from './floats.js'
import { GgufWriter } from './gguf-writer.js'
import { FILE_TYPES } from './huggingface.js'
import { lookUp, pair } from './pairs.js'
import { openSink } from './sinks.js'

/** Bytes that are read at a time; whole numbers of any type. */
const PIECE = 8 << 20

export const CONVERT_TYPES = ['keep', 'F32', 'F16', 'BF16']

/** @typedef {import('./checkpoint.js').Checkpoint} Checkpoint @typedef {import('./checkpoint.js').Tensor} Tensor @typedef {import('./gguf-writer.js').Sink} Sink */

/**
 * The same model with its matrices in another type of floats; vectors keep theirs.
 * @param {Checkpoint} checkpoint @param {string} type
 * @returns {Checkpoint}
 */
export function retyped(checkpoint, type) {
  /** @type {Map<string, Tensor>} */
  const before = new Map(checkpoint.tensors.map((tensor) => [tensor.name, tensor]))
  const tensors = checkpoint.tensors.map((tensor) => {
    if (tensor.shape.length < 2 || tensor.type === type) return tensor
    if (!Object.hasOwn(FLOAT_BYTES, tensor.type)) {
      throw new NibbleError('E_UNSUPPORTED', `the tensor ${tensor.name} is quantized (${tensor.type}) and cannot become ${type}; take the original model, or keep the types`)
    }
    return { ...tensor, type, bytes: tensor.bytes / FLOAT_BYTES[tensor.type] * FLOAT_BYTES[type] }
  })
  return {
    ...checkpoint, tensors,
    pairs: checkpoint.pairs.map((p) => (p.key === 'general.file_type' ? pair.u32(p.key, FILE_TYPES[type]) : p)),
    async read(tensor, offset, length) {
      const source = before.get(tensor.name) ?? tensor
      if (source.type === tensor.type) return checkpoint.read(source, offset, length)
      const scale = FLOAT_BYTES[source.type] / FLOAT_BYTES[tensor.type]
      return convertFloats(await checkpoint.read(source, offset * scale, length * scale), source.type, tensor.type, tensor.name)
    },
  }
}

/**
 * @typedef {object} ConvertOptions
 * @property {string} [type]  keep (the default), F32, F16 or BF16
 * @property {AbortSignal} [signal]
 * @property {(progress: {written: number, total: number, tensor: string}) => void} [onProgress]
 *
 * @typedef {object} ConvertReport
 * @property {string} name  @property {string} architecture  @property {number} parameters
 * @property {number} tensors  @property {Record<string, number>} types  tensors of each  @property {number} file_bytes
 * @property {string[]} notes  what people should know of the model that the file cannot say
 */

/**
 * Converts a model. Reads and writes in pieces: memory does not depend on its size.
 * @param {import('./checkpoint.js').CheckpointSource} source
 * @param {Sink | string} destination  a path (Node), or a sink
 * @param {ConvertOptions & import('./gguf-checkpoint.js').OpenOptions} [options]
 * @returns {Promise<ConvertReport>}
 */
export async function convert(source, destination, options = {}) {
  const { type = 'keep', signal, onProgress } = options
  if (!CONVERT_TYPES.includes(type)) throw new NibbleError('E_ARGUMENT', `a model is converted to ${CONVERT_TYPES.join(', ')}, not to '${type}'; nibble quantize makes smaller files`)
  const checkpoint = await openCheckpoint(source, options)
  /** @type {Sink | undefined} */
  let sink
  try {
    const { pairs, tensors, read, notes = [] } = type === 'keep' ? checkpoint : retyped(checkpoint, type)
    sink = await openSink(destination)
    if ('journal' in sink) await /** @type {import('./sinks.js').FileSink} */ (sink).journal.restart() // an interrupted quantizer may have left something there
    const writer = new GgufWriter(sink, { pairs, tensors }), total = tensors.reduce((n, t) => n + t.bytes, 0)
    /** @type {Record<string, number>} */
    const types = {}
    let written = 0
    for (const tensor of tensors) {
      types[tensor.type] = (types[tensor.type] ?? 0) + 1
      for (let at = 0; at < tensor.bytes; at += PIECE) {
        if (signal?.aborted) throw abortError(undefined, signal)
        const n = Math.min(PIECE, tensor.bytes - at)
        await writer.write(tensor.name, await read(tensor, at, n))
        written += n
        onProgress?.({ written, total, tensor: tensor.name })
      }
    }
    await writer.finish()
    const parameters = tensors.reduce((n, { name, shape }) => n + (name === 'rope_freqs.weight' ? 0 : shape.reduce((a, d) => a * d, 1)), 0)
    return {
      name: String(lookUp(pairs, 'general.name') ?? checkpoint.name), architecture: String(lookUp(pairs, 'general.architecture')),
      parameters, tensors: tensors.length, types, file_bytes: writer.size, notes,
    }
  } catch (error) {
    await sink?.abort()
    throw error
  } finally {
    await checkpoint.close()
  }
}
