/**
 * Importance matrices as llama.cpp's tools write them: for each matrix the sums of the squares of its inputs, column by column, over a calibration
 * text. Both forms are read: GGUF, and the older binary form.
 */
import { NibbleError } from '../errors.js'
import { decodeUtf8, encodeUtf8 } from '../memory.js'
import { quantizeEngine } from './engine.js'
import { readHeader } from './gguf-checkpoint.js'
import { GgufWriter } from './gguf-writer.js'
import { concat, lookUp, pair } from './pairs.js'
import { openRanges } from './ranges.js'

/**
 * @typedef {object} ImatrixEntry
 * @property {Float32Array} sums  of squares, [matrices, columns]: several matrices where a tensor holds one for each expert
 * @property {Float32Array} counts  [matrices] how many inputs were summed; 0: none was seen
 * @property {Float32Array} [means]  [matrices, columns] sums of the inputs themselves, where the file has them
 *
 * @typedef {object} Imatrix
 * @property {Map<string, ImatrixEntry>} entries  by the names of tensors
 * @property {string[]} datasets  names of the calibration texts
 * @property {number} chunks  of the calibration text; 0 where the file does not say
 * @property {number} chunkSize  tokens of each; 0 where the file does not say
 * @property {string} [file]  where it was read
 */

const MOST_BYTES = 1 << 30
const MOST_ENTRIES = 1 << 20

/** @param {string} file @param {string} what @returns {never} */
function fail(file, what) {
  throw new NibbleError('E_FORMAT', `${file} is no importance matrix that can be used: ${what}`)
}

/** @param {Float32Array} numbers */
const usable = (numbers) => numbers.every((x) => x >= 0 && x < Infinity)

/**
 * @param {string} file @param {string} name @param {ImatrixEntry} entry
 * @returns {ImatrixEntry}
 */
function checked(file, name, entry) {
  const { sums, counts } = entry
  if (sums.length === 0 || counts.length === 0 || sums.length % counts.length) fail(file, `${name} has ${sums.length} sums for ${counts.length} counts`)
  if (!usable(counts)) fail(file, `a count of ${name} is negative or no number; make it again`)
  if (!usable(sums)) fail(file, `a sum of ${name} is negative or no finite number (NaN comes from a calibration that went wrong); make it again`)
  return entry
}

/** @param {Uint8Array} bytes @returns {Float32Array} */
const floats = (bytes) => new Float32Array(bytes.slice().buffer)

/**
 * Reads an importance matrix: a path (Node), URL, Blob or ArrayBuffer.
 * @param {import('../source.js').SingleSource} source
 * @param {import('../source.js').SourceOptions & {engine?: import('../runtime.js').Engine}} [options]
 * @returns {Promise<Imatrix>}
 */
export async function readImatrix(source, options = {}) {
  const file = await openRanges(source, 0, options)
  try {
    if (file.size < 8) fail(file.name, `it has ${file.size} bytes`)
    if (file.size > MOST_BYTES) fail(file.name, `it has ${file.size} bytes, and ${MOST_BYTES} are the most`)
    const magic = decodeUtf8(await file.read(0, 4))
    const imatrix = magic === 'GGUF' ? await readGguf(file, options.engine) : readLegacy(file.name, await file.read(0, file.size))
    if (imatrix.entries.size === 0) fail(file.name, 'it has no entries')
    return { ...imatrix, file: file.name }
  } finally {
    await file.close()
  }
}

/** @param {import('./ranges.js').Ranges} file @param {import('../runtime.js').Engine | undefined} given @returns {Promise<Imatrix>} */
async function readGguf(file, given) {
  const engine = given ?? await quantizeEngine({ threads: 1 })
  try {
    const { pairs, tensors } = await readHeader(engine, file)
    const type = lookUp(pairs, 'general.type')
    if (type !== 'imatrix') fail(file.name, `general.type is ${type ?? 'missing'}`)
    const [datasets, chunks, chunkSize] = ['datasets', 'chunk_count', 'chunk_size'].map((key) => lookUp(pairs, `imatrix.${key}`) ?? fail(file.name, `imatrix.${key} is missing`))
    /** @type {Map<string, Record<string, {values: Float32Array, shape: number[]}>>} */
    const found = new Map()
    for (const { name, type, shape, offset, bytes } of tensors) {
      const match = /^(.+)\.(in_sum2|in_sum|counts)$/.exec(name)
      if (!match) continue
      if (type !== 'F32') fail(file.name, `${name} is ${type}, not F32`)
      const parts = found.get(match[1]) ?? {}
      parts[match[2]] = { values: floats(await file.read(offset, bytes)), shape }
      found.set(match[1], parts)
    }
    /** @type {Imatrix['entries']} */
    const entries = new Map()
    for (const [name, { in_sum2, in_sum, counts }] of found) {
      if (!in_sum2 || !counts) fail(file.name, `${name} has ${in_sum2 ? 'no counts' : 'no sums'}`)
      if (in_sum && in_sum.values.length !== in_sum2.values.length) fail(file.name, `${name} has ${in_sum.values.length} sums and ${in_sum2.values.length} sums of squares`)
      entries.set(name, checked(file.name, name, { sums: in_sum2.values, counts: counts.values, ...(in_sum && { means: in_sum.values }) }))
    }
    return { entries, datasets: [datasets].flat().map(String), chunks: Number(chunks), chunkSize: Number(chunkSize) }
  } finally {
    if (!given) engine.close()
  }
}

/** @param {string} file @param {Uint8Array} bytes @returns {Imatrix} */
function readLegacy(file, bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  const take = (/** @type {number} */ n, /** @type {string} */ what) => {
    if (n < 0 || n > bytes.length - at) fail(file, `it ends within ${what}, after ${bytes.length} bytes`)
    at += n
    return at - n
  }
  const int = (/** @type {string} */ what) => view.getInt32(take(4, what), true)
  const n = int('its first number')
  if (n < 1 || n > MOST_ENTRIES) fail(file, `it begins neither with GGUF nor with a number of entries (${n})`)
  /** @type {Imatrix['entries']} */
  const entries = new Map()
  for (let i = 0; i < n; i++) {
    const what = `entry ${i + 1} of ${n}`
    const length = int(what)
    const start = take(length, what), name = decodeUtf8(bytes.subarray(start, start + length))
    const calls = int(what), values = int(what)
    if (values < 1) fail(file, `${name} has ${values} sums`)
    if (calls < 0) fail(file, `${name} has ${calls} chunks`)
    if (entries.has(name)) fail(file, `${name} stands in it twice`)
    const sums = take(values * 4, what)
    entries.set(name, checked(file, name, { sums: floats(bytes.subarray(sums, sums + values * 4)), counts: Float32Array.of(calls) }))
  }
  // Later versions end with how many chunks it was made of and with the name of the text.
  if (at === bytes.length) return { entries, datasets: [], chunks: 0, chunkSize: 0 }
  const chunks = int('the number of chunks'), length = int('the length of the name of its text'), start = take(length, 'the name of its text')
  return { entries, datasets: length ? [decodeUtf8(bytes.subarray(start, start + length))] : [], chunks, chunkSize: 0 }
}

/**
 * Importance of the columns of a matrix: means of the squares of its inputs. Where none was seen, all columns count alike.
 * @param {ImatrixEntry} entry @param {number} [matrix]  which, where the tensor holds several
 * @returns {Float32Array}
 */
export function importanceOf({ sums, counts }, matrix = 0) {
  const cols = sums.length / counts.length
  const at = counts.length === 1 ? 0 : matrix
  const count = counts[at]
  return count > 0 ? sums.slice(at * cols, (at + 1) * cols).map((x) => x / count) : new Float32Array(cols).fill(1)
}

/**
 * Holds an importance matrix against a model: throws where an entry has other dimensions than its tensor, and tells what is missing.
 * @param {Imatrix} imatrix @param {{name: string, shape: number[]}[]} matrices  those that are to be quantized
 * @returns {string[]} for people
 */
export function checkImatrix(imatrix, matrices) {
  const notes = [], missing = [], empty = []
  const file = imatrix.file ?? 'the importance matrix'
  for (const { name, shape } of matrices) {
    const entry = imatrix.entries.get(name)
    if (!entry) {
      if (name.startsWith('blk.')) missing.push(name)
      continue
    }
    const [cols, , ...rest] = shape, stack = rest.reduce((a, b) => a * b, 1)
    const { sums, counts } = entry
    if (sums.length !== cols * counts.length || (counts.length !== 1 && counts.length !== stack)) {
      if (!(counts.length === 1 && sums.length === cols * stack)) {
        throw new NibbleError('E_ARGUMENT', `${file} has ${sums.length} sums for ${name}, which has ${cols} columns${stack > 1 ? ` in ${stack} matrices` : ''}; it was made with another model`)
      }
      imatrix.entries.set(name, { ...entry, counts: new Float32Array(stack).fill(counts[0]) }) // the older form has one count for all experts
    }
    if (entry.counts.some((n) => n === 0)) empty.push(name)
  }
  const some = (/** @type {string[]} */ names) => `${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`
  if (missing.length === matrices.filter(({ name }) => name.startsWith('blk.')).length && missing.length > 0) {
    throw new NibbleError('E_ARGUMENT', `${file} has nothing for any matrix of this model; it was made with another one`)
  }
  if (missing.length) notes.push(`${file} has nothing for ${some(missing)}: all columns count alike there`)
  if (empty.length) notes.push(`${file} saw no input of ${some(empty)}: all columns count alike there`)
  return notes
}

/** Names in the order in which llama.cpp writes them. @param {Imatrix} imatrix */
const sorted = ({ entries }) => [...entries].sort(([a], [b]) => (a < b ? -1 : 1))

/**
 * Writes an importance matrix as GGUF.
 * @param {import('./gguf-writer.js').Sink} sink @param {Imatrix} imatrix
 */
export async function writeImatrix(sink, imatrix) {
  const parts = sorted(imatrix).flatMap(([name, entry]) => {
    const { sums, counts, means } = checked('what is to be written', name, entry)
    const cols = sums.length / counts.length, shape = [cols, counts.length]
    return [
      { name: `${name}.in_sum2`, type: 'F32', shape, values: sums }, { name: `${name}.counts`, type: 'F32', shape: [1, counts.length], values: counts },
      ...(means ? [{ name: `${name}.in_sum`, type: 'F32', shape, values: means }] : []),
    ]
  })
  const writer = new GgufWriter(sink, {
    pairs: [
      pair.string('general.type', 'imatrix'), pair.array('imatrix.datasets', 'string', imatrix.datasets), pair.u32('imatrix.chunk_count', imatrix.chunks),
      pair.u32('imatrix.chunk_size', imatrix.chunkSize),
    ],
    tensors: parts,
  })
  for (const { name, values } of parts) await writer.write(name, new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  await writer.finish()
}

/**
 * The older binary form, which older tools read. It has one count for each tensor, in chunks.
 * @param {Imatrix} imatrix
 * @returns {Uint8Array}
 */
export function legacyImatrix(imatrix) {
  const { chunks, chunkSize, datasets } = imatrix
  /** @type {Uint8Array[]} */
  const out = []
  const int = (/** @type {number} */ n) => out.push(new Uint8Array(Int32Array.of(n).buffer))
  const text = (/** @type {string} */ s) => {
    const bytes = encodeUtf8(s)
    int(bytes.length)
    out.push(bytes)
  }
  const entries = sorted(imatrix).filter(([, { counts }]) => counts.some((n) => n > 0))
  int(entries.length)
  for (const [name, entry] of entries) {
    const { sums, counts } = checked('what is to be written', name, entry)
    const calls = Math.ceil(counts.reduce((a, b) => Math.max(a, b)) / (chunkSize || 1)), cols = sums.length / counts.length
    text(name)
    int(calls)
    int(sums.length)
    out.push(new Uint8Array(sums.map((x, i) => {
      const count = counts[Math.floor(i / cols)]
      return count > 0 ? x / count * calls : calls
    }).buffer))
  }
  int(chunks)
  text(datasets.at(-1) ?? '')
  return concat(out)
}
