/**
 * The methods, filters and tests that templates may use.
 */
import { Builder, Dict, Float, Missing, Namespace, None, Text, asNumber, compare, describe, equal, fail, truthy, writeJson } from './jinja-values.js'

/**
 * @typedef {import('./jinja-values.js').Value} Value
 * @typedef {import('./jinja-values.js').Named} Named
 * @typedef {import('./jinja.js').Runner} Runner
 * @typedef {(run: Runner, self: Value, args: Value[], named: Named) => Value} Operation
 */

/**
 * An operation with named parameters. `self` is of the type that the function asks for where `check` says so.
 * @param {string[]} names
 * @param {(run: Runner, self: any, ...args: any[]) => Value} body
 * @returns {Operation}
 */
const op = (names, body) => (run, self, args, named) => {
  if (args.length > names.length) fail(`a call gives ${args.length} arguments where at most ${names.length} are taken`)
  for (const name of named.keys()) if (!names.includes(name)) fail(`a call gives an argument '${name}', which is not taken`)
  return body(run, self, ...names.map((name, i) => args[i] ?? named.get(name)))
}

/** @param {Value | undefined} v @param {string} what @returns {Text} */
const needText = (v, what) => (v instanceof Text ? v : fail(`${what} needs a string, not ${describe(v ?? new Missing())}`))
/** @param {Value | undefined} v @param {number} otherwise */
const int = (v, otherwise) => (v === undefined || v === None ? otherwise : asNumber(v) ?? fail(`a number is needed, not ${describe(v)}`))

/** @template {Value[]} T @param {Runner} run @param {T} items */
function made(run, items) {
  run.list(items.length)
  return items
}

// Strings

/** What Python's str.isspace() takes. */
const SPACES = ' \n\t\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000'
const WORDS = new RegExp(`[^${SPACES}]+`, 'g')

/** @param {Runner} run @param {Text} t @param {Value | undefined} chars @param {boolean} left @param {boolean} right */
function strip(run, t, chars, left, right) {
  const set = chars === undefined || chars === None ? SPACES : run.sought(t, needText(chars, 'strip'))
  let from = 0, to = t.text.length
  while (left && from < to && set.includes(t.text[from])) from++
  while (right && to > from && set.includes(t.text[to - 1])) to--
  return t.cut(from, to)
}

/** @param {Runner} run @param {Text} t @param {Value | undefined} separator @param {number} most @param {boolean} fromRight @returns {Text[]} */
function split(run, t, separator, most, fromRight) {
  if (separator === undefined || separator === None) {
    const words = Array.from(t.text.matchAll(WORDS), ({ 0: word, index }) => ({ from: index, to: index + word.length }))
    if (most >= 0 && words.length > most) {
      // What is left over keeps its spaces but those towards the words that were split off.
      if (fromRight) words.splice(0, words.length - most, { from: 0, to: words[words.length - most - 1].to })
      else words.splice(most, words.length, { from: words[most].from, to: t.text.length })
    }
    return made(run, words.map(({ from, to }) => t.cut(from, to)))
  }
  const by = run.sought(t, needText(separator, 'split'))
  if (by === '') fail('a string is split at an empty one')
  /** @type {number[]} */
  const cuts = []
  if (fromRight) {
    for (let at = t.text.length; at >= by.length && (at = t.text.lastIndexOf(by, at - by.length)) >= 0;) cuts.push(at)
    cuts.reverse()
  } else {
    for (let at = 0; (at = t.text.indexOf(by, at)) >= 0; at += by.length) cuts.push(at)
  }
  const used = most < 0 ? cuts : fromRight ? cuts.slice(Math.max(0, cuts.length - most)) : cuts.slice(0, most)
  return made(run, [...used, t.text.length].map((to, i) => t.cut(i === 0 ? 0 : used[i - 1] + by.length, to)))
}

/** @param {Runner} run @param {Text} t @param {Text} from @param {Text} to @param {number} most */
function replace(run, t, from, to, most) {
  const out = new Builder(run.charge)
  let at = 0, count = 0
  if (from.text === '') {
    for (const c of run.iterate(t)) {
      if (most < 0 || count++ < most) out.add(to)
      out.add(/** @type {Text} */ (c))
    }
    return (most < 0 || count < most ? out.add(to) : out).done()
  }
  run.sought(t, from)
  for (let next; (most < 0 || count < most) && (next = t.text.indexOf(from.text, at)) >= 0; count++) {
    out.add(t.cut(at, next)).add(to)
    at = next + from.text.length
  }
  return out.add(t.cut(at)).done()
}

/** @param {Runner} run @param {Value[]} items @param {Text} separator */
function join(run, items, separator) {
  const out = new Builder(run.charge)
  items.forEach((item, i) => {
    if (i > 0) out.add(separator)
    out.add(run.text(item))
  })
  return out.done()
}

/** @param {Text} t @param {string} affix @param {boolean} start */
const hasAffix = (t, affix, start) => (start ? t.text.startsWith(affix) : t.text.endsWith(affix))
/** @param {boolean} start @returns {Operation} */
const affixTest = (start) => op(['prefix'], (run, t, affix) =>
  Array.isArray(affix) ? affix.some((a) => hasAffix(t, needText(a, 'startswith').text, start)) : hasAffix(t, needText(affix, 'startswith').text, start))

/** @param {Runner} run @param {Text} t @param {(text: string) => string} change */
function recase(run, t, change) {
  const text = change(t.text)
  if (text.length === t.text.length) return new Text(text, t.mask)
  run.charge(t.text.length) // a few letters become two or three
  return t.map(/[^]/gu, change)
}
const upper = (/** @type {string} */ c) => c.toUpperCase()
const lower = (/** @type {string} */ c) => c.toLowerCase()
/** @param {Runner} run @param {Text} t @param {RegExp} first  letters of words */
function titled(run, t, first) {
  run.charge(t.text.length)
  return recase(run, t, lower).map(first, upper)
}
/** @param {RegExp} pattern @returns {Operation} */
const all = (pattern) => op([], (run, t) => pattern.test(t.text))
/** @param {'indexOf' | 'lastIndexOf'} how @returns {Operation} */
const find = (how) => op(['sub'], (run, t, sub) => {
  const at = t.text[how](run.sought(t, needText(sub, 'find')))
  return at < 0 ? -1 : t.cut(0, at).length
})

/** @type {Record<string, Operation>} */
const str = {
  // @ts-ignore
  __proto__: null,
  upper: op([], (run, t) => recase(run, t, upper)),
  lower: op([], (run, t) => recase(run, t, lower)),
  capitalize: op([], (run, t) => recase(run, t, lower).map(/^[^]/gu, upper)),
  title: op([], (run, t) => titled(run, t, /(?<!\p{L})\p{L}/gu)),
  strip: op(['chars'], (run, t, chars) => strip(run, t, chars, true, true)),
  lstrip: op(['chars'], (run, t, chars) => strip(run, t, chars, true, false)),
  rstrip: op(['chars'], (run, t, chars) => strip(run, t, chars, false, true)),
  startswith: affixTest(true),
  endswith: affixTest(false),
  removeprefix: op(['prefix'], (run, t, p) => (t.text.startsWith(needText(p, 'removeprefix').text) ? t.cut(p.text.length) : t)),
  removesuffix: op(['suffix'], (run, t, p) => (needText(p, 'removesuffix').text && t.text.endsWith(p.text) ? t.cut(0, t.text.length - p.text.length) : t)),
  split: op(['sep', 'maxsplit'], (run, t, sep, most) => split(run, t, sep, int(most, -1), false)),
  rsplit: op(['sep', 'maxsplit'], (run, t, sep, most) => split(run, t, sep, int(most, -1), true)),
  splitlines: op(['keepends'], (run, t, keep) => {
    /** @type {Text[]} */
    const lines = []
    let at = 0
    for (const { 0: end, index } of t.text.matchAll(/\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/g)) {
      lines.push(t.cut(at, index + (keep ? end.length : 0)))
      at = index + end.length
    }
    if (at < t.text.length) lines.push(t.cut(at))
    return made(run, lines)
  }),
  replace: op(['old', 'new', 'count'], (run, t, from, to, most) => replace(run, t, needText(from, 'replace'), needText(to, 'replace'), int(most, -1))),
  join: op(['items'], (run, t, items) => join(run, run.iterate(items).map((item) => needText(item, 'join')), t)),
  find: find('indexOf'),
  rfind: find('lastIndexOf'),
  index: op(['sub'], (run, t, sub) => {
    const at = str.find(run, t, [sub], new Map())
    return at === -1 ? fail('a string does not have the part that index() looks for') : at
  }),
  count: op(['sub'], (run, t, sub) => (needText(sub, 'count').text === '' ? t.length + 1 : t.text.split(run.sought(t, sub)).length - 1)),
  isdigit: all(/^\p{Nd}+$/u),
  isalpha: all(/^\p{L}+$/u),
  isalnum: all(/^[\p{L}\p{N}]+$/u),
  isspace: all(new RegExp(`^[${SPACES}]+$`)),
  isupper: op([], (run, t) => t.text === upper(t.text) && t.text !== lower(t.text)),
  islower: op([], (run, t) => t.text === lower(t.text) && t.text !== upper(t.text)),
  format: (run, self, args, named) => {
    let next = 0
    return fillIn(run, /** @type {Text} */ (self), /\{\{|\}\}|\{(\w*)\}|[{}]/g, ([field, name]) => {
      if (field === '{{' || field === '}}') return new Text(field[0])
      if (name === undefined) return fail('format() takes fields of the forms {}, {0} and {name} only')
      return name === '' ? args[next++] : /^\d/.test(name) ? args[Number(name)] : named.get(name)
    })
  },
}

/** A text with its fields replaced. @param {Runner} run @param {Text} t @param {RegExp} fields @param {(match: RegExpMatchArray) => Value | undefined} value */
function fillIn(run, t, fields, value) {
  const out = new Builder(run.charge)
  let at = 0
  for (const match of t.text.matchAll(fields)) {
    out.add(t.cut(at, match.index)).add(run.text(value(match) ?? fail(`there is no value for ${match[0]}`)))
    at = match.index + match[0].length
  }
  return out.add(t.cut(at)).done()
}

/** The % operator of strings. @param {Runner} run @param {Text} t @param {Value[]} values @returns {Value} */
export function formatPercent(run, t, values) {
  let next = 0
  const text = fillIn(run, t, /%(?:\.(\d{1,2}))?([sdf%])?/g, ([field, digits, kind]) => {
    if (field === '%%') return new Text('%')
    if (kind === undefined || kind === '%') return fail('a format takes %s, %d, %f and %% only')
    const value = values[next++]
    if (kind === 's' || value === undefined) return value
    return new Text(kind === 'd' ? String(Math.trunc(int(value, 0))) : int(value, 0).toFixed(Number(digits ?? 6)))
  })
  return next < values.length ? fail('a format is given more values than it has fields') : text
}

/** Methods by type. What changes a list or dict in place is left out: Python's sandbox refuses it, too. @type {Record<string, Record<string, Operation>>} */
export const methods = {
  // @ts-ignore
  __proto__: null,
  str,
  dict: {
    // @ts-ignore
    __proto__: null,
    get: op(['key', 'default'], (run, d, key, otherwise) => d.get(key ?? None) ?? otherwise ?? None),
    items: op([], (run, d) => made(run, d.items())),
    keys: op([], (run, d) => made(run, d.keys())),
    values: op([], (run, d) => made(run, d.values())),
    copy: op([], (run, d) => copy(d)),
  },
  list: {
    // @ts-ignore
    __proto__: null,
    index: op(['x'], (run, list, x) => {
      const at = list.findIndex((/** @type {Value} */ item) => equal(item, x, run.charge))
      return at < 0 ? fail('a list does not have what index() looks for') : at
    }),
    count: op(['x'], (run, list, x) => list.filter((/** @type {Value} */ item) => equal(item, x, run.charge)).length),
    copy: op([], (run, list) => made(run, list.slice())),
  },
}
methods.tuple = methods.list

/** @param {Dict} d */
function copy(d) {
  const made = new Dict()
  made.entries = new Map(d.entries)
  return made
}

// Tests

/** @typedef {(run: Runner, v: Value, ...args: Value[]) => boolean} Test */
/** @param {(c: number) => boolean} holds @returns {Test} */
const ordered = (holds) => (run, a, b) => holds(compare(a, b, run.charge))
/** @type {Test} */
const same = (run, a, b) => equal(a, b, run.charge)
/** @type {Test} */
const different = (run, a, b) => !equal(a, b, run.charge)
/** @param {Value} v @param {number} by */
const remainder = (v, by) => {
  const n = asNumber(v) ?? fail(`${describe(v)} cannot be divided`)
  return n - by * Math.floor(n / by)
}

/** @type {Record<string, Test>} */
export const tests = {
  // @ts-ignore
  __proto__: null,
  defined: (run, v) => !(v instanceof Missing),
  undefined: (run, v) => v instanceof Missing,
  none: (run, v) => v === None,
  boolean: (run, v) => typeof v === 'boolean',
  true: (run, v) => v === true,
  false: (run, v) => v === false,
  integer: (run, v) => typeof v === 'number',
  float: (run, v) => v instanceof Float,
  number: (run, v) => asNumber(v) !== undefined,
  string: (run, v) => v instanceof Text,
  mapping: (run, v) => v instanceof Dict,
  sequence: (run, v) => v instanceof Text || Array.isArray(v) || v instanceof Dict || v instanceof Missing,
  iterable: (run, v) => v instanceof Text || Array.isArray(v) || v instanceof Dict || v instanceof Missing,
  callable: (run, v) => typeof v === 'function',
  sameas: (run, a, b) => (a instanceof Text && b instanceof Text ? a.text === b.text : a === b),
  odd: (run, v) => remainder(v, 2) === 1,
  even: (run, v) => remainder(v, 2) === 0,
  divisibleby: (run, v, by) => remainder(v, int(by, 0)) === 0,
  upper: (run, v) => v instanceof Text && str.isupper(run, v, [], new Map()) === true,
  lower: (run, v) => v instanceof Text && str.islower(run, v, [], new Map()) === true,
  in: (run, v, container) => run.contains(container, v),
  eq: same,
  equalto: same,
  '==': same,
  ne: different,
  '!=': different,
  lt: ordered((c) => c < 0),
  lessthan: ordered((c) => c < 0),
  le: ordered((c) => c <= 0),
  gt: ordered((c) => c > 0),
  greaterthan: ordered((c) => c > 0),
  ge: ordered((c) => c >= 0),
  filter: (run, v) => v instanceof Text && filters[v.text] !== undefined,
  test: (run, v) => v instanceof Text && tests[v.text] !== undefined,
}

// Filters

/** item.a.b, or item[0] where a part of the path is a number. @param {Runner} run @param {Value} item @param {Value | undefined} path @returns {Value} */
function attributeOf(run, item, path) {
  if (typeof path === 'number') return run.attribute(item, path, false)
  return needText(path, 'attribute').text.split('.').reduce((value, part) => run.attribute(value, /^\d+$/.test(part) ? Number(part) : new Text(part), false), item)
}

/** Strings without regard to case, unless that is asked for. @param {Runner} run @param {Value} v @param {Value | undefined} caseSensitive @returns {Value} */
const sortKey = (run, v, caseSensitive) => (v instanceof Text && !truthy(caseSensitive ?? false) ? recase(run, v, lower) : v)

/** @param {Runner} run @param {Value[]} items @param {(item: Value) => Value} key @param {Value | undefined} reverse @returns {Value[]} */
function sorted(run, items, key, reverse) {
  const keyed = items.map((item) => /** @type {[Value, Value]} */ ([key(item), item]))
  const sign = truthy(reverse ?? false) ? -1 : 1
  return keyed.sort((a, b) => sign * compare(a[0], b[0], run.charge)).map(([, item]) => item)
}

/** select, reject and their kin. @param {boolean} keep @param {boolean} byAttribute @returns {Operation} */
const selector = (keep, byAttribute) => (run, v, args) => {
  const rest = byAttribute ? args.slice(1) : args
  return made(run, run.iterate(v).filter((item) => {
    const value = byAttribute ? attributeOf(run, item, args[0]) : item
    return (rest.length > 0 ? run.test(needText(rest[0], 'a test').text, value, rest.slice(1)) : truthy(value)) === keep
  }))
}

/** @param {boolean} most @returns {Operation} */
const extreme = (most) => op(['case_sensitive', 'attribute'], (run, v, caseSensitive, attribute) => {
  const items = sorted(run, run.iterate(v), (item) => sortKey(run, attribute === undefined ? item : attributeOf(run, item, attribute), caseSensitive), most)
  return items[0] ?? new Missing('an item of an empty list')
})

/** @param {Runner} run @param {Value} v */
const size = (run, v) => (v instanceof Text ? v.length : v instanceof Dict ? v.entries.size : Array.isArray(v) || v instanceof Missing ? run.iterate(v).length : fail(`${describe(v)} has no length`))

/** @type {Operation} */
const otherwise = op(['default_value', 'boolean'], (run, v, value, boolean) =>
  v instanceof Missing || (truthy(boolean ?? false) && !truthy(v)) ? value ?? new Text('') : v)
/** @type {Operation} */
const count = op([], size)
/** @param {string} name @returns {Operation} */
const method = (name) => (run, v, args, named) => str[name](run, run.text(v), args, named)

/** @type {Record<string, Operation>} */
export const filters = {
  // @ts-ignore
  __proto__: null,
  abs: op([], (run, v) => (v instanceof Float ? new Float(Math.abs(v.value)) : Math.abs(int(v, 0)))),
  capitalize: method('capitalize'),
  count,
  length: count,
  default: otherwise,
  d: otherwise,
  dictsort: op(['case_sensitive', 'by', 'reverse'], (run, d, caseSensitive, by, reverse) => {
    if (!(d instanceof Dict)) return fail(`dictsort does not go with ${describe(d)}`)
    const at = by instanceof Text && by.text === 'value' ? 1 : 0
    return sorted(run, d.items(), (item) => sortKey(run, /** @type {Value[]} */ (item)[at], caseSensitive), reverse)
  }),
  first: op([], (run, v) => run.iterate(v)[0] ?? new Missing('the first of nothing')),
  last: op([], (run, v) => run.iterate(v).at(-1) ?? new Missing('the last of nothing')),
  float: op(['default'], (run, v, value) => {
    const n = v instanceof Text ? parseNumber(v.text) : asNumber(v)
    return n === undefined ? value ?? new Float(0) : new Float(n)
  }),
  int: op(['default', 'base'], (run, v, value, base) => {
    if (v instanceof Text && int(base, 10) !== 10) {
      const n = parseInt(v.text, int(base, 10))
      return Number.isNaN(n) ? value ?? 0 : n
    }
    const n = v instanceof Text ? parseNumber(v.text) : asNumber(v)
    return n === undefined || !Number.isFinite(n) ? value ?? 0 : Math.trunc(n) + 0
  }),
  format: (run, v, args) => formatPercent(run, needText(v, 'format'), args),
  indent: op(['width', 'first', 'blank'], (run, v, width, first, blank) => {
    const by = width instanceof Text ? width : new Text(' '.repeat(Math.min(1000, Math.max(0, int(width, 4)))))
    const lines = /** @type {Text[]} */ (str.splitlines(run, run.text(v).plus(new Text('\n')), [], new Map()))
    const blanks = truthy(blank ?? false)
    return join(run, lines.map((line, i) => ((i === 0 ? truthy(first ?? false) : blanks || line.text !== '') ? run.concat(by, line) : line)), new Text('\n'))
  }),
  items: op([], (run, v) => (v instanceof Missing ? [] : v instanceof Dict ? made(run, v.items()) : fail(`items does not go with ${describe(v)}`))),
  join: op(['d', 'attribute'], (run, v, separator, attribute) =>
    join(run, run.iterate(v).map((item) => (attribute === undefined ? item : attributeOf(run, item, attribute))), run.text(separator ?? new Text('')))),
  list: op([], (run, v) => made(run, Array.from(run.iterate(v)))),
  lower: method('lower'),
  map: (run, v, args, named) => {
    const attribute = named.get('attribute')
    return made(run, run.iterate(v).map((item) => {
      if (attribute === undefined) return run.filter(needText(args[0], 'map').text, item, args.slice(1), named)
      const value = attributeOf(run, item, attribute)
      return value instanceof Missing ? named.get('default') ?? value : value
    }))
  },
  max: extreme(true),
  min: extreme(false),
  reject: selector(false, false),
  rejectattr: selector(false, true),
  select: selector(true, false),
  selectattr: selector(true, true),
  replace: op(['old', 'new', 'count'], (run, v, from, to, most) => replace(run, run.text(v), run.text(from), run.text(to), int(most, -1))),
  reverse: op([], (run, v) => {
    const items = run.iterate(v).slice().reverse()
    return v instanceof Text ? join(run, items, new Text('')) : items
  }),
  round: op(['precision', 'method'], (run, v, precision, how) => {
    const scale = 10 ** int(precision, 0), x = int(v, 0) * scale
    const kind = how instanceof Text ? how.text : 'common'
    // Python rounds halves to the even neighbour.
    const n = kind === 'ceil' ? Math.ceil(x) : kind === 'floor' ? Math.floor(x) : Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x)
    return new Float(n / scale)
  }),
  safe: op([], (run, v) => v),
  sort: op(['reverse', 'case_sensitive', 'attribute'], (run, v, reverse, caseSensitive, attribute) =>
    sorted(run, run.iterate(v), (item) => sortKey(run, attribute === undefined || attribute === None ? item : attributeOf(run, item, attribute), caseSensitive), reverse)),
  string: op([], (run, v) => run.text(v)),
  sum: op(['attribute', 'start'], (run, v, attribute, start) => {
    const numbers = run.iterate(v).map((item) => (attribute === undefined || attribute === None ? item : attributeOf(run, item, attribute)))
    const total = numbers.reduce((/** @type {number} */ sum, n) => sum + int(n, 0), int(start, 0))
    return numbers.some((n) => n instanceof Float) || start instanceof Float ? new Float(total) : total
  }),
  title: op([], (run, v) => titled(run, run.text(v), /(?<![^-\s({[<])[^-\s({[<]/gu)),
  tojson: op(['ensure_ascii', 'indent', 'separators', 'sort_keys'], (run, v, ascii, indent, separators, sort) => {
    const out = new Builder(run.charge)
    const by = indent instanceof Text ? indent.text : typeof indent === 'number' ? ' '.repeat(Math.min(100, Math.max(0, indent))) : undefined
    const [item, key] = Array.isArray(separators) ? [0, 1].map((i) => needText(separators[i], 'tojson')) : [by === undefined ? ', ' : ',', ': ']
    writeJson(v, out, { ascii: truthy(ascii ?? false), indent: by, item, key, sort: truthy(sort ?? false) })
    return out.done()
  }),
  trim: op(['chars'], (run, v, chars) => strip(run, run.text(v), chars, true, true)),
  unique: op(['case_sensitive', 'attribute'], (run, v, caseSensitive, attribute) => {
    const seen = new Set()
    return run.iterate(v).filter((item) => {
      const key = Dict.hash(sortKey(run, attribute === undefined ? item : attributeOf(run, item, attribute), caseSensitive))
      return !seen.has(key) && seen.add(key)
    })
  }),
  upper: method('upper'),
}

/** @param {string} text */
function parseNumber(text) {
  const plain = text.trim().replace(/(?<=\d)_(?=\d)/g, '')
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain) ? Number(plain) : undefined
}

// Functions that every template has

const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December']
const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']

/** @param {Date} date @param {string} format */
export function strftime(date, format) {
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0')
  const hour = date.getHours()
  /** @type {Record<string, () => string>} */
  const fields = {
    Y: () => String(date.getFullYear()), y: () => two(date.getFullYear() % 100), m: () => two(date.getMonth() + 1), d: () => two(date.getDate()),
    B: () => MONTHS[date.getMonth()], b: () => MONTHS[date.getMonth()].slice(0, 3), A: () => DAYS[date.getDay()], a: () => DAYS[date.getDay()].slice(0, 3),
    H: () => two(hour), I: () => two(hour % 12 || 12), p: () => (hour < 12 ? 'AM' : 'PM'), M: () => two(date.getMinutes()), S: () => two(date.getSeconds()),
    e: () => String(date.getDate()).padStart(2, ' '), '%': () => '%',
    j: () => String(Math.round((Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 0)) / 864e5)).padStart(3, '0'),
  }
  return format.replace(/%(-?)([a-zA-Z%])/g, (whole, dash, field) => {
    const text = fields[field]?.()
    return text === undefined ? whole : dash ? text.replace(/^[0 ]+(?=.)/, '') : text
  })
}

/** @param {Runner} run @param {() => Date} now @returns {Map<string, Value>} */
export function globals(run, now) {
  /** @type {[string, import('./jinja-values.js').Callable][]} */
  const functions = [
    ['range', (args) => {
      const numbers = args.map((arg) => int(arg, NaN))
      const [start, stop] = numbers.length === 1 ? [0, numbers[0]] : numbers, step = numbers[2] ?? 1
      const length = Math.max(0, Math.ceil((stop - start) / step))
      // Python's sandbox has the same limit.
      if (!(length <= 100_000)) fail(`range() is asked for ${length} numbers, the limit is 100000`)
      run.list(length)
      return Array.from({ length }, (_, i) => start + i * step)
    }],
    ['namespace', (args, named) => {
      const made = new Namespace()
      run.chargeSize(args[0] ?? None)
      if (args[0] instanceof Dict) for (const [key, value] of args[0].pairs()) made.fields.set(needText(key, 'namespace').text, value)
      for (const [key, value] of named) made.fields.set(key, value)
      return made
    }],
    ['dict', (args, named) => {
      run.chargeSize(args[0] ?? None)
      const made = args[0] instanceof Dict ? copy(args[0]) : new Dict()
      for (const [key, value] of named) made.set(new Text(key), value)
      return made
    }],
    ['strftime_now', ([format]) => {
      const { text } = needText(format, 'strftime_now')
      return new Text(text.length > 200 ? fail('strftime_now() is given a long format') : strftime(now(), text))
    }],
  ]
  return new Map(functions)
}

