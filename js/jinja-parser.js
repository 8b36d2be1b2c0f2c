/**
 * Jinja source to functions that run it. The grammar is that of Python's Jinja2 less what chat templates have no use for:
 * blocks, inheritance, imports, raw text. More than 500 lines in one file: statements and expressions parse each other, and apart they would
 * import each other in a circle.
 */
import { Break, Continue, Scope } from './jinja.js'
import { lex } from './jinja-lexer.js'
import { Builder, Dict, Float, Missing, Namespace, None, Text, Tuple, compare, describe, equal, fail, truthy } from './jinja-values.js'

/**
 * @typedef {import('./jinja-values.js').Value} Value
 * @typedef {import('./jinja-values.js').Named} Named
 * @typedef {import('./jinja.js').Runner} Runner
 * @typedef {(scope: Scope, run: Runner) => Value} Evaluate
 * @typedef {(scope: Scope, out: Builder, run: Runner) => void} Execute
 * @typedef {(scope: Scope, value: Value, run: Runner) => void} Assign
 * @typedef {(scope: Scope, run: Runner) => [Value[], Named]} Arguments
 * @typedef {{name: string, otherwise: Evaluate | undefined}} Parameter
 */

const NESTING_MAX = 150

/** @type {Map<string, Value>} */
const CONSTANTS = new Map(/** @type {[string, Value][]} */ ([['true', true], ['True', true], ['false', false], ['False', false], ['none', None], ['None', None]]))

/** An expression of several parts: counted, and kept from recursing too deeply. @param {Evaluate} evaluate @returns {Evaluate} */
const part = (evaluate) => (scope, run) => {
  run.enter()
  const value = evaluate(scope, run)
  run.depth--
  return value
}

/** @param {Execute} body @param {Scope} scope @param {Runner} run */
function capture(body, scope, run) {
  const out = new Builder(run.charge)
  body(scope, out, run)
  return out.done()
}

/** @type {Record<string, (a: Value, b: Value, run: Runner) => boolean>} */
const COMPARISONS = {
  '==': (a, b, run) => equal(a, b, run.charge),
  '!=': (a, b, run) => !equal(a, b, run.charge),
  '<': (a, b, run) => compare(a, b, run.charge) < 0,
  '>': (a, b, run) => compare(a, b, run.charge) > 0,
  '<=': (a, b, run) => compare(a, b, run.charge) <= 0,
  '>=': (a, b, run) => compare(a, b, run.charge) >= 0,
  in: (a, b, run) => run.contains(b, a),
  'not in': (a, b, run) => !run.contains(b, a),
}

/** @type {Arguments} */
const noArguments = () => [[], new Map()]

/** @param {string} name @param {Parameter[]} parameters @param {Execute} body @param {Scope} home  what its names mean @returns {Value} */
function makeMacro(name, parameters, body, home) {
  return (args, named) => {
    const scope = new Scope(home), { run } = home, rest = new Dict()
    run.enter()
    scope.names.set('caller', new Missing('caller'))
    for (const [key, value] of named) {
      if (key === 'caller') scope.names.set(key, value)
      else if (!parameters.some((parameter) => parameter.name === key)) rest.set(new Text(key), value)
    }
    scope.names.set('varargs', Tuple.from(args.slice(parameters.length)))
    scope.names.set('kwargs', rest)
    for (const [i, { name: key }] of parameters.entries()) scope.names.set(key, args[i] ?? named.get(key) ?? new Missing(`'${key}'`))
    for (const [i, { name: key, otherwise }] of parameters.entries()) {
      if (otherwise && args[i] === undefined && !named.has(key)) scope.names.set(key, otherwise(scope, run))
    }
    const text = capture(body, scope, run)
    run.depth--
    return text
  }
}

/** @param {string} source @returns {Execute} */
export function parse(source) {
  const tokens = lex(source)
  let at = 0
  let depth = 0

  // Tokens

  /** @param {string} value  of a name or mark @param {number} [ahead] */
  function sees(value, ahead = 0) {
    const token = tokens[at + ahead]
    return token !== undefined && token.value === value && (token.kind === 'name' || token.kind === 'mark')
  }
  /** @param {string} value */
  function takes(value) {
    const seen = sees(value)
    if (seen) at++
    return seen
  }
  /** @param {string} value */
  function expect(value) {
    if (!takes(value)) fail(`'${value}' is expected ${here()}`)
  }
  function here() {
    return at < tokens.length ? `at '${tokens[at].value.slice(0, 20)}'` : 'at its end'
  }
  /** @returns {string} */
  function takeName() {
    const token = tokens[at++]
    if (token?.kind === 'name') return token.value
    at--
    return fail(`a name is expected ${here()}`)
  }
  /** @template T @param {() => T} parse @returns {T} */
  function nested(parse) {
    if (++depth > NESTING_MAX) fail(`it nests deeper than ${NESTING_MAX}`)
    const made = parse()
    depth--
    return made
  }
  /** Items between commas, up to a mark that is taken as well. @template T @param {string} close @param {() => T} item @returns {T[]} */
  function parseItems(close, item) {
    /** @type {T[]} */
    const items = []
    while (!takes(close)) {
      if (items.length > 0) expect(',')
      if (items.length > 0 && takes(close)) break
      items.push(item())
    }
    return items
  }

  // Statements

  /** Up to one of the tags, whose opening and name are taken. @param {...string} ends @returns {[Execute, string]} */
  function parseBody(...ends) {
    return nested(() => {
      /** @type {Execute[]} */
      const steps = []
      const run = /** @type {Execute} */ ((scope, out, runner) => {
        for (const step of steps) step(scope, out, runner)
      })
      while (at < tokens.length) {
        const { kind, value } = tokens[at++]
        if (kind === 'data') {
          const text = new Text(value)
          steps.push((scope, out) => out.add(text))
        } else if (value === '{{') {
          const evaluate = parseTuple()
          expect('}}')
          steps.push((scope, out, runner) => out.add(runner.text(evaluate(scope, runner))))
        } else {
          const name = takeName()
          if (ends.includes(name)) return /** @type {[Execute, string]} */ ([run, name])
          const step = parseStatement(name)
          steps.push((scope, out, runner) => {
            runner.enter()
            step(scope, out, runner)
            runner.depth--
          })
        }
      }
      return ends.length > 0 ? fail(`{% ${ends[ends.length - 1]} %} is missing`) : [run, '']
    })
  }

  /** The body of a tag that has one. @param {string} end */
  function parseBlock(end) {
    expect('%}')
    const [body] = parseBody(end)
    expect('%}')
    return body
  }

  /** @param {string} name @returns {Execute} */
  function parseStatement(name) {
    switch (name) {
      case 'if': return parseIf()
      case 'for': return parseLoop()
      case 'set': return parseSet()
      case 'generation': return parseBlock('endgeneration')
      case 'break':
      case 'continue':
        expect('%}')
        return () => {
          throw name === 'break' ? new Break('{% break %} stands outside of a loop') : new Continue('{% continue %} stands outside of a loop')
        }
      case 'with': {
        const sets = parseItems('%}', () => {
          const assign = parseTarget(false)
          expect('=')
          return { assign, value: parseExpression() }
        })
        const [body] = parseBody('endwith')
        expect('%}')
        return (scope, out, run) => {
          const inner = new Scope(scope)
          for (const { assign, value } of sets) assign(inner, value(scope, run), run)
          body(inner, out, run)
        }
      }
      case 'filter': {
        const filter = parseFilters((scope) => scope.names.get(' body') ?? None, true)
        const body = parseBlock('endfilter')
        return (scope, out, run) => {
          const inner = new Scope(scope)
          inner.names.set(' body', capture(body, new Scope(scope), run))
          out.add(run.text(filter(inner, run)))
        }
      }
      case 'macro': {
        const macro = takeName()
        expect('(')
        const parameters = parseParameters()
        const body = parseBlock('endmacro')
        return (scope) => void scope.names.set(macro, makeMacro(macro, parameters, body, scope))
      }
      case 'call': {
        const parameters = takes('(') ? parseParameters() : []
        const call = parseExpression()
        const body = parseBlock('endcall')
        return (scope, out, run) => {
          run.caller = makeMacro('caller', parameters, body, scope)
          out.add(run.text(call(scope, run)))
        }
      }
      default: return fail(`{% ${name} %} is not a tag that chat templates may use, or it stands at a wrong place`)
    }
  }

  /** @returns {Execute} */
  function parseIf() {
    /** @type {[Evaluate, Execute][]} */
    const branches = []
    /** @type {Execute | undefined} */
    let otherwise
    for (let tag = 'if'; tag !== 'endif';) {
      const test = tag === 'else' ? undefined : parseTuple()
      expect('%}')
      const [body, next] = parseBody(...(tag === 'else' ? [] : ['elif', 'else']), 'endif')
      if (test) branches.push([test, body])
      else otherwise = body
      tag = next
    }
    expect('%}')
    return (scope, out, run) => (branches.find(([test]) => truthy(test(scope, run)))?.[1] ?? otherwise)?.(scope, out, run)
  }

  /** @returns {Execute} */
  function parseSet() {
    const assign = parseTargets()
    if (takes('=')) {
      const value = parseTuple()
      expect('%}')
      return (scope, out, run) => assign(scope, value(scope, run), run)
    }
    const filter = parseFilters((scope) => scope.names.get(' body') ?? None)
    const body = parseBlock('endset')
    return (scope, out, run) => {
      const inner = new Scope(scope)
      inner.names.set(' body', capture(body, new Scope(scope), run))
      assign(scope, filter(inner, run), run)
    }
  }

  /** @returns {Execute} */
  function parseLoop() {
    const assign = parseTargets()
    expect('in')
    const from = parseTuple(false)
    const test = takes('if') ? parseExpression() : undefined
    if (sees('recursive')) fail('recursive loops are not supported')
    expect('%}')
    const [body, next] = parseBody('else', 'endfor')
    const otherwise = next === 'else' ? parseBlock('endfor') : void expect('%}')
    return (outer, out, run) => {
      const all = run.iterate(from(outer, run))
      const items = test ? all.filter((item) => {
        const scope = new Scope(outer)
        assign(scope, item, run)
        return truthy(test(scope, run))
      }) : all
      if (items.length === 0) return otherwise?.(new Scope(outer), out, run)
      const loop = new Namespace(), { fields } = loop
      fields.set('length', items.length)
      fields.set('depth', 1) // counts recursive loops, which are not to be had
      fields.set('depth0', 0)
      let i = 0
      fields.set('cycle', (args) => args[i % args.length] ?? new Missing('what loop.cycle() is to give'))
      /** @type {Value[] | undefined} */
      let last
      fields.set('changed', (args) => {
        const same = last !== undefined && equal(last, args, run.charge)
        last = args
        return !same
      })
      const { depth } = run
      for (; i < items.length; i++) {
        const left = items.length - i
        const now = { index: i + 1, index0: i, revindex: left, revindex0: left - 1, first: i === 0, last: left === 1,
          previtem: items[i - 1] ?? new Missing('loop.previtem'), nextitem: items[i + 1] ?? new Missing('loop.nextitem') }
        for (const [key, value] of Object.entries(now)) fields.set(key, value)
        const scope = new Scope(outer)
        scope.names.set('loop', loop)
        assign(scope, items[i], run)
        run.charge(4)
        try {
          body(scope, out, run)
        } catch (error) {
          if (!(error instanceof Break || error instanceof Continue)) throw error
          run.depth = depth
          if (error instanceof Break) break
        }
      }
    }
  }

  /** What can be set: a name, or an attribute of a namespace. @param {boolean} [attributes] @returns {Assign} */
  function parseTarget(attributes = true) {
    if (takes('(')) {
      const inner = parseTargets()
      expect(')')
      return inner
    }
    const name = takeName()
    if (!attributes || !takes('.')) return (scope, value) => void scope.names.set(name, value)
    const field = takeName()
    return (scope, value) => {
      const object = scope.find(name)
      if (!(object instanceof Namespace)) return fail(`'${name}.${field}' is set, but ${name} is no namespace`)
      object.fields.set(field, value)
    }
  }

  /** @returns {Assign} */
  function parseTargets() {
    const targets = [parseTarget()]
    const single = !sees(',')
    while (takes(',') && !sees('in') && !sees('=')) targets.push(parseTarget())
    if (single) return targets[0]
    return (scope, value, run) => {
      const items = run.iterate(value)
      if (items.length !== targets.length) fail(`${items.length} values cannot be given to ${targets.length} names`)
      items.forEach((item, i) => targets[i](scope, item, run))
    }
  }

  /** @returns {Parameter[]} */
  function parseParameters() {
    return parseItems(')', () => ({ name: takeName(), otherwise: takes('=') ? parseExpression() : undefined }))
  }

  // Expressions, from what binds least

  /** Expressions between commas, which make a tuple; the loop and the tests of ifs keep `if` for themselves. @returns {Evaluate} */
  function parseTuple(conditional = true) {
    const one = () => (conditional ? parseExpression() : parseOr())
    const parts = [one()]
    const single = !sees(',')
    while (takes(',') && ![')', '%}', '}}', '='].some((mark) => sees(mark))) parts.push(one())
    return single ? parts[0] : part((scope, run) => Tuple.from(parts, (evaluate) => evaluate(scope, run)))
  }

  /** @returns {Evaluate} */
  function parseExpression() {
    return nested(() => {
      let value = parseOr()
      while (takes('if')) {
        const yes = value, test = parseOr()
        const no = takes('else') ? parseExpression() : () => new Missing('a condition without else')
        value = part((scope, run) => (truthy(test(scope, run)) ? yes(scope, run) : no(scope, run)))
      }
      return value
    })
  }

  /** @returns {Evaluate} */
  function parseOr() {
    let value = parseAnd()
    while (takes('or')) {
      const a = value, b = parseAnd()
      value = part((scope, run) => {
        const left = a(scope, run)
        return truthy(left) ? left : b(scope, run)
      })
    }
    return value
  }

  /** @returns {Evaluate} */
  function parseAnd() {
    let value = parseNot()
    while (takes('and')) {
      const a = value, b = parseNot()
      value = part((scope, run) => {
        const left = a(scope, run)
        return truthy(left) ? b(scope, run) : left
      })
    }
    return value
  }

  /** @returns {Evaluate} */
  function parseNot() {
    if (!takes('not')) return parseComparison()
    const value = nested(() => parseNot())
    return part((scope, run) => !truthy(value(scope, run)))
  }

  /** a < b < c holds where both do. @returns {Evaluate} */
  function parseComparison() {
    const first = parseChain(['+', '-'], () => parseConcat())
    /** @type {[string, Evaluate][]} */
    const rest = []
    for (;;) {
      const { value = '' } = tokens[at] ?? {}
      const operator = sees('not') && sees('in', 1) ? 'not in' : value
      if (!Object.hasOwn(COMPARISONS, operator) || !sees(value)) break
      at += operator === 'not in' ? 2 : 1
      rest.push([operator, parseChain(['+', '-'], () => parseConcat())])
    }
    if (rest.length === 0) return first
    return part((scope, run) => {
      let a = first(scope, run)
      return rest.every(([operator, next]) => {
        const b = next(scope, run)
        run.chargeSize(a)
        run.chargeSize(b)
        const holds = COMPARISONS[operator](a, b, run)
        a = b
        return holds
      })
    })
  }

  /** @returns {Evaluate} */
  function parseConcat() {
    const product = () => parseChain(['*', '/', '//', '%'], () => parseChain(['**'], () => parseUnary()))
    let value = product()
    while (takes('~')) {
      const a = value, b = product()
      value = part((scope, run) => run.concat(run.text(a(scope, run)), run.text(b(scope, run))))
    }
    return value
  }

  /** Operators of one rank, from the left. @param {string[]} operators @param {() => Evaluate} next @returns {Evaluate} */
  function parseChain(operators, next) {
    let value = next()
    for (let operator; (operator = operators.find((o) => takes(o)));) {
      const a = value, b = next(), kind = operator
      value = part((scope, run) => run.operate(kind, a(scope, run), b(scope, run)))
    }
    return value
  }

  /** @returns {Evaluate} */
  function parseUnary(filters = true) {
    const sign = ['-', '+'].find((mark) => takes(mark))
    let value = sign ? nested(() => parseUnary(false)) : parsePostfix(parsePrimary())
    if (sign) {
      const a = value
      value = part((scope, run) => run.sign(sign === '-' ? -1 : 1, a(scope, run)))
    }
    return filters ? parseFilters(value) : value
  }

  /** @returns {Evaluate} */
  function parsePrimary() {
    const { kind, value } = tokens[at++] ?? fail('it ends within an expression')
    if (kind === 'name') {
      const constant = CONSTANTS.get(value)
      return constant === undefined ? (scope, run) => (run.charge(1), scope.find(value) ?? new Missing(`'${value}'`)) : () => constant
    }
    if (kind === 'number') {
      const number = Number(value)
      return /^\d+$/.test(value) ? () => number : () => new Float(number)
    }
    if (kind === 'string') {
      let text = value
      while (tokens[at]?.kind === 'string') text += tokens[at++].value
      const made = new Text(text)
      return () => made
    }
    if (value === '(') {
      if (takes(')')) return () => new Tuple()
      const inner = parseTuple()
      expect(')')
      return inner
    }
    if (value === '[') {
      const items = parseItems(']', () => parseExpression())
      return part((scope, run) => items.map((item) => item(scope, run)))
    }
    if (value === '{') {
      const items = parseItems('}', () => {
        const key = parseExpression()
        expect(':')
        return [key, parseExpression()]
      })
      return part((scope, run) => items.reduce((dict, [key, item]) => dict.set(key(scope, run), item(scope, run)), new Dict()))
    }
    at--
    return fail(`a value is expected ${here()}`)
  }

  /** What follows a value: .name, [index], (arguments). @param {Evaluate} value @returns {Evaluate} */
  function parsePostfix(value) {
    for (;;) {
      const object = value
      if (takes('.')) {
        const { kind, value: name } = tokens[at++] ?? fail('it ends behind a dot')
        if (kind !== 'name' && kind !== 'number') fail(`a dot is followed by '${name}'`)
        const key = kind === 'name' ? new Text(name) : Number(name)
        value = part((scope, run) => run.attribute(object(scope, run), key, true))
      } else if (takes('[')) value = parseSubscript(object)
      else if (sees('(')) value = parseCall(object)
      else return value
    }
  }

  /** @param {Evaluate} object @returns {Evaluate} */
  function parseSubscript(object) {
    /** @type {(Evaluate | undefined)[]} */
    const bounds = [undefined]
    while (!takes(']')) {
      if (takes(':')) bounds.push(undefined)
      else if (bounds[bounds.length - 1]) fail(`']' is expected ${here()}`)
      else bounds[bounds.length - 1] = parseTuple()
    }
    const [key] = bounds
    if (bounds.length > 3 || (bounds.length === 1 && !key)) fail('an index or slice is malformed')
    if (bounds.length === 1 && key) return part((scope, run) => run.attribute(object(scope, run), key(scope, run), false))
    return part((scope, run) => {
      const of = object(scope, run)
      const [start, stop, step] = bounds.map((bound) => {
        const v = bound ? bound(scope, run) : None
        return v === None ? undefined : typeof v === 'number' ? v : fail(`a slice is given ${describe(v)}`)
      })
      return run.slice(of, start, stop, step)
    })
  }

  /** @param {Evaluate} callee @returns {Evaluate} */
  function parseCall(callee) {
    const given = parseArguments()
    return part((scope, run) => {
      const { caller } = run // of a {% call %}, which hands it to its outermost call
      run.caller = undefined
      const f = callee(scope, run)
      const [args, named] = given(scope, run)
      if (caller) named.set('caller', caller)
      if (typeof f !== 'function') return fail(`it calls ${f instanceof Missing ? `${f.what}, which is not there` : describe(f)}`)
      return f(args, named)
    })
  }

  /** @returns {Arguments} */
  function parseArguments() {
    expect('(')
    const items = parseItems(')', () => {
      const spread = takes('**') ? 2 : takes('*') ? 1 : 0
      const name = !spread && sees('=', 1) ? takeName() : undefined
      if (name !== undefined) expect('=')
      return { spread, name, value: parseExpression() }
    })
    return (scope, run) => {
      /** @type {Value[]} */
      const args = []
      /** @type {Named} */
      const named = new Map()
      for (const { spread, name, value } of items) {
        const v = value(scope, run)
        if (spread) run.chargeSize(v)
        if (name !== undefined) named.set(name, v)
        else if (spread === 1) for (const item of run.iterate(v)) args.push(item)
        else if (spread === 0) args.push(v)
        else if (!(v instanceof Dict)) fail(`${describe(v)} follows ** in a call`)
        else for (const [key, item] of v.pairs()) named.set(run.text(key).text, item)
      }
      if (args.length > 1000 || named.size > 1000) fail('it calls something with more than 1000 arguments')
      return [args, named]
    }
  }

  /** Filters and tests behind a value. @param {Evaluate} value @param {boolean} [bare]  the first filter has no | before it @returns {Evaluate} */
  function parseFilters(value, bare = false) {
    for (; ; bare = false) {
      const v = value
      if (bare || takes('|')) {
        const name = takeName()
        const given = sees('(') ? parseArguments() : noArguments
        value = part((scope, run) => run.filter(name, v(scope, run), ...given(scope, run)))
      } else if (takes('is')) {
        const negated = takes('not')
        const given = parseTestArguments(takeName())
        value = part((scope, run) => run.test(given.name, v(scope, run), given.arguments(scope, run)[0]) !== negated)
      } else if (sees('(')) value = parseCall(v)
      else return value
    }
  }

  /** A test takes arguments in brackets, or one without. @param {string} name @returns {{name: string, arguments: Arguments}} */
  function parseTestArguments(name) {
    if (sees('(')) return { name, arguments: parseArguments() }
    const { kind = '', value = '' } = tokens[at] ?? {}
    const begins = kind === 'string' || kind === 'number' || (kind === 'name' ? !['else', 'or', 'and', 'if', 'is', 'not', 'in'].includes(value) : value === '[' || value === '{')
    if (!begins) return { name, arguments: noArguments }
    const argument = parsePostfix(parsePrimary())
    return { name, arguments: (scope, run) => [[argument(scope, run)], new Map()] }
  }

  return parseBody()[0]
}
