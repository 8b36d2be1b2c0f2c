/**
 * Jinja source to functions that run it. The grammar is that of Python's Jinja2 less what chat templates have no use for:
 * blocks, inheritance, imports, raw text, powers, comparisons in a row, calls with * or **.
 */
import { OPERATORS, iterate, negate, slice, toNumber } from './jinja.js'
import { lex } from './jinja-lexer.js'
import { attribute, bind, filter, test } from './jinja-library.js'
import { Dict, Missing, Namespace, Text, Tuple, charge, counted, describe, equal, fail, orMissing, textOf, truthy } from './jinja-values.js'

/** @typedef {import('./jinja-values.js').Value} Value @typedef {import('./jinja-values.js').Named} Named */
/** @typedef {(scope: Scope) => Value} Evaluate @typedef {(scope: Scope, out: Text) => void} Execute @typedef {(scope: Scope, value: Value) => void} Assign */
/** @typedef {(scope: Scope) => [Value[], Named]} Arguments @typedef {{name: string, otherwise: Evaluate | undefined}} Parameter */

/** Names and what they mean; what is not found in one is looked for in the one around it. @extends {Map<string, Value>} */
export class Scope extends Map {
  /** @param {Scope} [parent] */
  constructor(parent) {
    super()
    this.parent = parent
  }
  /** @param {string} name @returns {Value} */
  find(name) {
    if (!this.has(name) && this.parent) return this.parent.find(name)
    return orMissing(this.get(name), `'${name}'`)
  }
}

const NESTING_MAX = 150
const BREAK = new Error('{% break %} stands outside of a loop')
const CONTINUE = new Error('{% continue %} stands outside of a loop')
/** @param {Error} to @returns {never} */
const jump = (to) => {
  throw to
}
/** @type {Map<string, Value>} */
const CONSTANTS = new Map(Object.entries({ true: true, True: true, false: false, False: false, none: null, None: null }))

// Names that no template can write
const BODY = ' body'
const CALLER = ' caller'
/** @type {Arguments} */
const noArguments = () => [[], new Map()]
/** @type {(f: Evaluate) => Evaluate} */
const part = counted

/** What a body writes. @param {Execute} body @param {Scope} scope */
function capture(body, scope) {
  const out = new Text()
  body(scope, out)
  return out
}

/** @param {string} name @param {Parameter[]} parameters @param {Execute} body @param {Scope} home  what its names mean @returns {Value} */
const makeMacro = (name, parameters, body, home) => counted((/** @type {Value[]} */ args, /** @type {Named} */ named) => {
  const scope = new Scope(home)
  scope.set('caller', named.get('caller') ?? new Missing("'caller'"))
  named.delete('caller')
  const values = bind(`${name}()`, parameters.map((parameter) => parameter.name), args, named)
  parameters.forEach(({ name, otherwise }, i) => scope.set(name, orMissing(values[i] === undefined ? otherwise?.(scope) : values[i], `'${name}'`)))
  return capture(body, scope)
})

/** @param {string} source @returns {Execute} */
export function parse(source) {
  const tokens = lex(source)
  let at = 0
  let depth = 0

  /** @param {string} value  of a name or mark @param {number} [ahead] */
  const sees = (value, ahead = 0) => tokens[at + ahead]?.value === value && /name|mark/.test(tokens[at + ahead].kind)
  /** @param {string} value */
  function takes(value) {
    const seen = sees(value)
    if (seen) at++
    return seen
  }
  /** @param {string} what @returns {never} */
  const failHere = (what) => fail(`${what} is expected ${at < tokens.length ? `at '${tokens[at].value.slice(0, 20)}'` : 'at its end'}`)
  /** @param {string} value */
  function expect(value) {
    if (!takes(value)) failHere(`'${value}'`)
  }
  const takeName = () => (tokens[at]?.kind === 'name' ? tokens[at++].value : failHere('a name'))

  /** @template T @param {() => T} parse @returns {T} */
  function nested(parse) {
    if (++depth > NESTING_MAX) fail(`it nests deeper than ${NESTING_MAX}`)
    const made = parse()
    depth--
    return made
  }
  /** Items between commas, up to a mark that is taken as well. @template T @param {string} close @param {() => T} item */
  function parseItems(close, item) {
    const items = []
    while (!takes(close)) {
      items.push(item())
      if (!sees(close) && !takes(',')) failHere(`'${close}'`)
    }
    return items
  }

  // Statements

  /** Up to one of the tags, which is taken but for its end. @param {...string} ends @returns {[Execute, string]} */
  function parseBody(...ends) {
    /** @type {Execute[]} */
    const steps = []
    /** @type {Execute} */
    const body = (scope, out) => steps.forEach((step) => step(scope, out))
    while (at < tokens.length) {
      const { kind, value } = tokens[at++]
      if (kind === 'data') {
        const text = new Text(value)
        steps.push((scope, out) => out.add(text))
      } else if (value === '{{') {
        const evaluate = parseTuple('}}')
        steps.push((scope, out) => out.add(textOf(evaluate(scope))))
      } else {
        const name = takeName()
        if (ends.includes(name)) return [body, name]
        const statement = STATEMENTS.get(name) ?? fail(`{% ${name} %} is not a tag that chat templates may use, or it stands at a wrong place`)
        steps.push(counted(nested(statement)))
      }
    }
    return ends[0] ? fail(`{% ${ends[0]} %} is missing`) : [body, '']
  }

  /** The body of a tag that has one. @param {string} end */
  function parseBlock(end) {
    expect('%}')
    const [body] = parseBody(end)
    expect('%}')
    return body
  }

  /** Filters, then the body that they are for. @param {string} end @param {boolean} [bare]  the first filter has no | @returns {Evaluate} */
  function parseFiltered(end, bare) {
    const filters = parsePostfix((scope) => scope.find(BODY), true, bare)
    const body = parseBlock(end)
    return (scope) => {
      const inner = new Scope(scope)
      inner.set(BODY, capture(body, new Scope(scope)))
      return filters(inner)
    }
  }

  /** @type {Map<string, () => Execute>} */
  const STATEMENTS = new Map(Object.entries({
    if: parseIf,
    for: parseLoop,
    generation: () => parseBlock('endgeneration'),
    break: () => (expect('%}'), () => jump(BREAK)),
    continue: () => (expect('%}'), () => jump(CONTINUE)),
    set() {
      const assign = parseTargets()
      const value = takes('=') ? parseTuple('%}') : parseFiltered('endset')
      return (scope) => assign(scope, value(scope))
    },
    filter() {
      const value = parseFiltered('endfilter', true)
      return (scope, out) => out.add(textOf(value(scope)))
    },
    macro() {
      const name = takeName()
      expect('(')
      const parameters = parseParameters()
      const body = parseBlock('endmacro')
      return (scope) => scope.set(name, makeMacro(name, parameters, body, scope))
    },
    call() {
      const parameters = takes('(') ? parseParameters() : []
      const call = parseExpression()
      const body = parseBlock('endcall')
      return (scope, out) => {
        const inner = new Scope(scope)
        inner.set(CALLER, makeMacro('caller', parameters, body, scope))
        out.add(textOf(call(inner)))
      }
    },
  }))

  /** @returns {Execute} */
  function parseIf() {
    const condition = parseTuple('%}')
    const [body, next] = parseBody('endif', 'elif', 'else')
    const otherwise = next === 'elif' ? nested(parseIf) : next === 'else' ? parseBlock('endif') : expect('%}')
    return (scope, out) => (truthy(condition(scope)) ? body : otherwise)?.(scope, out)
  }

  /** @returns {Execute} */
  function parseLoop() {
    const assign = parseTargets()
    expect('in')
    const from = parseOr()
    const condition = takes('if') ? parseExpression() : undefined
    expect('%}')
    const [body, next] = parseBody('endfor', 'else')
    const otherwise = next === 'else' ? parseBlock('endfor') : expect('%}')
    return (outer, out) => {
      const all = iterate(from(outer))
      const inner = (/** @type {Value} */ item) => {
        const scope = new Scope(outer)
        assign(scope, item)
        return scope
      }
      const items = condition ? all.filter((item) => truthy(condition(inner(item)))) : all
      const loop = new Namespace(), { length } = items
      let i = 0
      /** @type {Value} */
      let last = null
      loop.set('cycle', (args) => orMissing(args[i % args.length], 'what loop.cycle() is to give'))
      loop.set('changed', (args) => !equal(last, (last = args)))
      for (; i < length; i++) {
        const left = length - i
        const now = { index: i + 1, index0: i, revindex: left, revindex0: left - 1, first: i === 0, last: left === 1, length, depth: 1, depth0: 0,
          previtem: orMissing(items[i - 1], 'loop.previtem'), nextitem: orMissing(items[i + 1], 'loop.nextitem') }
        for (const [key, value] of Object.entries(now)) loop.set(key, value)
        charge(4)
        try {
          body(inner(items[i]).set('loop', loop), out)
        } catch (error) {
          if (error === BREAK) break
          if (error !== CONTINUE) throw error
        }
      }
      if (length === 0) otherwise?.(new Scope(outer), out)
    }
  }

  /** What can be set: a name, or an attribute of a namespace. @returns {Assign} */
  function parseTarget() {
    if (takes('(')) {
      const inner = nested(parseTargets)
      expect(')')
      return inner
    }
    const name = takeName(), field = takes('.') && takeName()
    if (!field) return (scope, value) => scope.set(name, value)
    return (scope, value) => {
      const object = scope.find(name)
      if (!(object instanceof Namespace)) return fail(`'${name}.${field}' is set, but ${name} is no namespace`)
      object.set(field, value)
    }
  }

  /** @returns {Assign} */
  function parseTargets() {
    const targets = [parseTarget()]
    while (takes(',')) targets.push(parseTarget())
    if (!targets[1]) return targets[0]
    return (scope, value) => {
      const items = iterate(value)
      if (items.length !== targets.length) fail(`${items.length} values cannot be given to ${targets.length} names`)
      items.forEach((item, i) => targets[i](scope, item))
    }
  }

  /** @returns {Parameter[]} */
  const parseParameters = () => parseItems(')', () => ({ name: takeName(), otherwise: takes('=') ? parseExpression() : undefined }))

  // Expressions, from what binds least

  /** Expressions up to a mark that is taken as well; commas make a tuple of them. @param {string} close @returns {Evaluate} */
  function parseTuple(close) {
    const from = at
    const parts = parseItems(close, parseExpression)
    if (parts.length === 1 && !sees(',', -2)) return parts[0]
    return from === at - 1 && close !== ')' ? failHere('a value') : part((scope) => Tuple.from(parts, (evaluate) => evaluate(scope)))
  }

  /** @type {() => Evaluate} */
  const parseExpression = () => nested(() => {
    const value = parseOr()
    if (!takes('if')) return value
    const condition = parseOr()
    const otherwise = takes('else') ? parseExpression() : () => new Missing('a condition without else')
    return part((scope) => (truthy(condition(scope)) ? value : otherwise)(scope))
  })

  /** `or` and `and`, which stop at the first value that decides. @type {(word: string, decides: boolean, next: () => Evaluate) => Evaluate} */
  const parseLogic = (word, decides, next) => {
    const a = next()
    if (!takes(word)) return a
    const b = nested(() => parseLogic(word, decides, next))
    return part((scope) => {
      const left = a(scope)
      return truthy(left) === decides ? left : b(scope)
    })
  }
  const parseOr = () => parseLogic('or', true, () => parseLogic('and', false, parseNot))

  /** @returns {Evaluate} */
  function parseNot() {
    if (!takes('not')) return parseOperators(0)
    const value = nested(parseNot)
    return part((scope) => !truthy(value(scope)))
  }

  /** Operators of one rank, from the left; there is one comparison alone. @param {number} rank @returns {Evaluate} */
  function parseOperators(rank) {
    if (!OPERATORS[rank]) return parseUnary()
    let value = parseOperators(rank + 1)
    do {
      const sign = sees('not') && sees('in', 1) ? 'not in' : tokens[at]?.value
      const operate = tokens[at]?.kind === 'string' ? undefined : OPERATORS[rank].get(sign)
      if (!operate) break
      at += sign === 'not in' ? 2 : 1
      const a = value, b = parseOperators(rank + 1)
      value = part((scope) => operate(a(scope), b(scope)))
    } while (rank > 0)
    return value
  }

  /** @returns {Evaluate} */
  function parseUnary(filters = true) {
    if (!takes('-')) return parsePostfix(parsePrimary(), filters)
    const value = nested(() => parseUnary(false))
    return parsePostfix(part((scope) => negate(0, value(scope))), filters)
  }

  function parsePrimary() {
    const { kind, value } = tokens[at++] ?? fail('it ends within an expression')
    if (kind === 'name') {
      const constant = CONSTANTS.get(value)
      if (value === 'varargs' || value === 'kwargs') fail(`'${value}' is not supported`)
      return constant !== undefined ? () => constant : part((scope) => scope.find(value))
    }
    if (kind === 'number' || kind === 'string') {
      const constant = kind === 'string' ? new Text(value) : toNumber(Number(value), /\D/.test(value))
      return () => constant
    }
    if (value === '(') return parseTuple(')')
    if (value === '[') {
      const items = parseItems(']', parseExpression)
      return part((scope) => items.map((item) => item(scope)))
    }
    if (value === '{') {
      const items = parseItems('}', () => ({ key: parseExpression(), value: (expect(':'), parseExpression()) }))
      return part((scope) => items.reduce((dict, { key, value }) => dict.put(key(scope), value(scope)), new Dict()))
    }
    at--
    return failHere('a value')
  }

  /** .name, [index], (arguments), and filters and tests where they may follow. @param {Evaluate} value @param {boolean} filters @param {boolean} [bare] */
  function parsePostfix(value, filters, bare) {
    for (; ; bare = false) {
      const v = value
      if (bare || (filters && takes('|'))) {
        const name = takeName()
        const given = takes('(') ? parseArguments() : noArguments
        value = part((scope) => filter(name, v(scope), ...given(scope)))
      } else if (filters && takes('is')) {
        const negated = takes('not'), name = takeName()
        const given = parseTestArguments()
        value = part((scope) => test(name, v(scope), ...given(scope)) !== negated)
      } else if (takes('.')) {
        const key = new Text(takeName())
        value = part((scope) => attribute(v(scope), key, true))
      } else if (takes('[')) value = parseSubscript(v)
      else if (takes('(')) value = parseCall(v)
      else return value
    }
  }

  /** @param {Evaluate} object */
  function parseSubscript(object) {
    const bound = () => (sees(':') || sees(']') ? () => null : parseExpression())
    const bounds = [bound()]
    while (takes(':')) bounds.push(bound())
    expect(']')
    return part((scope) => {
      const v = object(scope), [key, ...rest] = bounds.map((bound) => bound(scope))
      return rest.length > 0 ? slice(v, [key, ...rest]) : attribute(v, key)
    })
  }

  /** @param {Evaluate} callee @returns {Evaluate} */
  function parseCall(callee) {
    const given = parseArguments()
    return part((scope) => {
      const caller = scope.get(CALLER) // of a {% call %}, which hands it to its outermost call
      scope.delete(CALLER)
      const f = callee(scope)
      const [args, named] = given(scope)
      if (caller) named.set('caller', caller)
      if (f instanceof Missing) fail(`it calls ${f.what}, which is not there, or not supported`)
      return typeof f === 'function' ? f(args, named) : fail(`it calls ${describe(f)}`)
    })
  }

  /** @returns {Arguments} */
  function parseArguments() {
    const items = parseItems(')', () => {
      const name = sees('=', 1) && takeName()
      if (name) expect('=')
      return { name, value: parseExpression() }
    })
    const plain = items.filter(({ name }) => !name), named = items.slice(plain.length)
    if (!named.every(({ name }) => name)) fail('an argument without a name follows one that has one')
    return (scope) => [plain.map(({ value }) => value(scope)), new Map(named.map(({ name, value }) => [/** @type {string} */ (name), value(scope)]))]
  }

  /** A test takes arguments in brackets, or one without. @returns {Arguments} */
  function parseTestArguments() {
    if (takes('(')) return parseArguments()
    const { kind, value } = tokens[at]
    if (kind === 'mark' ? !'[{'.includes(value) : /^(else|or|and|if|is|not|in)$/.test(value)) return noArguments
    const argument = parsePostfix(parsePrimary(), false)
    return (scope) => [[argument(scope)], new Map()]
  }

  return parseBody()[0]
}
