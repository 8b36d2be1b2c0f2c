/**
 * A GGUF file, or the parts of a split one, as a checkpoint. The header is read and checked by the library's own reader.
 */
import { NibbleError } from '../errors.js'
import { quantizeEngine } from './engine.js'
import { lookUp } from './pairs.js'
import { openRanges } from './ranges.js'

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./checkpoint.js').Tensor} Tensor
 * @typedef {import('./pairs.js').Pair} Pair
 * @typedef {import('../runtime.js').Engine} Engine
 * @typedef {import('../source.js').SourceOptions & {engine?: Engine}} OpenOptions  engine: of the quantizer; by default one is made for the header
 *
 * @typedef {{pairs: Pair[], tensors: (Tensor & {offset: number})[]}} Header  offset: in the file
 */

const ARRAY = 9
const PIECE = 1 << 20

/** Of the place in a split model: what is written is one file. */
const SPLIT_KEYS = ['split.no', 'split.count', 'split.tensors.count']

/**
 * The header of one file.
 * @param {Engine} engine
 * @param {import('./ranges.js').Ranges} file
 * @returns {Promise<Header & {index: number, count: number}>} index, count: its place in a split model
 */
export async function readHeader(engine, file) {
  const { heap, out } = engine
  const gguf = engine.ptr('nb_gguf_new')
  if (!gguf) throw new NibbleError('E_NOMEM', 'not enough memory for the header')
  try {
    for (let at = 0; !engine.call('nb_gguf_complete', gguf) && at < file.size; at += PIECE) {
      const bytes = await file.read(at, Math.min(PIECE, file.size - at))
      engine.withBytes(bytes, (ptr, n) => engine.check('nb_gguf_feed', gguf, ptr, n, out))
    }
    engine.check('nbw_gguf_finish', gguf, file.size)
    engine.check('nb_gguf_split', gguf, out, out + 4, out + 8)
    const [index, count] = heap.u32(out, 2)
    engine.call('nbw_gguf_info', gguf, out)
    const [nPairs, nTensors, , start] = heap.f64(out, 5)
    /** @type {Pair[]} */
    const pairs = []
    for (let i = 0; i < nPairs; i++) {
      engine.call('nbw_gguf_kv', gguf, i, out)
      const [key, keyLength, kind, itemKind, items, data, length] = heap.f64(out, 7)
      pairs.push({ key: heap.string(key, keyLength), kind, ...(kind === ARRAY && { itemKind, count: items }), data: heap.bytes(data, length).slice() })
    }
    /** @type {Header['tensors']} */
    const tensors = []
    for (let i = 0; i < nTensors; i++) {
      engine.call('nbw_gguf_tensor', gguf, i, out)
      const [name, nameLength, type, n_dims, ...rest] = heap.f64(out, 10)
      tensors.push({
        name: heap.string(name, nameLength), type: heap.cstring(engine.ptr('nbw_type_name', type)) ?? String(type), shape: rest.slice(0, n_dims),
        bytes: rest[4], offset: start + rest[5],
      })
    }
    return { pairs, tensors, index, count }
  } catch (error) {
    if (error instanceof NibbleError && error.code !== 'E_ABORTED') throw new NibbleError(error.code, `${file.name}: ${error.message}`, { cause: error })
    throw error
  } finally {
    if (!engine.dead) engine.call('nb_gguf_free', gguf)
  }
}

/**
 * @param {import('../source.js').Source} source
 * @param {OpenOptions} options
 * @returns {Promise<Checkpoint>}
 */
export async function openGguf(source, options) {
  const engine = options.engine ?? await quantizeEngine({ threads: 1 })
  /** @type {import('./ranges.js').Ranges[]} */
  const files = []
  const close = async () => {
    for (const file of files.splice(0)) await file.close()
  }
  try {
    /** @type {Pair[]} */
    let pairs = []
    /** @type {Map<string, {file: import('./ranges.js').Ranges, offset: number}>} */
    const places = new Map()
    /** @type {Tensor[]} */
    const tensors = []
    for (let i = 0, parts = 1; i < parts; i++) {
      const file = await openRanges(source, i, options)
      files.push(file)
      const header = await readHeader(engine, file)
      if (i === 0) {
        parts = header.count
        pairs = header.pairs
      }
      if (header.index !== i || header.count !== parts) {
        throw new NibbleError('E_FORMAT', `${file.name} is part ${header.index + 1} of ${header.count} of a split model where part ${i + 1} of ${parts} is expected`)
      }
      for (const { offset, ...tensor } of header.tensors) {
        if (places.has(tensor.name)) throw new NibbleError('E_FORMAT', `the tensor ${tensor.name} stands in two parts of the model`)
        places.set(tensor.name, { file, offset })
        tensors.push(tensor)
      }
    }
    const promised = lookUp(pairs, 'split.tensors.count')
    if (files.length > 1 && typeof promised === 'number' && promised !== tensors.length) {
      throw new NibbleError('E_FORMAT', `the parts hold ${tensors.length} tensors where split.tensors.count says ${promised}`)
    }
    return {
      name: files[0].name,
      pairs: pairs.filter((p) => !SPLIT_KEYS.includes(p.key)),
      tensors,
      async read(tensor, offset, length) {
        const place = places.get(tensor.name)
        if (!place) throw new NibbleError('E_ARGUMENT', `${files[0].name} has no tensor ${tensor.name}`)
        if (offset < 0 || length > tensor.bytes - offset) throw new NibbleError('E_ARGUMENT', `the tensor ${tensor.name} has ${tensor.bytes} bytes, not ${offset + length}`)
        return place.file.read(place.offset + offset, length)
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  } finally {
    if (!options.engine) engine.close()
  }
}
