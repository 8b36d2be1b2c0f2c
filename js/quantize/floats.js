/**
 * Floats of 16 and 32 bits into each other, as bytes in little-endian order. Rounding is to the nearest, ties to even.
 */
import { NibbleError } from '../errors.js'

/** Bytes of a number. @type {Record<string, number>} */
export const FLOAT_BYTES = { F32: 4, F16: 2, BF16: 2 }

const word = new Uint32Array(1), number = new Float32Array(word.buffer)

/** The bits of a half float for those of a float. @param {number} x */
function halfOf(x) {
  const sign = x >>> 16 & 0x8000, magnitude = x & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00 // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00 // rounds beyond 65504
  if (magnitude >= 0x38800000) return sign | (magnitude - 0x38000000 + 0xfff + (magnitude >>> 13 & 1)) >>> 13
  word[0] = magnitude
  number[0] += 0.5 // subnormal: the addition rounds to multiples of 2^-24
  return sign | word[0] - 0x3f000000
}

/** The bits of a float for those of a half float. @param {number} h */
function floatOf(h) {
  const sign = (h & 0x8000) << 16, exponent = h >>> 10 & 31, fraction = h & 0x3ff
  if (exponent === 31) return sign | 0x7f800000 | fraction << 13
  if (exponent > 0) return sign | exponent + 112 << 23 | fraction << 13
  number[0] = fraction * 2 ** -24
  return sign | word[0]
}

/** The bits of a bfloat16 for those of a float. @param {number} x */
const brainOf = (x) => ((x & 0x7fffffff) > 0x7f800000 ? x >>> 16 | 0x40 : x + 0x7fff + (x >>> 16 & 1) >>> 16)

/** @type {Map<string, Uint16Array | Uint32Array>} */
const tables = new Map()

/** What each of the 65,536 numbers of 16 bits becomes. @param {string} from @param {string} to */
function table(from, to) {
  const key = `${from} ${to}`
  let made = tables.get(key)
  if (!made) {
    const wide = (/** @type {number} */ i) => (from === 'F16' ? floatOf(i) : i << 16)
    made = to === 'F32' ? Uint32Array.from({ length: 65536 }, (_, i) => wide(i)) : Uint16Array.from({ length: 65536 }, (_, i) => (to === 'F16' ? halfOf : brainOf)(wide(i)))
    tables.set(key, made)
  }
  return made
}

const INFINITE = { F16: 0x7c00, BF16: 0x7f80, F32: 0x7f800000 }

/**
 * Floats of one type as another. Finite numbers that the type cannot hold are an error.
 * @param {Uint8Array} bytes  whole numbers of `from`  @param {string} from @param {string} to @param {string} name  for messages
 */
export function convertFloats(bytes, from, to, name) {
  if (from === to) return bytes
  const n = bytes.length / FLOAT_BYTES[from]
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  const source = from === 'F32' ? new Uint32Array(aligned.buffer, aligned.byteOffset, n) : new Uint16Array(aligned.buffer, aligned.byteOffset, n)
  const out = to === 'F32' ? new Uint32Array(n) : new Uint16Array(n)
  if (from === 'F32') {
    const of = to === 'F16' ? halfOf : brainOf
    for (let i = 0; i < n; i++) out[i] = of(source[i])
  } else {
    const map = table(from, to)
    for (let i = 0; i < n; i++) out[i] = map[source[i]]
  }
  if (to !== 'F32') {
    const infinite = INFINITE[/** @type {'F16' | 'BF16'} */ (to)], was = INFINITE[/** @type {'F16'} */ (from)], magnitude = from === 'F32' ? 0x7fffffff : 0x7fff
    for (let i = 0; i < n; i++) {
      if ((out[i] & 0x7fff) === infinite && (source[i] & magnitude) !== was) {
        throw new NibbleError('E_UNSUPPORTED', `${name} has numbers too large for ${to}; keep its type, or take ${to === 'F16' ? 'BF16 or ' : ''}F32`)
      }
    }
  }
  return new Uint8Array(out.buffer)
}
