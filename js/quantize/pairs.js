/**
 * Metadata of GGUF files: a pair of a key and a value, which is kept as the bytes of the file.
 */
import { NibbleError } from '../errors.js'
import { readItems } from '../info.js'
import { encodeUtf8 } from '../memory.js'

/**
 * @typedef {object} Pair
 * @property {string} key
 * @property {number} kind  nb_gguf_kind (src/format/gguf.h)
 * @property {number} [itemKind]  of arrays
 * @property {number} [count]  items of an array
 * @property {Uint8Array} data  little-endian, as in the file: of arrays the items alone; strings with their length before them
 */

/** nb_gguf_kind, by its names. */
export const KIND = /** @type {const} */ ({ u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, u64: 10, i64: 11, f64: 12 })

/** @typedef {keyof typeof KIND} KindName */

/** What whole numbers of a kind lie between. @type {Record<string, [bigint, bigint]>} */
const RANGE = Object.fromEntries([8, 16, 32, 64].flatMap((bits) => [
  [`u${bits}`, [0n, 2n ** BigInt(bits) - 1n]], [`i${bits}`, [-(2n ** BigInt(bits - 1)), 2n ** BigInt(bits - 1) - 1n]],
]))

/** @param {string} key @param {KindName} kind @param {any} value @returns {Uint8Array} */
function itemBytes(key, kind, value) {
  const wrong = (/** @type {string} */ what) => new NibbleError('E_ARGUMENT', `${key} takes ${what}, not ${typeof value === 'string' ? `'${value}'` : value}`)
  if (kind === 'string') {
    if (typeof value !== 'string') throw wrong('a string')
    const text = encodeUtf8(value), out = new Uint8Array(8 + text.length)
    new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true)
    out.set(text, 8)
    return out
  }
  if (kind === 'bool') {
    if (typeof value !== 'boolean') throw wrong('true or false')
    return Uint8Array.of(value ? 1 : 0)
  }
  if (kind === 'f32' || kind === 'f64') {
    if (typeof value !== 'number') throw wrong('a number')
    return new Uint8Array(kind === 'f32' ? Float32Array.of(value).buffer : Float64Array.of(value).buffer)
  }
  const range = RANGE[kind]
  if (!range || !(typeof value === 'bigint' || Number.isSafeInteger(value))) throw wrong('a whole number')
  const n = BigInt(value)
  if (n < range[0] || n > range[1]) throw wrong(`a number from ${range[0]} to ${range[1]}`)
  const out = new Uint8Array(8)
  new DataView(out.buffer).setBigUint64(0, BigInt.asUintN(64, n), true)
  return out.slice(0, Number(kind.slice(1)) / 8)
}

/** @param {Uint8Array[]} parts */
export function concat(parts) {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** @param {KindName} kind @returns {(key: string, value: any) => Pair} */
const single = (kind) => (key, value) => ({ key, kind: KIND[kind], data: itemBytes(key, kind, value) })

/** Pairs of values. */
export const pair = {
  u8: single('u8'), i8: single('i8'), u16: single('u16'), i16: single('i16'), u32: single('u32'), i32: single('i32'), u64: single('u64'), i64: single('i64'),
  f32: single('f32'), f64: single('f64'), bool: single('bool'), string: single('string'),
  /** @param {string} key @param {KindName} kind  of the items @param {ArrayLike<any>} items @returns {Pair} */
  array: (key, kind, items) => ({
    key, kind: KIND.array, itemKind: KIND[kind], count: items.length, data: concat(Array.from(items, (item) => itemBytes(key, kind, item))),
  }),
}

/** The value of a pair, as readInfo gives it. @param {Pair} p */
export const valueOf = ({ kind, itemKind = 0, count = 0, data }) => (kind === KIND.array ? readItems(data, itemKind, count) : readItems(data, kind, 1)[0])

/** The value under a key; undefined where there is none. @param {Pair[]} pairs @param {string} key */
export function lookUp(pairs, key) {
  const found = pairs.find((p) => p.key === key)
  return found && valueOf(found)
}

/** Other values under some keys: these go to the end, as llama.cpp's tools put them. @param {Pair[]} pairs @param {Pair[]} changes @param {string[]} [without] keys that go */
export const withPairs = (pairs, changes, without = []) =>
  [...pairs.filter((p) => !without.includes(p.key) && !changes.some((c) => c.key === p.key)), ...changes]
