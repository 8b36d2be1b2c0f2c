/**
 * Safetensors files (https://github.com/huggingface/safetensors), read by ranges: a length, a JSON header, the tensors' bytes. The header
 * comes from outside: every length and offset is checked before it is used, and the tensors must cover the data exactly, as the format asks.
 */
import { NibbleError } from '../errors.js'
import { isObject, readJson } from './folder.js'

/** Bytes of an element of each type of the format; types of less than a byte are refused with the others that no model here has. @type {Record<string, number>} */
const ELEMENT_BYTES = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U64: 8, U32: 4, U16: 2, U8: 1, BOOL: 1, F8_E4M3: 1, F8_E5M2: 1 }
const HEADER_LIMIT = 100_000_000 // the format's own
const DIMS_LIMIT = 8
const INDEX_LIMIT = 64 << 20
export const INDEX = 'model.safetensors.index.json'

/**
 * @typedef {object} SafeTensor
 * @property {string} dtype  @property {number[]} shape  outermost first
 * @property {number} start  in the file  @property {number} bytes
 */

/** The few kinds of JSON that a header is made of; unlike JSON.parse it sees names that occur twice. */
class Scanner {
  /** @param {string} text @param {string} name */
  constructor(text, name) {
    this.text = text
    this.name = name
    this.at = 0
  }

  /** @param {string} what @returns {never} */
  fail(what) {
    throw new NibbleError('E_FORMAT', `${this.name}: the header ${what} at character ${this.at}; the file is damaged, or no safetensors file`)
  }

  /** The next character that is no white space. */
  peek() {
    while (/[ \t\r\n]/.test(this.text[this.at] ?? '')) this.at++
    return this.text[this.at]
  }

  /** @param {string} c */
  take(c) {
    if (this.peek() !== c) this.fail(`has no '${c}' where it must`)
    this.at++
  }

  string() {
    this.take('"')
    const start = this.at
    for (; this.text[this.at] !== '"'; this.at++) {
      if (this.at >= this.text.length) this.fail('ends within a string')
      if (this.text[this.at] === '\\') this.at++
    }
    const raw = this.text.slice(start - 1, ++this.at)
    try {
      return /** @type {string} */ (JSON.parse(raw))
    } catch {
      return this.fail('has a string that is not JSON')
    }
  }

  integer() {
    this.peek()
    const digits = /^(?:0|[1-9]\d{0,15})(?![\d.eE])/.exec(this.text.slice(this.at, this.at + 18))?.[0]
    if (digits === undefined || !Number.isSafeInteger(Number(digits))) return this.fail('has no whole number of a usable size')
    this.at += digits.length
    return Number(digits)
  }

  /** @param {number} most */
  integers(most) {
    const items = []
    this.take('[')
    if (this.peek() !== ']') {
      for (;;) {
        if (items.length === most) this.fail(`has a list of more than ${most} numbers`)
        items.push(this.integer())
        if (this.peek() !== ',') break
        this.at++
      }
    }
    this.take(']')
    return items
  }

  /** Calls `member` at the value of each name. @param {(key: string) => void} member */
  object(member) {
    const seen = new Set()
    this.take('{')
    if (this.peek() !== '}') {
      for (;;) {
        const key = this.string()
        if (seen.has(key)) this.fail(`names '${key.slice(0, 80)}' twice`)
        seen.add(key)
        this.take(':')
        member(key)
        if (this.peek() !== ',') break
        this.at++
      }
    }
    this.take('}')
  }
}

/**
 * The tensors that a header lists.
 * @param {Uint8Array} header  without the length before it
 * @param {number} size  bytes of the whole file
 * @param {string} name  for messages
 * @returns {Map<string, SafeTensor>}
 */
export function parseHeader(header, size, name) {
  let text
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header)
  } catch (error) {
    throw new NibbleError('E_FORMAT', `${name}: the header is not UTF-8 text; the file is damaged, or no safetensors file`, { cause: error })
  }
  /** @type {Map<string, SafeTensor>} */
  const tensors = new Map()
  const scanner = new Scanner(text, name), base = 8 + header.length
  scanner.object((tensor) => {
    if (tensor === '__metadata__') return scanner.object(() => scanner.string())
    let dtype = '', shape = /** @type {number[] | undefined} */ (undefined), offsets = /** @type {number[] | undefined} */ (undefined)
    scanner.object((key) => {
      if (key === 'dtype') dtype = scanner.string()
      else if (key === 'shape') shape = scanner.integers(DIMS_LIMIT)
      else if (key === 'data_offsets') offsets = scanner.integers(2)
      else scanner.fail(`has the unknown field '${key.slice(0, 80)}'`)
    })
    tensors.set(tensor, place(name, tensor, dtype, shape, offsets, base))
  })
  if (scanner.peek() !== undefined) scanner.fail('goes on behind its end')
  checkCover(name, tensors, base, size)
  return tensors
}

/** @param {string} name @param {string} tensor @param {string} dtype @param {number[] | undefined} shape @param {number[] | undefined} offsets @param {number} base @returns {SafeTensor} */
function place(name, tensor, dtype, shape, offsets, base) {
  const where = `${name}: the tensor '${tensor.slice(0, 120)}'`
  if (!shape || !offsets || offsets.length !== 2 || !dtype) throw new NibbleError('E_FORMAT', `${where} must have dtype, shape and two data_offsets`)
  const each = Object.hasOwn(ELEMENT_BYTES, dtype) ? ELEMENT_BYTES[dtype] : undefined
  if (each === undefined) throw new NibbleError('E_UNSUPPORTED', `${where} has the type ${dtype.slice(0, 20)}, which is not read; models in F32, F16 and BF16 are`)
  const [start, end] = offsets
  const bytes = shape.reduce((n, d) => n * d, each)
  if (!Number.isSafeInteger(bytes) || end - start !== bytes) throw new NibbleError('E_FORMAT', `${where} of the shape [${shape}] in ${dtype} does not fill its bytes ${start} to ${end}`)
  return { dtype, shape, start: base + start, bytes }
}

/** The tensors lie one behind the other, from the header to the end of the file. @param {string} name @param {Map<string, SafeTensor>} tensors @param {number} base @param {number} size */
function checkCover(name, tensors, base, size) {
  let at = base
  for (const [tensor, { start, bytes }] of [...tensors].sort(([, a], [, b]) => a.start - b.start || a.bytes - b.bytes)) {
    if (start !== at) throw new NibbleError('E_FORMAT', `${name}: the tensor '${tensor.slice(0, 120)}' ${start < at ? 'overlaps another one' : 'leaves a hole before it'}`)
    at = start + bytes
  }
  if (at > size) throw new NibbleError('E_TRUNCATED', `${name} ends after ${size} of ${at} bytes; it was cut, get it again`)
  if (at < size) throw new NibbleError('E_FORMAT', `${name} has ${size - at} bytes behind its last tensor`)
}

/** @param {import('./ranges.js').Ranges} file */
async function readHeader(file) {
  if (file.size < 8) throw new NibbleError('E_TRUNCATED', `${file.name} has ${file.size} bytes, too few for a safetensors file`)
  const first = await file.read(0, 8), view = new DataView(first.buffer, first.byteOffset, 8)
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32
  if (length > HEADER_LIMIT) throw new NibbleError('E_FORMAT', `${file.name}: its header would have ${length} bytes, the limit is ${HEADER_LIMIT}; is it a safetensors file?`)
  if (8 + length > file.size) throw new NibbleError('E_TRUNCATED', `${file.name} ends within its header; it was cut, get it again`)
  return parseHeader(await file.read(8, length), file.size, file.name)
}

/**
 * @typedef {object} SafeTensors
 * @property {ReadonlyMap<string, SafeTensor>} tensors  of all files
 * @property {(name: string, offset: number, length: number) => Promise<Uint8Array>} read
 * @property {() => Promise<void>} close
 */

/** Which file holds each tensor of a model in several. @param {import('./folder.js').Folder} folder @returns {Promise<Map<string, string[]>>} file -> tensors */
async function readIndex(folder) {
  const map = (await readJson(folder, INDEX, INDEX_LIMIT))?.weight_map
  if (!isObject(map)) throw new NibbleError('E_FORMAT', `${INDEX} has no weight_map`)
  /** @type {Map<string, string[]>} */
  const files = new Map()
  for (const [tensor, file] of Object.entries(map)) {
    if (typeof file !== 'string' || !/^[\w.-]+\.safetensors$/.test(file)) throw new NibbleError('E_FORMAT', `${INDEX}: the file of '${tensor.slice(0, 120)}' is no name of a .safetensors file`)
    const list = files.get(file)
    if (list) list.push(tensor)
    else files.set(file, [tensor])
  }
  const absent = [...files.keys()].filter((file) => !folder.files.has(file))
  if (absent.length > 0) throw new NibbleError('E_TRUNCATED', `${absent.length} of the ${files.size} parts that ${INDEX} names are missing, such as ${absent[0]}; get them too`)
  return files
}

/** Why a folder has no weights to read. @param {import('./folder.js').Folder} folder */
function noWeights({ name, files }) {
  const some = (/** @type {RegExp} */ pattern) => [...files].find((file) => pattern.test(file))
  const found = some(/^pytorch_model.*\.bin$|\.pth?$/)
  if (files.has('adapter_config.json')) return new NibbleError('E_UNSUPPORTED', `${name} is an adapter (LoRA), not a model: merge it into its base model first`)
  if (found) return new NibbleError('E_UNSUPPORTED', `${name} has its weights in ${found}, a format that can run code; save the model as safetensors (save_pretrained) first`)
  const other = some(/\.safetensors$/)
  return new NibbleError('E_ARGUMENT', other ? `${name} has ${other}, but no model.safetensors and no ${INDEX}; is this the whole model?` : `${name} has no model.safetensors: it is no folder of a model`)
}

/**
 * Opens the weights of a folder, in one file or several.
 * @param {import('./folder.js').Folder} folder
 * @returns {Promise<SafeTensors>}
 */
export async function openSafetensors(folder) {
  const single = 'model.safetensors'
  const wanted = folder.files.has(INDEX) ? await readIndex(folder) : folder.files.has(single) ? new Map([[single, undefined]]) : undefined
  if (!wanted) throw noWeights(folder)
  /** @type {Map<string, SafeTensor>} */
  const tensors = new Map()
  /** @type {Map<string, import('./ranges.js').Ranges>} */
  const holder = new Map()
  /** @type {import('./ranges.js').Ranges[]} */
  const open = []
  const close = async () => void await Promise.all(open.splice(0).map((file) => file.close()))
  try {
    for (const [name, listed] of wanted) {
      const file = await folder.open(name)
      open.push(file)
      const found = await readHeader(file)
      for (const tensor of listed ?? found.keys()) {
        const at = found.get(tensor)
        if (!at) throw new NibbleError('E_FORMAT', `${INDEX} has the tensor '${tensor.slice(0, 120)}' in ${name}, where it is not`)
        tensors.set(tensor, at)
        holder.set(tensor, file)
      }
    }
  } catch (error) {
    await close()
    throw error
  }
  return {
    tensors, close,
    async read(tensor, offset, length) {
      const at = tensors.get(tensor), file = holder.get(tensor)
      if (!at || !file || offset < 0 || offset + length > at.bytes) throw new NibbleError('E_INTERNAL', `bytes ${offset} to ${offset + length} of '${tensor}' are not there`)
      return file.read(at.start + offset, length)
    },
  }
}
