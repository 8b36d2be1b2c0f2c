/**
 * The values a template works with, as Python has them. Strings remember which of their characters a person wrote.
 */

/** What a template does wrong, or what is done wrong to it; js/template.js makes a NibbleError of it. */
export class TemplateError extends Error {}

export const LIMITS = Object.freeze({
  steps: 4_000_000, // expressions evaluated, and the work of long strings and lists in small units
  depth: 800, // nested expressions, blocks and macro calls
  items: 100_000, // of a list
  text: 1 << 23, // characters of a string, and of the output
})

/** @param {string} message @returns {never} */
export const fail = (message) => {
  throw new TemplateError(message)
}

/**
 * A string. Beside its text goes a mask of the same length, in which 'u' marks what is not the template's own: two strings that are cut,
 * joined and searched alike need no bookkeeping of ranges.
 */
export class Text {
  /** @param {string} text @param {string} [mask] */
  constructor(text, mask = '.'.repeat(text.length)) {
    this.text = text
    this.mask = mask
  }
  /** @param {number} from @param {number} [to]  UTF-16 units, not negative */
  cut(from, to) {
    return new Text(this.text.slice(from, to), this.mask.slice(from, to))
  }
  /** @param {Text} other */
  plus(other) {
    return new Text(this.text + other.text, this.mask + other.mask)
  }
  /** Each UTF-16 unit, or what `pattern` matches, replaced by what `change` makes of it. @param {RegExp} pattern @param {(match: string) => string} change */
  map(pattern, change) {
    let text = '', mask = '', at = 0
    for (const match of this.text.matchAll(pattern)) {
      const to = change(match[0])
      text += this.text.slice(at, match.index) + to
      mask += this.mask.slice(at, match.index)
      at = match.index + match[0].length
      mask += (this.mask.slice(match.index, at).includes('u') ? 'u' : '.').repeat(to.length)
    }
    return at === 0 ? this : new Text(text + this.text.slice(at), mask + this.mask.slice(at))
  }
  /** Code points, as Python counts. @returns {Text[]} */
  chars() {
    let at = 0
    return Array.from(this.text, (c) => this.cut(at, (at += c.length)))
  }
  /** Where the code point of an index begins, in UTF-16 units. @param {number} index  not negative */
  offset(index) {
    if (!this.wide) return Math.min(index, this.text.length)
    let at = 0
    for (let i = 0; i < index && at < this.text.length; i++) at += /** @type {number} */ (this.text.codePointAt(at)) > 0xffff ? 2 : 1
    return at
  }
  get wide() {
    return /[\ud800-\udbff][\udc00-\udfff]/.test(this.text)
  }
  get length() {
    let pairs = 0
    if (this.wide) for (let i = 0; i < this.text.length; i++) if (this.text.charCodeAt(i) >> 10 === 0x36 && this.text.charCodeAt(i + 1) >> 10 === 0x37) pairs++
    return this.text.length - pairs
  }
}

/** A float; plain numbers are ints. */
export class Float {
  /** @param {number} value */
  constructor(value) {
    this.value = value
  }
}

/** None is an object, so that ?? tells what is there from what is not. */
export class NoneType {}
export const None = new NoneType()

/** Jinja's undefined, which knows what is missing. */
export class Missing {
  /** @param {string} [what] */
  constructor(what = 'a value') {
    this.what = what
  }
}

export class Tuple extends Array {}
export class Namespace {
  /** @type {Map<string, Value>} */
  fields = new Map()
}

/**
 * @typedef {NoneType | boolean | number | Float | Text | List | Dict | Namespace | Missing | Callable} Value
 * @typedef {Value[]} List
 * @typedef {Map<string, Value>} Named
 * @typedef {(args: Value[], named: Named) => Value} Callable
 */

export class Dict {
  /** @type {Map<string | number, [Value, Value]>} */
  entries = new Map()

  /** @param {Value} key @returns {string | number} */
  static hash(key) {
    if (key instanceof Text) return key.text
    const n = asNumber(key)
    if (n !== undefined) return n
    if (key === None) return NaN
    return fail(`a ${typeName(key)} cannot be a key`)
  }
  /** @param {Value} key @param {Value} value */
  set(key, value) {
    const hash = Dict.hash(key)
    this.entries.set(hash, [this.entries.get(hash)?.[0] ?? key, value])
    return this
  }
  /** @param {Value} key */
  get(key) {
    return this.entries.get(Dict.hash(key))?.[1]
  }
  keys() {
    return Array.from(this.entries.values(), ([key]) => key)
  }
  values() {
    return Array.from(this.entries.values(), ([, value]) => value)
  }
  pairs() {
    return Array.from(this.entries.values())
  }
  items() {
    return this.pairs().map((pair) => /** @type {Value} */ (Tuple.from(pair)))
  }
}

/** @param {Value} v @returns {number | undefined} */
export const asNumber = (v) => (typeof v === 'number' ? v : v instanceof Float ? v.value : typeof v === 'boolean' ? Number(v) : undefined)

/** @param {Value} v */
export function typeName(v) {
  if (v === None) return 'None'
  if (typeof v === 'boolean') return 'bool'
  if (typeof v === 'number') return 'int'
  if (typeof v === 'function') return 'function'
  if (v instanceof Tuple) return 'tuple'
  if (Array.isArray(v)) return 'list'
  if (v instanceof Missing) return 'undefined value'
  return v instanceof Text ? 'str' : v instanceof Dict ? 'dict' : v instanceof Float ? 'float' : 'namespace'
}

/** @param {Value} v */
export function truthy(v) {
  if (v === None || v instanceof Missing) return false
  if (v instanceof Text) return v.text !== ''
  if (Array.isArray(v)) return v.length > 0
  if (v instanceof Dict) return v.entries.size > 0
  const n = asNumber(v)
  return n === undefined || n !== 0
}

/** What goes through a value of any depth charges for each part of it: values may share parts, many times over. @typedef {(cost: number) => void} Charge */

const DEEPEST = 100

/** @param {Value} a @param {Value} b @param {Charge} charge @returns {boolean} */
export function equal(a, b, charge, depth = 0) {
  charge(1)
  if (depth > DEEPEST) fail(`values nest deeper than ${DEEPEST}`)
  if (a instanceof Text) {
    if (!(b instanceof Text) || a.text.length !== b.text.length) return false
    charge(a.text.length >> 4)
    return a.text === b.text
  }
  const n = asNumber(a)
  if (n !== undefined) return n === asNumber(b)
  if (Array.isArray(a)) {
    return Array.isArray(b) && a instanceof Tuple === b instanceof Tuple && a.length === b.length && a.every((x, i) => equal(x, b[i], charge, depth + 1))
  }
  if (a instanceof Dict) {
    return b instanceof Dict && a.entries.size === b.entries.size
      && Array.from(a.entries).every(([hash, [, x]]) => b.entries.has(hash) && equal(x, /** @type {[Value, Value]} */ (b.entries.get(hash))[1], charge, depth + 1))
  }
  return a instanceof Missing ? b instanceof Missing : a === b
}

/** Order of numbers, strings and lists, negative where a comes first. Strings go by code points. @param {Value} a @param {Value} b @param {Charge} charge @returns {number} */
export function compare(a, b, charge, depth = 0) {
  charge(1)
  if (depth > DEEPEST) fail(`values nest deeper than ${DEEPEST}`)
  const m = asNumber(a), n = asNumber(b)
  if (m !== undefined && n !== undefined) return m - n
  if (a instanceof Text && b instanceof Text) {
    charge(Math.min(a.text.length, b.text.length) >> 2)
    return compareText(a.text, b.text)
  }
  if (Array.isArray(a) && Array.isArray(b)) {
    for (let i = 0; i < a.length && i < b.length; i++) {
      const c = compare(a[i], b[i], charge, depth + 1)
      if (c !== 0) return c
    }
    return a.length - b.length
  }
  return fail(`${describe(a)} and ${describe(b)} have no order`)
}

/** @param {string} a @param {string} b */
function compareText(a, b) {
  if (a === b) return 0
  let i = 0
  while (i < a.length && a[i] === b[i]) i++
  const x = a.charCodeAt(i), y = b.charCodeAt(i)
  const surrogate = (/** @type {number} */ c) => c >= 0xd800 && c < 0xe000
  // The end of a string gives NaN. Surrogates stand for code points above all others.
  if (i === a.length || i === b.length) return a.length - b.length
  return surrogate(x) === surrogate(y) ? x - y : surrogate(x) ? 1 : -1
}

/** @param {Value} v */
export const describe = (v) => (v instanceof Missing ? `${v.what}, which is undefined,` : `a value of type ${typeName(v)}`)

/** @param {number} x  as Python writes a float */
export function floatText(x) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? 'nan' : x < 0 ? '-inf' : 'inf'
  const exponent = x === 0 ? 0 : Number(x.toExponential().split('e')[1])
  if (exponent < -4 || exponent >= 16) return x.toExponential().replace(/e([+-])(\d)$/, 'e$10$2')
  const text = Object.is(x, -0) ? '-0' : String(x)
  const plain = text.includes('e') ? x.toFixed(20).replace(/0+$/, '') : text
  return plain.includes('.') ? plain : `${plain}.0`
}

/** @param {number} x */
const intText = (x) => (Number.isSafeInteger(x) ? String(x) : Number.isFinite(x) ? BigInt(Math.trunc(x)).toString() : fail('a number is too large'))

/** Pieces of text that become one string. */
export class Builder {
  text = ''
  mask = ''

  /** @param {Charge} charge */
  constructor(charge) {
    this.charge = charge
  }
  /** @param {string | Text} piece */
  add(piece) {
    const of = typeof piece === 'string' ? new Text(piece) : piece
    this.charge(1 + (of.text.length >> 4))
    this.text += of.text
    this.mask += of.mask
    if (this.text.length > LIMITS.text) fail(`it makes a text of more than ${LIMITS.text} characters`)
    return this
  }
  done() {
    return new Text(this.text, this.mask)
  }
}

const PY_ESCAPES = new Map([['\n', '\\n'], ['\r', '\\r'], ['\t', '\\t'], ['\\', '\\\\']])
const JSON_ESCAPES = new Map([...PY_ESCAPES, ['\b', '\\b'], ['\f', '\\f'], ['"', '\\"']])
/** @param {string} c */
const hex4 = (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`

/** @param {Text} t */
function quoted(t) {
  const quote = t.text.includes("'") && !t.text.includes('"') ? '"' : "'"
  const inner = t.map(/[\x00-\x1f'\\\x7f-\xa0\xad]/g, (c) => PY_ESCAPES.get(c) ?? (c === "'" ? (quote === c ? "\\'" : c) : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`))
  return new Text(quote).plus(inner).plus(new Text(quote))
}

/** str(v), into the builder. @param {Value} v @param {Builder} out */
export function write(v, out) {
  if (v instanceof Text) out.add(v)
  else if (v instanceof Missing) return
  else repr(v, out, 0)
}

/** repr(v), into the builder. @param {Value} v @param {Builder} out @param {number} depth */
function repr(v, out, depth) {
  out.charge(2)
  if (depth > DEEPEST) fail(`values nest deeper than ${DEEPEST}`)
  if (v instanceof Text) out.add(quoted(v))
  else if (v === None) out.add('None')
  else if (typeof v === 'boolean') out.add(v ? 'True' : 'False')
  else if (typeof v === 'number') out.add(intText(v))
  else if (v instanceof Float) out.add(floatText(v.value))
  else if (Array.isArray(v)) {
    const tuple = v instanceof Tuple
    out.add(tuple ? '(' : '[')
    v.forEach((item, i) => {
      if (i > 0) out.add(', ')
      repr(item, out, depth + 1)
    })
    out.add(tuple ? (v.length === 1 ? ',)' : ')') : ']')
  } else if (v instanceof Dict) {
    out.add('{')
    v.pairs().forEach(([key, value], i) => {
      if (i > 0) out.add(', ')
      repr(key, out, depth + 1)
      out.add(': ')
      repr(value, out, depth + 1)
    })
    out.add('}')
  } else out.add(v instanceof Missing ? 'Undefined' : `<${typeName(v)}>`)
}

/**
 * json.dumps, as transformers calls it.
 * @param {Value} v @param {Builder} out
 * @param {{ascii: boolean, indent: string | undefined, item: string | Text, key: string | Text, sort: boolean}} style
 */
export function writeJson(v, out, style, depth = 0) {
  out.charge(2)
  if (depth > DEEPEST) fail(`values nest deeper than ${DEEPEST}`)
  /** @param {Text} t */
  const string = (t) => out.add('"').add(t.map(style.ascii ? /[\x00-\x1f"\\]|[^\x00-\x7e]/g : /[\x00-\x1f"\\]/g, (c) => JSON_ESCAPES.get(c) ?? hex4(c))).add('"')
  /** @template T @param {string} open @param {string} close @param {T[]} items @param {(item: T) => void} one */
  const list = (open, close, items, one) => {
    out.add(open)
    const newline = style.indent === undefined ? '' : `\n${style.indent.repeat(depth)}`
    items.forEach((item, i) => {
      if (i > 0) out.add(style.item)
      if (newline) out.add(newline + style.indent)
      one(item)
    })
    if (newline && items.length > 0) out.add(newline)
    out.add(close)
  }
  if (v instanceof Text) string(v)
  else if (v === None) out.add('null')
  else if (typeof v === 'boolean') out.add(String(v))
  else if (typeof v === 'number') out.add(intText(v))
  else if (v instanceof Float) out.add(floatText(v.value).replace('inf', 'Infinity').replace('nan', 'NaN'))
  else if (Array.isArray(v)) list('[', ']', v, (item) => writeJson(item, out, style, depth + 1))
  else if (v instanceof Dict) {
    const pairs = v.pairs()
    if (style.sort) pairs.sort(([a], [b]) => compare(a, b, out.charge))
    list('{', '}', pairs, ([key, value]) => {
      if (key instanceof Text) string(key)
      else {
        out.add('"')
        writeJson(key, out, style)
        out.add('"')
      }
      out.add(style.key)
      writeJson(value, out, style, depth + 1)
    })
  } else fail(`${describe(v)} cannot be written as JSON`)
}

/**
 * Plain data of a caller as values. Functions and the like become nothing; what objects inherit is not looked at.
 * @param {unknown} data
 * @param {boolean} user  whether its strings are text of a person
 * @returns {Value}
 */
export function fromData(data, user, depth = 0) {
  if (depth > DEEPEST) fail(`its variables nest deeper than ${DEEPEST}`)
  switch (typeof data) {
    case 'string': return new Text(data, user ? 'u'.repeat(data.length) : undefined)
    case 'number': return Number.isInteger(data) ? data : new Float(data)
    case 'bigint': return Number(data)
    case 'boolean': return data
    case 'object': break
    default: return new Missing()
  }
  if (data === null) return None
  if (Array.isArray(data)) return data.map((item) => fromData(item, user, depth + 1))
  const dict = new Dict()
  for (const [key, value] of Object.entries(data)) {
    if (value === undefined) continue
    // Templates build control tokens from roles ('<|' + role + '|>'): a plain word there is the program's, not a person's.
    const word = key === 'role' && typeof value === 'string' && /^[\w-]{1,64}$/.test(value)
    dict.set(new Text(key, user ? 'u'.repeat(key.length) : undefined), fromData(value, user && !word, depth + 1))
  }
  return dict
}
