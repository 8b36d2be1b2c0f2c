/**
 * The values a template works with, as Python has them, and what their use costs. Strings remember which of their characters a person wrote.
 *
 * None is null, ints are numbers, lists are arrays.
 */

/** What a template does wrong, or what is done wrong to it; js/template.js makes a NibbleError of it. @param {string} message @returns {never} */
export const fail = (message) => {
  throw new Error(message)
}

// Limits. They count here, for all: one template runs at a time, and while it runs nothing of the caller's does.

const STEPS_MAX = 4_000_000 // expressions evaluated, and the work of long strings and lists in small units
const DEPTH_MAX = 800 // nested expressions, blocks, macro calls and values
const ITEMS_MAX = 100_000 // of a list
const TEXT_MAX = 1 << 23 // characters of a string, and of the output

let steps = 0
let depth = 0

export const restart = () => void (steps = depth = 0)

/** @param {number} cost */
export function charge(cost) {
  steps += cost
  if (steps > STEPS_MAX) fail(`it takes more than ${STEPS_MAX} steps; does it loop without end?`)
}

/** A function each call of which is a step and one level of depth. @template {any[]} A, R @param {(...args: A) => R} f @returns {(...args: A) => R} */
export const counted = (f) => (...args) => {
  charge(1)
  if (depth >= DEPTH_MAX) fail(`it nests or recurses deeper than ${DEPTH_MAX}`)
  depth++
  try {
    return f(...args)
  } finally {
    depth--
  }
}

/** @param {number} length  of a list that is about to be made */
export function chargeList(length) {
  if (length > ITEMS_MAX) fail(`it makes a list of more than ${ITEMS_MAX} items`)
  charge(1 + length)
}

/** @param {number} length  of a text that is about to be made */
export function chargeText(length) {
  if (length > TEXT_MAX) fail(`it makes a text of more than ${TEXT_MAX} characters`)
  charge(1 + (length >> 4))
}

/** Of a value that is about to be gone through. @param {Value} v */
export const chargeSize = (v) => charge(1 + ((size(v) ?? 0) >> 4))

// Types

const PAIR = /[\ud800-\udbff][\udc00-\udfff]/ // one code point in two units

/**
 * A string. Beside its text goes a mask of the same length, in which 'u' marks what is not the template's own: two strings that are cut,
 * joined and searched alike need no bookkeeping of ranges.
 */
export class Text {
  /** @param {string} [text] @param {string} [mask] */
  constructor(text = '', mask = '.'.repeat(text.length)) {
    this.text = text
    this.mask = mask
  }
  /** For a text in the making; all others stay as they are. @param {string | Text} piece */
  add(piece) {
    const { text, mask } = typeof piece === 'string' ? new Text(piece) : piece
    charge(1 + (text.length >> 4))
    this.text += text
    this.mask += mask
    if (this.text.length > TEXT_MAX) chargeText(this.text.length)
    return this
  }
  /** @param {number} from @param {number} [to]  UTF-16 units, not negative */
  cut(from, to) {
    charge(4)
    return new Text(this.text.slice(from, to), this.mask.slice(from, to))
  }
  /** What `pattern` matches replaced by what `change` makes of it. @param {RegExp} pattern @param {(match: string) => string} change */
  map(pattern, change) {
    const made = new Text()
    let at = 0
    for (const { 0: match, index } of this.text.matchAll(pattern)) {
      charge(1)
      const to = change(match), from = at
      at = index + match.length
      const user = this.mask.slice(index, at).includes('u')
      made.text += this.text.slice(from, index) + to
      made.mask += this.mask.slice(from, index) + (user ? 'u' : '.').repeat(to.length)
    }
    return made.add(this.cut(at))
  }
  /** In code points, as Python counts. */
  get length() {
    return PAIR.test(this.text) ? [...this.text].length : this.text.length
  }
  /** Where the code point of an index begins, in UTF-16 units. @param {number} index  not negative */
  offset(index) {
    return PAIR.test(this.text) ? [...this.text].slice(0, index).join('').length : Math.min(index, this.text.length)
  }
}

/** Plain numbers are ints. */
export class Float {
  /** @param {number} value */
  constructor(value) {
    this.value = value
  }
}
/** Jinja's undefined, which knows what is missing. */
export class Missing {
  /** @param {string} what */
  constructor(what) {
    this.what = what
  }
}
/** None is a value: only what is undefined is missing. @param {Value | undefined} v @param {string} what */
export const orMissing = (v, what) => (v === undefined ? new Missing(what) : v)

export class Tuple extends Array {}
/** @extends {Map<string, Value>} */
export class Namespace extends Map {}

/** Keys and values by what tells keys apart. @extends {Map<string | number, Value[]>} */
export class Dict extends Map {
  /** @param {Value} key */
  static hash(key) {
    return key instanceof Text ? key.text : asNumber(key) ?? (key === null ? NaN : fail(`${describe(key)} cannot be a key`))
  }
  /** @param {Value} key @param {Value} value */
  put(key, value) {
    const hash = Dict.hash(key)
    return this.set(hash, Tuple.of(this.get(hash)?.[0] ?? key, value))
  }
  /** @param {Value} key @returns {Value | undefined} */
  at(key) {
    return this.get(Dict.hash(key))?.[1]
  }
  pairs() {
    chargeList(this.size)
    return Array.from(this.values())
  }
}

/** @typedef {null | boolean | number | Float | Text | List | Dict | Namespace | Missing | Callable} Value @typedef {Value[]} List */
/** @typedef {Map<string, Value>} Named @typedef {(args: Value[], named: Named) => Value} Callable */

/** @type {[Function, string][]} */
const TYPES = [[Text, 'str'], [Tuple, 'tuple'], [Array, 'list'], [Dict, 'dict'], [Float, 'float'], [Namespace, 'namespace']]

/** @param {Value} v  for a message */
export const describe = (v) => (v instanceof Missing
  ? `${v.what}, which is undefined,`
  : `a value of type ${v === null ? 'None' : TYPES.find(([type]) => v instanceof type)?.[1] ?? typeof v}`)

/** @param {Value} v @returns {number | undefined} */
export const asNumber = (v) => (typeof v === 'boolean' ? Number(v) : v instanceof Float ? v.value : typeof v === 'number' ? v : undefined)
/** @param {Value} v @returns {number | undefined} */
export const size = (v) => (v instanceof Text ? v.text.length : Array.isArray(v) ? v.length : v instanceof Dict ? v.size : undefined)
/** @param {Value | undefined} v */
export const truthy = (v) => !(v == null || v instanceof Missing) && (asNumber(v) ?? size(v)) !== 0

/** @type {(a: Value, b: Value) => boolean} */
export const equal = counted((a, b) => {
  if (a instanceof Text) return b instanceof Text && a.text.length === b.text.length && (charge(a.text.length >> 4), a.text === b.text)
  const n = asNumber(a)
  if (n !== undefined) return n === asNumber(b)
  if (Array.isArray(a)) return Array.isArray(b) && a instanceof Tuple === b instanceof Tuple && a.length === b.length && a.every((x, i) => equal(x, b[i]))
  if (a instanceof Dict) return b instanceof Dict && a.size === b.size && a.pairs().every(([key, x]) => equal(x, orMissing(b.at(key), '')) && b.at(key) !== undefined)
  return a instanceof Missing ? b instanceof Missing : a === b
})

/** Order of numbers, strings and lists, negative where a comes first. Strings go by code points. @type {(a: Value, b: Value) => number} */
export const compare = counted((a, b) => {
  const m = asNumber(a), n = asNumber(b)
  if (m !== undefined && n !== undefined) return m - n
  if (a instanceof Text && b instanceof Text) {
    chargeSize(a)
    let i = 0
    while (i < a.text.length && a.text[i] === b.text[i]) i++
    return (a.text.codePointAt(i) ?? -1) - (b.text.codePointAt(i) ?? -1)
  }
  if (!(Array.isArray(a) && Array.isArray(b))) return fail(`${describe(a)} and ${describe(b)} have no order`)
  const i = a.findIndex((x, i) => i >= b.length || !equal(x, b[i]))
  return i < 0 ? a.length - b.length : i < b.length ? compare(a[i], b[i]) : 1
})

/** @typedef {{json: boolean, ascii?: boolean, indent: string, item: string | Text, key: string | Text, sort?: boolean}} Style */

/** str(v) @param {Value} v @returns {Text} */
export function textOf(v) {
  if (v instanceof Text) return v
  const out = new Text()
  if (!(v instanceof Missing)) write(out, v, { json: false, indent: '', item: ', ', key: ': ' }, '')
  return out
}

/** @param {Text} t @param {Style} style */
function quoted(t, { json, ascii }) {
  const quote = json || (t.text.includes("'") && !t.text.includes('"')) ? '"' : "'"
  const special = !json ? /[\x00-\x1f'\\\x7f-\xa0\xad]/g : ascii ? /["\\]|[^ -~]/g : /["\\\x00-\x1f]/g
  return new Text(quote).add(t.map(special, (c) => {
    const code = c.charCodeAt(0).toString(16)
    if (json) return c > '~' ? `\\u${code.padStart(4, '0')}` : JSON.stringify(c).slice(1, -1)
    if (c === "'") return quote === c ? "\\'" : c
    return /[\n\r\t\\]/.test(c) ? JSON.stringify(c).slice(1, -1) : `\\x${code.padStart(2, '0')}`
  })).add(quote)
}

/** @param {number} x  as Python writes a float */
function floatText(x) {
  const magnitude = Math.abs(x)
  if (magnitude && (magnitude < 1e-4 || magnitude >= 1e16)) return x.toExponential().replace(/e(.)(\d)$/, 'e$10$2')
  return Number.isInteger(x) ? (Object.is(x, -0) ? '-0.0' : `${x}.0`) : String(x)
}

/** repr(v), or json.dumps(v) as transformers calls it. @type {(out: Text, v: Value, style: Style, margin: string) => void} */
export const write = counted((out, v, style, margin) => {
  const { json } = style
  /** @template T @param {string} open @param {T[]} items @param {string} close @param {(item: T) => void} one */
  const list = (open, items, close, one) => {
    out.add(open)
    items.forEach((item, i) => {
      if (i > 0) out.add(style.item)
      out.add(margin && margin + style.indent)
      one(item)
    })
    out.add(items.length > 0 ? margin : '').add(close)
  }
  const inner = (/** @type {Value} */ item) => write(out, item, style, margin && margin + style.indent)
  if (v instanceof Text) out.add(quoted(v, style))
  else if (v === null) out.add(json ? 'null' : 'None')
  else if (typeof v === 'boolean') out.add(json ? String(v) : v ? 'True' : 'False')
  else if (typeof v === 'number') out.add(String(v))
  else if (v instanceof Float) out.add(floatText(v.value))
  else if (Array.isArray(v)) {
    const tuple = v instanceof Tuple && !json
    list(tuple ? '(' : '[', v, !tuple ? ']' : v.length === 1 ? ',)' : ')', inner)
  } else if (v instanceof Dict) {
    const pairs = v.pairs()
    if (style.sort) pairs.sort(([a], [b]) => compare(a, b))
    list('{', pairs, '}', ([key, value]) => {
      const quote = json && !(key instanceof Text) ? '"' : ''
      out.add(quote)
      inner(key)
      out.add(quote).add(style.key)
      inner(value)
    })
  } else fail(`${describe(v)} cannot be written as text`)
})

/**
 * Plain data of the caller as values; `user` says whether its strings are text of a person. Functions and the like become nothing; what
 * objects inherit is not looked at. @type {(data: unknown, user: boolean) => Value}
 */
export const fromData = counted((data, user) => {
  const text = (/** @type {string} */ s) => new Text(s, user ? 'u'.repeat(s.length) : undefined)
  if (data === null || typeof data === 'boolean') return data
  if (typeof data === 'string') return text(data)
  if (typeof data === 'number' || typeof data === 'bigint') return Number.isSafeInteger(Number(data)) ? Number(data) : new Float(Number(data))
  if (Array.isArray(data)) return Array.from(data, (item) => fromData(item, user))
  if (typeof data !== 'object') return new Missing('a value that is no data')
  const dict = new Dict()
  for (const [key, value] of Object.entries(data)) {
    // Templates build control tokens from roles ('<|' + role + '|>'): a plain word there is the program's, not a person's.
    const word = key === 'role' && typeof value === 'string' && /^[\w-]{1,64}$/.test(value)
    if (value !== undefined) dict.put(text(key), fromData(value, user && !word))
  }
  return dict
})
