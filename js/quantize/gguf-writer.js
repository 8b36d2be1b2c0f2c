/**
 * Writes GGUF files, version 3, laid out as llama.cpp lays them out: header, then every tensor at a multiple of the alignment. The header and the
 * size are known before the first tensor; tensors may come in any order and in pieces.
 */
import { NibbleError } from '../errors.js'
import { encodeUtf8 } from '../memory.js'
import { KIND, concat, lookUp } from './pairs.js'
import { tensorBytes, typeInfo } from './types.js'

/**
 * @typedef {import('./pairs.js').Pair} Pair
 * @typedef {{name: string, type: string, shape: number[]}} TensorHead  shape[0] is the length of a row
 * @typedef {TensorHead & {offset: number, bytes: number, written: number}} Place  offset: in the file
 *
 * @typedef {object} Sink  where a file goes (js/quantize/sinks.js, node.js)
 * @property {(bytes: Uint8Array, position: number) => Promise<void>} write  the bytes may be changed as soon as it resolves
 * @property {(size: number) => Promise<void>} commit  the file is complete and has so many bytes: makes it visible
 * @property {() => Promise<void>} abort  leaves nothing behind
 */

/** @param {bigint | number} n */
function u64(n) {
  const out = new Uint8Array(8)
  new DataView(out.buffer).setBigUint64(0, BigInt(n), true)
  return out
}

/** @param {number} n */
function u32(n) {
  const out = new Uint8Array(4)
  new DataView(out.buffer).setUint32(0, n, true)
  return out
}

/** @param {string} text */
function string(text) {
  const bytes = encodeUtf8(text)
  return concat([u64(bytes.length), bytes])
}

/** @param {string[]} names @param {string} what */
function checkNames(names, what) {
  const seen = new Set()
  for (const name of names) {
    if (seen.has(name)) throw new NibbleError('E_ARGUMENT', `the ${what} ${name} occurs twice`)
    seen.add(name)
  }
}

/** @param {TensorHead} tensor */
function checkShape({ name, shape }) {
  if (shape.length < 1 || shape.length > 4 || !shape.every((d) => Number.isSafeInteger(d) && d > 0)) {
    throw new NibbleError('E_ARGUMENT', `the tensor ${name} has the shape ${shape.join(' x ') || 'of nothing'}; a file takes one to four dimensions of at least 1`)
  }
}

/**
 * @param {Pair[]} pairs
 * @returns {number}
 */
function alignmentOf(pairs) {
  const given = lookUp(pairs, 'general.alignment') ?? 32
  if (typeof given !== 'number' || given < 1 || given > 2 ** 20 || (given & (given - 1)) !== 0) {
    throw new NibbleError('E_ARGUMENT', `general.alignment is ${given}; it must be a power of two`)
  }
  return given
}

export class GgufWriter {
  /**
   * @param {Sink} sink
   * @param {{pairs: Pair[], tensors: TensorHead[]}} content  tensors in the order in which they lie in the file. The alignment is that of the pair
   *   general.alignment, or 32
   */
  constructor(sink, { pairs, tensors }) {
    checkNames(pairs.map((p) => p.key), 'key')
    checkNames(tensors.map((t) => t.name), 'tensor')
    this.sink = sink
    this.alignment = alignmentOf(pairs)
    const pad = (/** @type {number} */ n) => Math.ceil(n / this.alignment) * this.alignment
    /** @type {Uint8Array[]} */
    const head = [encodeUtf8('GGUF'), u32(3), u64(tensors.length), u64(pairs.length)]
    for (const { key, kind, itemKind = 0, count = 0, data } of pairs) {
      head.push(string(key), u32(kind))
      if (kind === KIND.array) head.push(u32(itemKind), u64(count))
      head.push(data)
    }
    let offset = 0
    /** @type {Map<string, Place>} */
    this.places = new Map()
    for (const tensor of tensors) {
      checkShape(tensor)
      const { name, type, shape } = tensor
      head.push(string(name), u32(shape.length), ...shape.map(u64), u32(typeInfo(type).id), u64(offset))
      const bytes = tensorBytes(type, shape)
      this.places.set(name, { name, type, shape, offset, bytes, written: 0 })
      offset = pad(offset + bytes)
    }
    const header = concat(head), start = pad(header.length)
    this.header = concat([header, new Uint8Array(start - header.length)])
    for (const place of this.places.values()) place.offset += start
    /** Bytes of the whole file. */
    this.size = start + offset
    this.begun = false
  }

  /** @param {string} name @param {number} n  bytes to come */
  place(name, n) {
    const place = this.places.get(name)
    if (!place) throw new NibbleError('E_ARGUMENT', `the file has no tensor ${name}`)
    if (n > place.bytes - place.written) {
      throw new NibbleError('E_ARGUMENT', `the tensor ${name} has ${place.bytes} bytes, of which ${place.written} are written: ${n} more are too many`)
    }
    return place
  }

  /** The header; comes by itself before the first tensor. */
  async begin() {
    if (this.begun) return
    this.begun = true
    await this.sink.write(this.header, 0)
  }

  /**
   * The next bytes of a tensor.
   * @param {string} name @param {Uint8Array} bytes
   */
  async write(name, bytes) {
    const place = this.place(name, bytes.length)
    await this.begin()
    const at = place.offset + place.written
    place.written += bytes.length
    await this.sink.write(bytes, at)
    if (place.written === place.bytes) await this.padAfter(place)
  }

  /** @param {Place} place */
  async padAfter({ bytes, offset }) {
    const rest = -bytes & (this.alignment - 1)
    if (rest) await this.sink.write(new Uint8Array(rest), offset + bytes)
  }

  /**
   * The next n bytes of a tensor are in the sink, from an earlier run.
   * @param {string} name @param {number} n
   */
  async skip(name, n) {
    const place = this.place(name, n)
    place.written += n
    if (place.written === place.bytes) await this.padAfter(place)
  }

  /** Checks that everything was written, and makes the file visible. */
  async finish() {
    for (const { name, bytes, written } of this.places.values()) {
      if (written !== bytes) throw new NibbleError('E_ARGUMENT', `the tensor ${name} is not complete: ${written} of ${bytes} bytes were written`)
    }
    await this.begin()
    await this.sink.commit(this.size)
  }
}
