/**
 * Operators with the semantics of Python, on the values of js/jinja-values.js.
 */
import { Dict, Float, Missing, Text, Tuple, asNumber, charge, chargeList, chargeSize, chargeText } from './jinja-values.js'
import { compare, describe, equal, fail, textOf } from './jinja-values.js'

/** @typedef {import('./jinja-values.js').Value} Value */

/** What a loop goes through. @param {Value} v @returns {Value[]} */
export function iterate(v) {
  if (Array.isArray(v)) return v
  if (v instanceof Missing) return []
  if (v instanceof Dict) return v.pairs().map(([key]) => key)
  if (!(v instanceof Text)) return fail(`${describe(v)} cannot be gone through`)
  chargeList(v.text.length)
  let at = 0
  return Array.from(v.text, (c) => v.cut(at, (at += c.length))) // code points, as Python counts
}

/** @param {Value | undefined} v @returns {Text} */
export const needText = (v) => (v instanceof Text ? v : fail(`a string is needed, not ${describe(v ?? null)}`))
/** @param {Value} v @returns {number} */
export const needNumber = (v) => asNumber(v) ?? fail(`a number is needed, not ${describe(v)}`)

/** Within what JavaScript holds exactly. @param {number} n @param {boolean} float @returns {Value} */
export function toNumber(n, float) {
  if (!(float ? Number.isFinite(n) : Number.isSafeInteger(n))) fail('a number is too large, or comes of a division by zero')
  return float ? new Float(n) : n + 0
}

/** The spelling of a part to search a text for, which takes up to the product of their lengths. @param {Text} text @param {Value | undefined} part */
export function sought(text, part) {
  const { text: spelling } = needText(part)
  charge(1 + Math.ceil((text.text.length * spelling.length) / 1024))
  return spelling
}

/** @param {Value[]} items @param {Text} [separator] */
export function join(items, separator = new Text()) {
  const out = new Text()
  items.forEach((item, i) => out.add(i > 0 ? separator : '').add(textOf(item)))
  return out
}

/** @param {Value} v  a text or list @param {number} n @returns {Value | undefined} */
function repeat(v, n) {
  const count = Math.max(0, n)
  if (v instanceof Text) {
    chargeText(v.text.length * count)
    return new Text(v.text.repeat(count), v.mask.repeat(count))
  }
  if (!Array.isArray(v)) return undefined
  chargeList(v.length * count)
  return /** @type {typeof Array} */ (v.constructor).from({ length: v.length * count }, (_, i) => v[i % v.length])
}

/** @param {Value} a @param {Value} b @returns {Value | undefined} */
function plus(a, b) {
  if (a instanceof Text && b instanceof Text) return join([a, b])
  if (!(Array.isArray(a) && Array.isArray(b) && a instanceof Tuple === b instanceof Tuple)) return undefined
  chargeList(a.length + b.length)
  return a.concat(b)
}

/** @param {Value} v @param {Value} container */
export function contains(v, container) {
  if (container instanceof Text) return container.text.includes(sought(container, v))
  return container instanceof Dict ? container.has(Dict.hash(v)) : iterate(container).some((item) => equal(item, v))
}

/** @type {(sign: string, compute: (x: number, y: number) => number, others?: (a: Value, b: Value) => Value | undefined) => Operator} */
const arithmetic = (sign, compute, others) => (a, b) => {
  const x = asNumber(a), y = asNumber(b)
  if (x === undefined || y === undefined) return others?.(a, b) ?? fail(`${sign} does not go with ${describe(a)} and ${describe(b)}`)
  return toNumber(compute(x, y), sign === '/' || a instanceof Float || b instanceof Float)
}

/** By rank, those that bind least first. @typedef {(a: Value, b: Value) => Value} Operator */
export const OPERATORS = /** @type {Record<string, Operator>[]} */ ([
  {
    '==': equal, '!=': (a, b) => !equal(a, b),
    '<': (a, b) => compare(a, b) < 0, '<=': (a, b) => compare(a, b) <= 0,
    '>': (a, b) => compare(a, b) > 0, '>=': (a, b) => compare(a, b) >= 0,
    in: contains, 'not in': (a, b) => !contains(a, b),
  },
  { '+': arithmetic('+', (x, y) => x + y, plus), '-': arithmetic('-', (x, y) => x - y) },
  { '~': (a, b) => join([a, b]) },
  {
    '*': arithmetic('*', (x, y) => x * y, (a, b) => (typeof b === 'number' ? repeat(a, b) : typeof a === 'number' ? repeat(b, a) : undefined)),
    '/': arithmetic('/', (x, y) => x / y), '//': arithmetic('//', (x, y) => Math.floor(x / y)),
    '%': arithmetic('%', (x, y) => x - y * Math.floor(x / y)),
  },
]).map((operators) => new Map(Object.entries(operators)))

/** -v, as an operator on 0 and v. */
export const negate = arithmetic('-', (_, y) => -y)

/** @param {Value} v @param {number} index @returns {Value | undefined} */
export function itemAt(v, index) {
  if (!(v instanceof Text)) return Array.isArray(v) ? v.at(index) : undefined
  const c = /** @type {Text} */ (slice(v, [index, index + 1 || null]))
  return c.text ? c : undefined
}

/** v[start:stop:step] @param {Value} v @param {Value[]} bounds  None where there is none @returns {Value} */
export function slice(v, [start, stop = null, step = null]) {
  const by = step === null ? 1 : needNumber(step), down = by < 0
  chargeSize(v)
  if (!(v instanceof Text || Array.isArray(v)) || by === 0) return fail(`${describe(v)} cannot be sliced by ${by}`)
  const { length } = v
  const bound = (/** @type {Value} */ at, /** @type {number} */ otherwise) => {
    if (at === null) return otherwise
    const n = needNumber(at), from = n < 0 ? n + length : n
    return down ? Math.min(Math.max(from, -1), length - 1) : Math.min(Math.max(from, 0), length)
  }
  const from = bound(start, down ? length - 1 : 0), to = bound(stop, down ? -1 : length)
  if (v instanceof Text && by === 1) return v.cut(v.offset(from), v.offset(Math.max(from, to)))
  const items = iterate(v), picked = v instanceof Tuple ? new Tuple() : []
  for (let i = from; down ? i > to : i < to; i += by) picked.push(items[i])
  chargeList(picked.length)
  return v instanceof Text ? join(picked) : picked
}
