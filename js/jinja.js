/**
 * What running a template takes: scopes, limits, and operators with the semantics of Python. Nothing of JavaScript is reachable: values are those
 * of js/jinja-values.js, and their methods come from tables.
 */
import { Builder, Dict, Float, LIMITS, Missing, Namespace, Text, Tuple, asNumber, describe, equal, fail, typeName, write } from './jinja-values.js'
import { filters, formatPercent, methods, tests } from './jinja-library.js'

/**
 * @typedef {import('./jinja-values.js').Value} Value
 * @typedef {import('./jinja-values.js').Named} Named
 */

export class Break extends Error {}
export class Continue extends Error {}

export class Scope {
  /** @type {Map<string, Value>} */
  names = new Map()

  /** @param {Scope | Runner} parent */
  constructor(parent) {
    /** @type {Scope | undefined} */
    this.parent = parent instanceof Scope ? parent : undefined
    /** @type {Runner} */
    this.run = parent instanceof Scope ? parent.run : parent
  }
  /** @param {string} name @returns {Value | undefined} */
  find(name) {
    for (let scope = /** @type {Scope | undefined} */ (this); scope; scope = scope.parent) {
      const value = scope.names.get(name)
      if (value !== undefined) return value
    }
    return undefined
  }
}

export class Runner {
  steps = 0
  depth = 0
  /** What {% call %} hands to the call in it. @type {Value | undefined} */
  caller = undefined

  constructor() {
    this.charge = this.charge.bind(this)
  }

  /** @param {number} cost */
  charge(cost) {
    this.steps += cost
    if (this.steps > LIMITS.steps) fail(`it takes more than ${LIMITS.steps} steps; does it loop without end?`)
  }

  /** Of a string or list that is about to be gone through. @param {Value} v */
  chargeSize(v) {
    this.charge(1 + (v instanceof Text ? v.text.length >> 4 : Array.isArray(v) ? v.length >> 2 : v instanceof Dict ? v.entries.size : 0))
  }

  /** The spelling of a part to search a text for, which takes up to the product of their lengths. @param {Text} text @param {Text} part */
  sought(text, part) {
    this.charge(1 + Math.ceil((text.text.length * part.text.length) / 1024))
    return part.text
  }

  enter() {
    this.charge(1)
    if (++this.depth > LIMITS.depth) fail(`it nests or recurses deeper than ${LIMITS.depth}`)
  }

  /** str(v) @param {Value} v */
  text(v) {
    if (v instanceof Text) return v
    const out = new Builder(this.charge)
    write(v, out)
    return out.done()
  }

  /** @param {Text} a @param {Text} b */
  concat(a, b) {
    this.chargeSize(a)
    this.chargeSize(b)
    if (a.text.length + b.text.length > LIMITS.text) fail(`it makes a text of more than ${LIMITS.text} characters`)
    return a.plus(b)
  }

  /** @param {number} length  of a list that is about to be made */
  list(length) {
    if (length > LIMITS.items) fail(`it makes a list of more than ${LIMITS.items} items`)
    this.charge(1 + length)
  }

  /** What a loop goes through. @param {Value} v @returns {Value[]} */
  iterate(v) {
    if (Array.isArray(v)) return v
    if (v instanceof Missing) return []
    if (v instanceof Dict) {
      this.list(v.entries.size)
      return v.keys()
    }
    if (!(v instanceof Text)) return fail(`${describe(v)} cannot be gone through`)
    this.list(v.text.length)
    return v.chars()
  }

  /** @param {string} operator @param {Value} a @param {Value} b @returns {Value} */
  operate(operator, a, b) {
    const x = asNumber(a), y = asNumber(b)
    if (x !== undefined && y !== undefined) return arithmetic(operator, x, y, a instanceof Float || b instanceof Float)
    if (operator === '+' && a instanceof Text && b instanceof Text) return this.concat(a, b)
    if (operator === '+' && Array.isArray(a) && Array.isArray(b) && a instanceof Tuple === b instanceof Tuple) {
      this.list(a.length + b.length)
      return a.concat(b)
    }
    if (operator === '*' && typeof b === 'number') return this.times(a, b)
    if (operator === '*' && typeof a === 'number') return this.times(b, a)
    if (operator === '%' && a instanceof Text) return formatPercent(this, a, b instanceof Tuple ? b : [b])
    return fail(`${operator} does not go with ${describe(a)} and ${describe(b)}`)
  }

  /** @param {number} sign @param {Value} v @returns {Value} */
  sign(sign, v) {
    const n = asNumber(v) ?? fail(`a sign does not go with ${describe(v)}`)
    return v instanceof Float ? new Float(sign * n) : sign * n + 0
  }

  /** @param {Value} v @param {number} n @returns {Value} */
  times(v, n) {
    if (!(v instanceof Text || Array.isArray(v))) return fail(`* does not go with ${describe(v)}`)
    const unit = v instanceof Text ? v.text.length : v.length
    const count = unit > 0 ? Math.max(0, n) : 0
    if (v instanceof Text) {
      if (unit * count > LIMITS.text) fail(`it makes a text of more than ${LIMITS.text} characters`)
      this.charge(1 + ((unit * count) >> 4))
      return new Text(v.text.repeat(count), v.mask.repeat(count))
    }
    this.list(unit * count)
    const items = v instanceof Tuple ? new Tuple() : []
    for (let i = 0; i < unit * count; i++) items.push(v[i % unit])
    return items
  }

  /** @param {Value} container @param {Value} v */
  contains(container, v) {
    if (container instanceof Text) return v instanceof Text ? container.text.includes(this.sought(container, v)) : fail(`${describe(v)} cannot be part of a str`)
    if (container instanceof Dict) return container.entries.has(Dict.hash(v))
    return this.iterate(container).some((item) => equal(item, v, this.charge))
  }

  /** object.key, where the methods of a type come first, or object[key]. @param {Value} object @param {Value} key @param {boolean} dot @returns {Value} */
  attribute(object, key, dot) {
    if (object instanceof Missing) return fail(`${describe(object)} has no attributes`)
    this.chargeSize(object instanceof Text ? object : key)
    const name = key instanceof Text ? key.text : undefined
    const own = () => {
      if (name === undefined) return undefined
      if (object instanceof Namespace) return object.fields.get(name)
      const method = methods[typeName(object)]?.[name]
      return method && ((/** @type {Value[]} */ args, /** @type {Named} */ named) => {
        for (const v of [object, ...args]) this.chargeSize(v)
        return method(this, object, args, named)
      })
    }
    const item = () => {
      if (object instanceof Dict) return object.get(key)
      if (typeof key !== 'number') return undefined
      if (!(object instanceof Text)) return Array.isArray(object) ? object.at(key) : undefined
      const { length } = object, at = key < 0 ? key + length : key
      return at >= 0 && at < length ? object.cut(object.offset(at), object.offset(at + 1)) : undefined
    }
    return (dot ? own() ?? item() : item() ?? own()) ?? new Missing(name === undefined ? 'an item' : `'${name}'`)
  }

  /** @param {Value} object @param {number | undefined} start @param {number | undefined} stop @param {number} [step] @returns {Value} */
  slice(object, start, stop, step = 1) {
    if (step === 0) fail('a slice has a step of zero')
    if (object instanceof Text && step === 1) {
      this.chargeSize(object)
      const { length } = object
      const [from, to] = [start ?? 0, stop ?? length].map((at) => object.offset(Math.max(0, at < 0 ? at + length : at)))
      return object.cut(from, Math.max(from, to))
    }
    if (!(object instanceof Text || Array.isArray(object))) return fail(`${describe(object)} cannot be sliced`)
    const items = this.iterate(object), n = items.length, down = step < 0
    const bound = (/** @type {number} */ at) => Math.min(Math.max(at < 0 ? at + n : at, down ? -1 : 0), down ? n - 1 : n)
    const end = stop === undefined ? (down ? -1 : n) : bound(stop)
    const picked = object instanceof Tuple ? new Tuple() : []
    for (let i = start === undefined ? (down ? n - 1 : 0) : bound(start); down ? i > end : i < end; i += step) picked.push(items[i])
    this.list(picked.length)
    return object instanceof Text ? picked.reduce((all, c) => all.plus(c), new Text('')) : picked
  }

  /** @param {string} name @param {Value} v @param {Value[]} args @param {Named} named @returns {Value} */
  filter(name, v, args, named) {
    for (const part of [v, ...args]) this.chargeSize(part)
    return (filters[name] ?? fail(`there is no filter '${name}'`))(this, v, args, named)
  }

  /** @param {string} name @param {Value} v @param {Value[]} args @returns {boolean} */
  test(name, v, args) {
    for (const part of [v, ...args]) this.chargeSize(part)
    return (tests[name] ?? fail(`there is no test '${name}'`))(this, v, ...args)
  }
}

/** @param {string} operator @param {number} x @param {number} y @param {boolean} float @returns {Value} */
function arithmetic(operator, x, y, float) {
  if (y === 0 && '//%'.includes(operator)) return fail('it divides by zero')
  const number = {
    '+': () => x + y, '-': () => x - y, '*': () => x * y, '/': () => x / y, '//': () => Math.floor(x / y), '%': () => x - y * Math.floor(x / y), '**': () => x ** y,
  }[operator]
  const n = number ? number() : fail(`there is no operator ${operator} for numbers`)
  return float || operator === '/' || (operator === '**' && y < 0) ? new Float(n) : n + 0
}
