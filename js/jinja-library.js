/**
 * The methods, filters, tests and functions that templates may use.
 */
import { NibbleError } from './errors.js'
import { contains, itemAt, iterate, join, needNumber, needText, slice, sought, toNumber } from './jinja.js'
import { Dict, Float, Missing, Namespace, Text, asNumber, chargeList, chargeSize, compare, describe, equal } from './jinja-values.js'
import { fail, orMissing, size, textOf, truthy, write } from './jinja-values.js'

/** @typedef {import('./jinja-values.js').Value} Value @typedef {import('./jinja-values.js').Named} Named */
/** @typedef {(v: Value, args: Value[], named: Named) => any} Operation */

/** Arguments in the order of the parameters. @param {string} what @param {string[]} parameters @param {Value[]} args @param {Named} named */
export function bind(what, parameters, args, named) {
  if (args.length > parameters.length) fail(`${what} takes ${parameters.length} arguments, not ${args.length}`)
  for (const name of named.keys()) if (!parameters.includes(name)) fail(`${what} takes no argument '${name}'`)
  return parameters.map((name, i) => (i < args.length ? args[i] : named.get(name)))
}

/**
 * Operations by name. A key says how they are called: 'default|d default_value boolean' has two names and two parameters beside the value that
 * it is for; with * instead of parameters a function gets whatever there is.
 * @param {Record<string, (v: any, ...args: any[]) => any>} functions
 */
const define = (functions) => new Map(Object.entries(functions).flatMap(([call, f]) => {
  const [names, ...parameters] = call.split(' ')
  return names.split('|').map((name) => /** @type {[string, Operation]} */ ([name, (v, args, named) => {
    for (const part of [v, ...args]) chargeSize(part)
    const made = parameters[0] === '*' ? f(v, args, named) : f(v, ...bind(`${name}()`, parameters, args, named))
    if (Array.isArray(made)) chargeList(made.length)
    return made
  }]))
}))

// Strings

/** Spaces as Python has them: U+FEFF is none. */
const NO_SPACE = /(?:[^\s\x1c-\x1f\x85]|\ufeff)+/g
const isSpace = (/** @type {string} */ c) => c.search(NO_SPACE) < 0

/** @param {Text} t @param {Value | undefined} chars @param {boolean} left @param {boolean} right */
function strip(t, chars, left, right) {
  const set = chars == null ? undefined : sought(t, chars)
  const drops = (/** @type {string} */ c) => (set === undefined ? isSpace(c) : set.includes(c))
  let from = 0, to = t.text.length
  while (left && from < to && drops(t.text[from])) from++
  while (right && to > from && drops(t.text[to - 1])) to--
  return t.cut(from, to)
}

/** @param {Text} t @param {Value | undefined} separator @param {number} [most] */
function split(t, separator, most = -1) {
  if (separator == null) {
    if (most >= 0) fail('split() takes maxsplit with a separator only')
    return Array.from(t.text.matchAll(NO_SPACE), ({ 0: word, index }) => t.cut(index, index + word.length))
  }
  const by = sought(t, separator) || fail('an empty string is no separator, and nothing to replace')
  const parts = []
  let at = 0
  for (let next; parts.length !== most && (next = t.text.indexOf(by, at)) >= 0; at = next + by.length) parts.push(t.cut(at, next))
  return [...parts, t.cut(at)]
}

/** @param {Text} t */
function lines(t) {
  const parts = []
  let at = 0
  for (const { 0: end, index } of t.text.matchAll(/\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/g)) {
    parts.push(t.cut(at, index))
    at = index + end.length
  }
  return at < t.text.length ? [...parts, t.cut(at)] : parts
}

/** @param {Text} t @param {(text: string) => string} change @param {RegExp} [pattern]  of what is changed, or all is */
function recase(t, change, pattern) {
  const text = change(t.text)
  // A few letters become two or three.
  return !pattern && text.length === t.text.length ? new Text(text, t.mask) : t.map(pattern ?? /[^]/gu, change)
}
/** @param {Text} t @param {RegExp} [pattern] */
const upper = (t, pattern) => recase(t, (c) => c.toUpperCase(), pattern)
const lower = (/** @type {Text} */ t) => recase(t, (c) => c.toLowerCase())
const capitalize = (/** @type {Text} */ t) => upper(lower(t), /^[^]/gu)
/** Of one affix, or several. @param {Value} affix @param {(affix: string) => boolean} test */
const anyAffix = (affix, test) => (Array.isArray(affix) ? affix : [affix]).some((a) => test(needText(a).text))

const strings = define({
  upper: (t) => upper(t), lower, capitalize,
  title: (t) => upper(lower(t), /(?<!\p{L})\p{L}/gu),
  'strip chars': (t, chars) => strip(t, chars, true, true),
  'lstrip chars': (t, chars) => strip(t, chars, true, false),
  'rstrip chars': (t, chars) => strip(t, chars, false, true),
  'startswith prefix': (t, prefix) => anyAffix(prefix, (a) => t.text.startsWith(a)),
  'endswith suffix': (t, suffix) => anyAffix(suffix, (a) => t.text.endsWith(a)),
  'removeprefix prefix': (t, prefix) => (t.text.startsWith(needText(prefix).text) ? t.cut(prefix.text.length) : t),
  'removesuffix suffix': (t, suffix) => (t.text.endsWith(needText(suffix).text) ? t.cut(0, t.text.length - suffix.text.length) : t),
  'split sep maxsplit': split,
  splitlines: lines,
  'replace old new count': (t, from, to, count) => join(split(t, needText(from), count), needText(to)),
  'join items': (t, items) => join(iterate(items).map(needText), t),
  'find sub': (t, sub) => {
    const at = t.text.indexOf(sought(t, sub))
    return at < 0 ? at : t.cut(0, at).length
  },
  'count sub': (t, sub) => split(t, sub ?? fail('count() needs a string')).length - 1,
  isdigit: (t) => /^\p{Nd}+$/u.test(t.text),
})

/** What changes a dict or list in place is left out: Python's sandbox refuses it, too. */
const dicts = define({
  'get key default': (d, key, otherwise = null) => (d.has(Dict.hash(key)) ? d.at(key) : otherwise),
  items: (d) => d.pairs(), keys: iterate,
  values: (/** @type {Dict} */ d) => d.pairs().map(([, value]) => value),
})

/** object.key, where the methods of a type come first, or object[key]. @param {Value} object @param {Value} key @param {boolean} [dot] @returns {Value} */
export function attribute(object, key, dot) {
  if (object instanceof Missing) return fail(`${describe(object)} has no attributes`)
  chargeSize(object instanceof Text ? object : key)
  const name = key instanceof Text ? key.text : undefined
  const own = () => {
    if (name === undefined) return undefined
    if (object instanceof Namespace) return object.get(name)
    return (object instanceof Text ? strings : object instanceof Dict ? dicts : undefined)?.get(name)?.bind(null, object)
  }
  const item = () => (object instanceof Dict ? object.at(key) : typeof key === 'number' ? itemAt(object, key) : undefined)
  const first = dot ? own() : item()
  return orMissing(first !== undefined ? first : dot ? item() : own(), name === undefined ? 'an item' : `'${name}'`)
}

// Tests

/** @param {Value} v @param {number} by */
const remainder = (v, by) => needNumber(v) - by * Math.floor(needNumber(v) / by)
const tests = define({
  defined: (v) => !(v instanceof Missing), undefined: (v) => v instanceof Missing,
  none: (v) => v === null, true: (v) => v === true, false: (v) => v === false, boolean: (v) => typeof v === 'boolean',
  integer: (v) => typeof v === 'number', float: (v) => v instanceof Float, number: (v) => asNumber(v) !== undefined,
  string: (v) => v instanceof Text, mapping: (v) => v instanceof Dict, 'sequence|iterable': (v) => size(v) !== undefined || v instanceof Missing,
  callable: (v) => typeof v === 'function',
  odd: (v) => remainder(v, 2) === 1, even: (v) => remainder(v, 2) === 0, 'divisibleby num': (v, by) => remainder(v, needNumber(by)) === 0,
  'in seq': contains, 'eq|equalto|== other': equal, 'ne|!= other': (a, b) => !equal(a, b),
  'lt other': (a, b) => compare(a, b) < 0, 'le other': (a, b) => compare(a, b) <= 0,
  'gt other': (a, b) => compare(a, b) > 0, 'ge other': (a, b) => compare(a, b) >= 0,
})
/** @param {string} name @param {Value} v @param {Value[]} args @param {Named} [named] @returns {boolean} */
export const test = (name, v, args, named = new Map()) => (tests.get(name) ?? fail(`there is no test '${name}'`))(v, args, named)

// Filters

/** item.a.b, or item[0] where a part of the path is a number; the item itself without a path. @type {(item: Value, path?: Value) => Value} */
const follow = (item, path) => {
  const parts = path == null ? [] : textOf(path).text.split('.')
  return parts.reduce((value, part) => attribute(value, /^\d+$/.test(part) ? Number(part) : new Text(part)), item)
}

/** Strings without regard to case, unless that is asked for. @param {Value} v @param {Value} [caseSensitive] @returns {Value} */
const fold = (v, caseSensitive) => (v instanceof Text && !truthy(caseSensitive) ? lower(v) : v)
/** @param {Value[]} items @param {(item: any) => Value} [key] @param {Value} [reverse] */
function sorted(items, key = (item) => fold(item), reverse) {
  const keyed = Array.from(items, (item) => ({ key: key(item), item }))
  const sign = truthy(reverse) ? -1 : 1
  return keyed.sort((a, b) => sign * compare(a.key, b.key)).map(({ item }) => item)
}

/** @param {Value} v */
const pairs = (v) => (v instanceof Dict ? v.pairs() : fail(`a dict is needed, not ${describe(v)}`))

/** select, reject and their kin. @param {boolean} keep @param {boolean} byAttribute */
const selector = (keep, byAttribute) => (/** @type {Value} */ v, /** @type {Value[]} */ args) => {
  const [path, name, ...rest] = byAttribute ? args : [null, ...args]
  return iterate(v).filter((item) => {
    const value = follow(item, path)
    return (name === undefined ? truthy(value) : test(needText(name).text, value, rest)) === keep
  })
}

/** @param {Value} v @param {Value} otherwise  where v is no number @param {(n: number) => Value} make */
function parseNumber(v, otherwise, make) {
  const n = v instanceof Text && /^\s*[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?\s*$/i.test(v.text) ? Number(v.text) : asNumber(v)
  return n === undefined ? otherwise : make(n)
}

const filters = define({
  abs: (v) => (v instanceof Float ? new Float(Math.abs(v.value)) : Math.abs(needNumber(v))),
  upper: (v) => upper(textOf(v)), lower: (v) => lower(textOf(v)), capitalize: (v) => capitalize(textOf(v)),
  title: (v) => upper(lower(textOf(v)), /(?<![^-\s({[<])[^-\s({[<]/gu),
  'length|count': (v) => (v instanceof Missing ? 0 : v instanceof Text ? v.length : size(v) ?? fail(`${describe(v)} has no length`)),
  'default|d default_value boolean': (v, value = new Text(), boolean) => (v instanceof Missing || (truthy(boolean) && !truthy(v)) ? value : v),
  'dictsort case_sensitive by reverse': (v, caseSensitive, by, reverse) =>
    sorted(pairs(v), (pair) => fold(pair[by?.text === 'value' ? 1 : 0], caseSensitive), reverse),
  first: (v) => orMissing(iterate(v)[0], 'the first of nothing'), last: (v) => orMissing(iterate(v).at(-1), 'the last of nothing'),
  'float default': (v, otherwise = new Float(0)) => parseNumber(v, otherwise, (n) => toNumber(n, true)),
  'int default': (v, otherwise = 0) => parseNumber(v, otherwise, (n) => toNumber(Math.trunc(n), false)),
  'indent width first blank': (v, width = 4, first, blank) => {
    const by = width instanceof Text ? width : new Text(' '.repeat(Math.min(1000, Math.max(0, needNumber(width)))))
    const indented = (/** @type {Text} */ line, /** @type {number} */ i) => truthy(i === 0 ? first : blank || line)
    return join(lines(join([v, new Text('\n')])).map((line, i) => (indented(line, i) ? join([by, line]) : line)), new Text('\n'))
  },
  items: (v) => (v instanceof Missing ? [] : pairs(v)),
  'join d attribute': (v, separator = new Text(), path) => join(iterate(v).map((item) => follow(item, path)), textOf(separator)),
  list: (v) => Array.from(iterate(v)),
  'map *': (v, args, named) => iterate(v).map((item) => {
    const path = named.get('attribute')
    if (path === undefined) return filter(needText(args[0]).text, item, args.slice(1), named)
    const value = follow(item, path)
    return value instanceof Missing && named.has('default') ? named.get('default') : value
  }),
  max: (v) => orMissing(sorted(iterate(v)).at(-1), 'the largest of nothing'), min: (v) => orMissing(sorted(iterate(v))[0], 'the least of nothing'),
  'select *': selector(true, false), 'selectattr *': selector(true, true), 'reject *': selector(false, false), 'rejectattr *': selector(false, true),
  'replace old new count': (v, from, to, count) => join(split(textOf(v), textOf(from), count), textOf(to)),
  reverse: (v) => slice(v instanceof Text ? v : iterate(v), [null, null, -1]),
  'sort reverse case_sensitive attribute': (v, reverse, caseSensitive, path) => sorted(iterate(v), (item) => fold(follow(item, path), caseSensitive), reverse),
  string: textOf, safe: (v) => v,
  'tojson ensure_ascii indent separators sort_keys': (v, ascii, indent = null, separators, sort) => {
    const [item, key] = separators ? iterate(separators).map(needText) : [indent === null ? ', ' : ',', ': ']
    const by = ' '.repeat(Math.min(100, Math.max(0, needNumber(indent ?? 0))))
    const out = new Text()
    write(out, v, { json: true, ascii: truthy(ascii), indent: by, item, key, sort: truthy(sort) }, indent === null ? '' : '\n')
    return out
  },
  'trim chars': (v, chars) => strip(textOf(v), chars, true, true),
  unique: (v) => {
    const seen = new Set()
    return iterate(v).filter((item) => seen.size < seen.add(Dict.hash(fold(item))).size)
  },
})
/** @param {string} name @param {Value} v @param {Value[]} args @param {Named} named @returns {Value} */
export const filter = (name, v, args, named) => (filters.get(name) ?? fail(`there is no filter '${name}'`))(v, args, named)

// Functions that every template has

/** @param {Date} date @param {string} format */
function strftime(date, format) {
  if (format.length > 200) fail('strftime_now() is given a long format')
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0')
  const long = (/** @type {Intl.DateTimeFormatOptions} */ part) => date.toLocaleDateString('en-US', part)
  // A Date is written in one way everywhere: Thu Jul 04 2024 15:06:07 GMT+0000 (...)
  const [a, b, d, Y, H, M, S] = String(date).split(/[ :]/)
  const hour = Number(H)
  const fields = new Map(Object.entries({
    a, A: long({ weekday: 'long' }), b, B: long({ month: 'long' }), d, e: d.replace(/^0/, ' '), m: two(date.getMonth() + 1), Y, y: Y.slice(-2),
    H, I: two(hour % 12 || 12), p: hour < 12 ? 'AM' : 'PM', M, S, '%': '%',
  }))
  return format.replace(/%(-?)(.?)/g, (field, dash, name) => {
    const text = fields.get(name) ?? fail(`strftime_now() knows no ${field}`)
    return dash ? text.replace(/^[0 ]/, '') : text
  })
}

/** @param {Date} now */
export function globals(now) {
  const functions = define({
    'range start stop step': (_, from, to, step = 1) => {
      const [start, stop, by] = (to === undefined ? [0, from, 1] : [from, to, step]).map(needNumber)
      const length = Math.max(0, Math.ceil((stop - start) / by))
      // Python's sandbox has the same limit.
      if (!(length <= 100_000)) fail(`range() is asked for ${length} numbers, the limit is 100000`)
      return Array.from({ length }, (_, i) => start + i * by)
    },
    'namespace *': (_, args, named) => {
      const given = args[0] instanceof Dict ? args[0].pairs() : []
      return new Namespace([...given.map(([key, value]) => /** @type {[string, Value]} */ ([needText(key).text, value])), ...named])
    },
    'strftime_now format': (_, format) => new Text(strftime(now, needText(format).text)),
    'raise_exception message': (_, message) => {
      throw new NibbleError('E_TEMPLATE', `the chat template refuses these messages: ${message instanceof Text ? message.text : 'it gives no reason'}`)
    },
  })
  return Array.from(functions, ([name, f]) => /** @type {const} */ ([name, f.bind(null, null)]))
}
