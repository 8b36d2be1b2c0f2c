/**
 * Tensor types of GGUF files, as a writer needs them: numbers of the format, weights and bytes of a block (src/format/types.c).
 */
import { NibbleError } from '../errors.js'

/** @typedef {{id: number, weights: number, bytes: number}} TypeInfo */

/** @type {Record<string, TypeInfo>} */
const TYPES = Object.fromEntries(/** @type {[string, number, number, number][]} */ ([
  ['F32', 0, 1, 4], ['F16', 1, 1, 2], ['BF16', 30, 1, 2],
  ['Q4_0', 2, 32, 18], ['Q4_1', 3, 32, 20], ['Q5_0', 6, 32, 22], ['Q5_1', 7, 32, 24], ['Q8_0', 8, 32, 34], ['IQ4_NL', 20, 32, 18],
  ['Q2_K', 10, 256, 84], ['Q3_K', 11, 256, 110], ['Q4_K', 12, 256, 144], ['Q5_K', 13, 256, 176], ['Q6_K', 14, 256, 210], ['IQ4_XS', 23, 256, 136],
]).map(([name, id, weights, bytes]) => [name, { id, weights, bytes }]))

export const TYPE_NAMES = Object.keys(TYPES)

/** @param {string} name @returns {TypeInfo} */
export function typeInfo(name) {
  if (!Object.hasOwn(TYPES, name)) throw new NibbleError('E_ARGUMENT', `there is no type '${name}'; the types are ${TYPE_NAMES.join(', ')}`)
  return TYPES[name]
}

/** Whether a type holds floats, rather than blocks of whole numbers. @param {string} name */
export const isFloat = (name) => typeInfo(name).weights === 1

/** @param {number[]} shape */
export const rowsOf = (shape) => shape.slice(1).reduce((n, d) => n * d, 1)

/** Bytes of a row of so many weights. @param {string} type @param {number} cols */
export function rowBytes(type, cols) {
  const { weights, bytes } = typeInfo(type)
  if (cols % weights) throw new NibbleError('E_ARGUMENT', `rows of ${cols} weights are no whole blocks of ${type} (${weights})`)
  return cols / weights * bytes
}

/** Bytes of a tensor. @param {string} type @param {number[]} shape  the length of a row first */
export const tensorBytes = (type, shape) => rowBytes(type, shape[0]) * rowsOf(shape)
