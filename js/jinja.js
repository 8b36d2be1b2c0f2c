/**
 * Runs a parsed template. The semantics are those of Python's Jinja2 in its immutable sandbox: scopes, strings by code points, str() and
 * repr() of values. Nothing of JavaScript is reachable: values are data of js/jinja-values.js, methods come from tables.
 */
import { Builder, Dict, Float, Namespace, None, Text, Tuple, Missing, asNumber, compare, describe, equal, fail, truthy, typeName, write } from './jinja-values.js'
import { filters, methods, tests } from './jinja-library.js'

/**
 * @typedef {import('./jinja-values.js').Value} Value
 * @typedef {import('./jinja-values.js').Named} Named
 * @typedef {{type: string, [field: string]: any}} Node
 */

export const LIMITS = Object.freeze({
  steps: 4_000_000, // nodes evaluated, and the work of long strings and lists in units of 64
  depth: 800, // nested expressions, blocks and macro calls
  items: 200_000, // of a list
  text: 1 << 23, // characters of a string, and of the output
})

class Break extends Error {}
class Continue extends Error {}

class Scope {
  /** @type {Map<string, Value>} */
  names = new Map()

  /** @param {Scope | undefined} parent */
  constructor(parent) {
    this.parent = parent
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

  /** @param {Map<string, Value>} names */
  constructor(names) {
    this.globals = new Scope(undefined)
    for (const [name, value] of names) this.globals.names.set(name, value)
    this.charge = this.charge.bind(this)
  }

  /** @param {Node} program @returns {Text} */
  run(program) {
    const out = new Builder(LIMITS.text)
    this.body(program.body, new Scope(this.globals), out)
    return out.done()
  }

  /** @param {number} cost */
  charge(cost) {
    this.steps += cost
    if (this.steps > LIMITS.steps) fail(`it takes more than ${LIMITS.steps} steps; does it loop?`)
  }

  /** A string or list that is about to be gone through, or made. @param {number} size */
  chargeSize(size) {
    this.charge(1 + (size >> 6))
  }

  /** @template T @param {() => T} work @returns {T} */
  nested(work) {
    this.charge(1)
    if (++this.depth > LIMITS.depth) fail(`it nests or recurses deeper than ${LIMITS.depth}`)
    try {
      return work()
    } finally {
      this.depth--
    }
  }

  /** str(v) @param {Value} v */
  text(v) {
    if (v instanceof Text) return v
    const out = new Builder(LIMITS.text)
    write(v, out, this.charge)
    return out.done()
  }

  /** @param {Text} a @param {Text} b */
  concat(a, b) {
    this.chargeSize(a.text.length + b.text.length)
    if (a.text.length + b.text.length > LIMITS.text) fail(`it makes a text of more than ${LIMITS.text} characters`)
    return a.plus(b)
  }

  /** @param {Value[]} items */
  list(items) {
    if (items.length > LIMITS.items) fail(`it makes a list of more than ${LIMITS.items} items`)
    this.chargeSize(items.length * 8)
    return items
  }

  /** What a loop goes through. @param {Value} v @returns {Value[]} */
  iterate(v) {
    if (Array.isArray(v)) return v
    if (v instanceof Missing) return []
    if (v instanceof Dict) return v.keys()
    if (!(v instanceof Text)) return fail(`${describe(v)} cannot be iterated`)
    if (v.text.length > LIMITS.items) fail(`it makes a list of more than ${LIMITS.items} items`)
    this.chargeSize(v.text.length * 8)
    return v.chars()
  }

  // Statements

  /** @param {Node[]} nodes @param {Scope} scope @param {Builder} out */
  body(nodes, scope, out) {
    for (const node of nodes) this.statement(node, scope, out)
  }

  /** The output of statements as a value. @param {Node[]} nodes @param {Scope} scope */
  capture(nodes, scope) {
    const out = new Builder(LIMITS.text)
    this.body(nodes, scope, out)
    return out.done()
  }

  /** @param {Node} node @param {Scope} scope @param {Builder} out */
  statement(node, scope, out) {
    switch (node.type) {
      case 'Comment': return
      case 'Break': throw new Break()
      case 'Continue': throw new Continue()
      case 'If': return this.nested(() => this.body(truthy(this.evaluate(node.test, scope)) ? node.body : node.alternate, scope, out))
      case 'For': return this.nested(() => this.loop(node, scope, out))
      case 'Set': return this.nested(() => this.set(node.assignee, node.value ? this.evaluate(node.value, scope) : this.capture(node.body, new Scope(scope)), scope))
      case 'Macro': return void scope.names.set(node.name.value, this.macro(node.name.value, node.args, node.body, scope))
      case 'FilterStatement': return void out.add(this.text(this.nested(() => this.filter(this.capture(node.body, new Scope(scope)), node.filter, scope))))
      case 'CallStatement': {
        const caller = this.macro('caller', node.callerArgs ?? [], node.body, scope)
        const value = this.nested(() => this.call(node.call, scope, caller))
        return void out.add(this.text(value))
      }
      default: {
        const value = this.evaluate(node, scope)
        out.add(value instanceof Text ? value : this.text(value))
      }
    }
  }

  /** @param {Node} target @param {Value} value @param {Scope} scope */
  set(target, value, scope) {
    if (target.type === 'Identifier') {
      scope.names.set(target.value, value)
    } else if (target.type === 'TupleLiteral') {
      const items = this.iterate(value)
      if (items.length !== target.value.length) fail(`${items.length} values cannot be assigned to ${target.value.length} names`)
      items.forEach((item, i) => this.set(target.value[i], item, scope))
    } else {
      const object = target.type === 'MemberExpression' && !target.computed ? this.evaluate(target.object, scope) : undefined
      if (!(object instanceof Namespace)) return fail('only variables and attributes of a namespace can be set')
      object.fields.set(target.property.value, value)
    }
  }

  /** @param {Node} node @param {Scope} outer @param {Builder} out */
  loop(node, outer, out) {
    const select = node.iterable.type === 'SelectExpression' ? node.iterable : undefined
    let items = this.iterate(this.evaluate(select ? select.lhs : node.iterable, outer))
    if (select) {
      items = items.filter((item) => {
        const scope = new Scope(outer)
        this.set(node.loopvar, item, scope)
        return truthy(this.evaluate(select.test, scope))
      })
    }
    if (items.length === 0) return this.body(node.defaultBlock, new Scope(outer), out)
    const around = /** @type {Value | undefined} */ (outer.find('loop'))
    const depth = around instanceof Namespace ? Number(around.fields.get('depth')) + 1 : 1
    /** @type {Value[] | undefined} */
    let last
    for (let i = 0; i < items.length; i++) {
      const scope = new Scope(outer), n = items.length
      const loop = new Namespace()
      loop.fields = new Map(/** @type {[string, Value][]} */ ([
        ['index', i + 1], ['index0', i], ['revindex', n - i], ['revindex0', n - i - 1], ['first', i === 0], ['last', i === n - 1], ['length', n],
        ['depth', depth], ['depth0', depth - 1], ['previtem', items[i - 1] ?? new Missing('loop.previtem')], ['nextitem', items[i + 1] ?? new Missing('loop.nextitem')],
        ['cycle', (/** @type {Value[]} */ args) => args[i % args.length] ?? new Missing()],
        ['changed', (/** @type {Value[]} */ args) => {
          const same = last !== undefined && equal(last, args, this.charge)
          last = args
          return !same
        }],
      ]))
      scope.names.set('loop', loop)
      this.set(node.loopvar, items[i], scope)
      this.charge(1)
      try {
        this.body(node.body, scope, out)
      } catch (error) {
        if (error instanceof Break) break
        if (!(error instanceof Continue)) throw error
      }
    }
  }

  /** @param {string} name @param {Node[]} parameters @param {Node[]} body @param {Scope} home @returns {import('./jinja-values.js').Callable} */
  macro(name, parameters, body, home) {
    const names = parameters.map((p) => (p.type === 'Identifier' ? p.value : p.key.value))
    return (args, named) => this.nested(() => {
      const scope = new Scope(home), rest = new Dict()
      for (const [key, value] of named) {
        if (key === 'caller' && !names.includes(key)) scope.names.set(key, value)
        else if (!names.includes(key)) rest.set(new Text(key), value)
        else if (names.indexOf(key) < args.length) fail(`the macro ${name} gets its argument ${key} twice`)
      }
      scope.names.set('varargs', args.slice(names.length))
      scope.names.set('kwargs', rest)
      if (!named.has('caller')) scope.names.set('caller', new Missing('caller'))
      names.forEach((key, i) => scope.names.set(key, args[i] ?? named.get(key) ?? new Missing(key)))
      names.forEach((key, i) => {
        if (args[i] === undefined && !named.has(key) && parameters[i].value !== undefined && parameters[i].type !== 'Identifier') {
          scope.names.set(key, this.evaluate(parameters[i].value, scope))
        }
      })
      return this.capture(body, scope)
    })
  }

  // Expressions

  /** @param {Node} node @param {Scope} scope @returns {Value} */
  evaluate(node, scope) {
    this.charge(1)
    switch (node.type) {
      case 'StringLiteral': return (node.made ??= new Text(node.value))
      case 'IntegerLiteral': return node.value
      case 'FloatLiteral': return new Float(node.value)
      case 'Identifier': return scope.find(node.value) ?? new Missing(`'${node.value}'`)
    }
    return this.nested(() => this.compound(node, scope))
  }

  /** @param {Node} node @param {Scope} scope @returns {Value} */
  compound(node, scope) {
    switch (node.type) {
      case 'ArrayLiteral': return node.value.map((/** @type {Node} */ item) => this.evaluate(item, scope))
      case 'TupleLiteral': return Tuple.from(node.value, (item) => this.evaluate(/** @type {Node} */ (item), scope))
      case 'ObjectLiteral': {
        const dict = new Dict()
        for (const [key, value] of node.value) dict.set(this.evaluate(key, scope), this.evaluate(value, scope))
        return dict
      }
      case 'MemberExpression': return this.member(node, scope)
      case 'CallExpression': return this.call(node, scope)
      case 'FilterExpression': return this.filter(this.evaluate(node.operand, scope), node.filter, scope)
      case 'TestExpression': return this.test(node.test.value, this.evaluate(node.operand, scope), []) !== node.negate
      case 'UnaryExpression': return this.unary(node.operator.value, this.evaluate(node.argument, scope))
      case 'BinaryExpression': return this.binary(node, scope)
      case 'Ternary': return this.evaluate(truthy(this.evaluate(node.condition, scope)) ? node.trueExpr : node.falseExpr, scope)
      case 'SelectExpression': return truthy(this.evaluate(node.test, scope)) ? this.evaluate(node.lhs, scope) : new Missing('a condition without else')
      default: return fail(`it has a ${node.type} where a value is expected`)
    }
  }

  /** @param {string} operator @param {Value} v @returns {Value} */
  unary(operator, v) {
    if (operator === 'not') return !truthy(v)
    const n = asNumber(v)
    if (n === undefined) return fail(`${operator} does not go with ${describe(v)}`)
    const value = operator === '-' ? -n : n
    return v instanceof Float ? new Float(value) : value + 0
  }

  /** @param {Node} node @param {Scope} scope @returns {Value} */
  binary(node, scope) {
    const operator = node.operator.value
    const a = this.evaluate(node.left, scope)
    if (operator === 'and') return truthy(a) ? this.evaluate(node.right, scope) : a
    if (operator === 'or') return truthy(a) ? a : this.evaluate(node.right, scope)
    const b = this.evaluate(node.right, scope)
    if (a instanceof Text) this.chargeSize(a.text.length)
    if (b instanceof Text) this.chargeSize(b.text.length)
    switch (operator) {
      case '==': return equal(a, b, this.charge)
      case '!=': return !equal(a, b, this.charge)
      case '<': return compare(a, b, this.charge) < 0
      case '>': return compare(a, b, this.charge) > 0
      case '<=': return compare(a, b, this.charge) <= 0
      case '>=': return compare(a, b, this.charge) >= 0
      case 'in': return this.contains(b, a)
      case 'not in': return !this.contains(b, a)
      case '~': return this.concat(this.text(a), this.text(b))
    }
    const x = asNumber(a), y = asNumber(b)
    if (x !== undefined && y !== undefined) return arithmetic(operator, x, y, a instanceof Float || b instanceof Float)
    if (operator === '+' && a instanceof Text && b instanceof Text) return this.concat(a, b)
    if (operator === '+' && Array.isArray(a) && Array.isArray(b) && a instanceof Tuple === b instanceof Tuple) return this.list(a.concat(b))
    if (operator === '*' && typeof b === 'number' && (a instanceof Text || Array.isArray(a))) return this.times(a, b)
    if (operator === '*' && typeof a === 'number' && (b instanceof Text || Array.isArray(b))) return this.times(b, a)
    if (operator === '%' && a instanceof Text) return filters.format(this, a, b instanceof Tuple ? b : [b], new Map())
    return fail(`${operator} does not go with ${describe(a)} and ${describe(b)}`)
  }

  /** @param {Text | Value[]} v @param {number} n @returns {Value} */
  times(v, n) {
    const count = Math.max(0, n)
    if (v instanceof Text) {
      if (v.text.length * count > LIMITS.text) fail(`it makes a text of more than ${LIMITS.text} characters`)
      this.chargeSize(v.text.length * count)
      return new Text(v.text.repeat(v.text ? count : 0), v.mask.repeat(v.text ? count : 0))
    }
    if (v.length * count > LIMITS.items) fail(`it makes a list of more than ${LIMITS.items} items`)
    const items = v instanceof Tuple ? new Tuple() : []
    for (let i = 0; i < count && v.length > 0; i++) items.push(...v.slice())
    return this.list(items)
  }

  /** @param {Value} container @param {Value} v */
  contains(container, v) {
    if (container instanceof Text) return v instanceof Text ? container.text.includes(v.text) : fail(`${describe(v)} cannot be in a str`)
    if (container instanceof Dict) return container.entries.has(Dict.hash(v))
    return this.iterate(container).some((item) => equal(item, v, this.charge))
  }

  /** @param {Node} node @param {Scope} scope @returns {Value} */
  member(node, scope) {
    const object = this.evaluate(node.object, scope)
    if (node.computed && node.property.type === 'SliceExpression') {
      const [start, stop, step] = ['start', 'stop', 'step'].map((part) => {
        const v = node.property[part] ? this.evaluate(node.property[part], scope) : None
        return v === None ? null : typeof v === 'number' ? v : fail(`a slice is given ${describe(v)}`)
      })
      return this.slice(object, start, stop, step ?? 1)
    }
    const key = node.computed ? this.evaluate(node.property, scope) : node.property.type === 'Identifier' ? new Text(node.property.value) : node.property.value
    return this.attribute(object, key, !node.computed)
  }

  /** object.key, where the attributes of a type come first, or object[key]. @param {Value} object @param {Value} key @param {boolean} dot @returns {Value} */
  attribute(object, key, dot) {
    if (object instanceof Missing) return fail(`${describe(object)} has no attributes`)
    const name = key instanceof Text ? key.text : undefined
    const own = () => {
      if (name === undefined) return undefined
      if (object instanceof Namespace) return object.fields.get(name)
      const method = methods[typeName(object)]?.[name]
      return method && /** @type {Value} */ ((/** @type {Value[]} */ args, /** @type {Named} */ named) => {
        this.chargeSize(object instanceof Text ? object.text.length : Array.isArray(object) ? object.length : 1)
        return method(this, object, args, named)
      })
    }
    const item = () => {
      if (object instanceof Dict) return key instanceof Text || key === None || asNumber(key) !== undefined ? object.get(key) : undefined
      if (typeof key !== 'number') return undefined
      if (object instanceof Text && !object.wide) {
        const at = key < 0 ? key + object.text.length : key
        return at >= 0 && at < object.text.length ? object.cut(at, at + 1) : undefined
      }
      return object instanceof Text ? this.iterate(object).at(key) : Array.isArray(object) ? object.at(key) : undefined
    }
    return (dot ? own() ?? item() : item() ?? own()) ?? new Missing(name === undefined ? 'an item' : `'${name}'`)
  }

  /** @param {Value} object @param {number | null} start @param {number | null} stop @param {number} step @returns {Value} */
  slice(object, start, stop, step) {
    if (step === 0) fail('a slice has a step of zero')
    if (object instanceof Text && step === 1 && !object.wide) {
      this.chargeSize(object.text.length)
      const [from, to] = [start ?? 0, stop ?? object.text.length].map((at) => (at < 0 ? Math.max(0, at + object.text.length) : at))
      return object.cut(from, Math.max(from, to))
    }
    if (!(object instanceof Text || Array.isArray(object))) return fail(`${describe(object)} cannot be sliced`)
    const items = this.iterate(object), n = items.length, down = step < 0
    const bound = (/** @type {number} */ at) => Math.min(Math.max(at < 0 ? at + n : at, down ? -1 : 0), down ? n - 1 : n)
    const first = start === null ? (down ? n - 1 : 0) : bound(start), end = stop === null ? (down ? -1 : n) : bound(stop)
    const picked = object instanceof Tuple ? new Tuple() : []
    for (let i = first; down ? i > end : i < end; i += step) picked.push(items[i])
    return object instanceof Text ? picked.reduce((all, c) => all.plus(c), new Text('')) : this.list(picked)
  }

  /** @param {Node[]} nodes @param {Scope} scope @returns {[Value[], Named]} */
  arguments(nodes, scope) {
    /** @type {Value[]} */
    const args = []
    /** @type {Named} */
    const named = new Map()
    for (const node of nodes) {
      if (node.type === 'SpreadExpression') args.push(...this.iterate(this.evaluate(node.argument, scope)))
      else if (node.type === 'KeywordArgumentExpression') named.set(node.key.value, this.evaluate(node.value, scope))
      else if (node.type === 'KeywordSpreadExpression') {
        const dict = this.evaluate(node.argument, scope)
        if (!(dict instanceof Dict)) return fail(`${describe(dict)} follows ** in a call`)
        for (const item of dict.items()) named.set(this.text(/** @type {Value[]} */ (item)[0]).text, /** @type {Value[]} */ (item)[1])
      } else args.push(this.evaluate(node, scope))
    }
    if (args.length > 1000) fail('it gives more than 1000 arguments')
    return [args, named]
  }

  /** @param {Node} node @param {Scope} scope @param {Value} [caller] @returns {Value} */
  call(node, scope, caller) {
    const callee = this.evaluate(node.callee, scope)
    const [args, named] = this.arguments(node.args, scope)
    if (caller) named.set('caller', caller)
    if (typeof callee !== 'function') return fail(`it calls ${callee instanceof Missing ? `${callee.what}, which is not there` : describe(callee)}`)
    return callee(args, named)
  }

  /** @param {Value} v @param {Node} node @param {Scope} scope @returns {Value} */
  filter(v, node, scope) {
    const [name, nodes] = node.type === 'CallExpression' ? [node.callee.value, node.args] : [node.value, []]
    const [args, named] = this.arguments(nodes, scope)
    return this.applyFilter(name, v, args, named)
  }

  /** @param {string} name @param {Value} v @param {Value[]} args @param {Named} named @returns {Value} */
  applyFilter(name, v, args, named) {
    this.chargeSize(v instanceof Text ? v.text.length : Array.isArray(v) ? v.length * 8 : 1)
    // The parser takes tests without arguments only: js/template.js hands the others over as filters of these names.
    const test = /^is (not )?(\w+)$/.exec(name)
    if (test) return this.test(test[2], v, args) !== (test[1] !== undefined)
    const filter = filters[name]
    return filter ? filter(this, v, args, named) : fail(`there is no filter '${name}'`)
  }

  /** @param {string} name @param {Value} v @param {Value[]} args @returns {boolean} */
  test(name, v, args) {
    const test = tests[name]
    return test ? test(this, v, ...args) : fail(`there is no test '${name}'`)
  }
}

/** @param {string} operator @param {number} x @param {number} y @param {boolean} float @returns {Value} */
function arithmetic(operator, x, y, float) {
  if (y === 0 && ['/', '//', '%'].includes(operator)) return fail('it divides by zero')
  const whole = (/** @type {number} */ n) => (float ? new Float(n) : n + 0)
  switch (operator) {
    case '+': return whole(x + y)
    case '-': return whole(x - y)
    case '*': return whole(x * y)
    case '/': return new Float(x / y)
    case '//': return whole(Math.floor(x / y))
    case '%': return whole(x - y * Math.floor(x / y))
    case '**': return float || y < 0 ? new Float(x ** y) : whole(x ** y)
    default: return fail(`there is no operator ${operator} for numbers`)
  }
}
