/**
 * Chat templates: the Jinja source in a model file makes a prompt of a conversation. Such sources come from strangers. They are run within
 * limits, on plain data, and what they make remembers which characters are a person's, so that those never become control tokens.
 */
import { parse, tokenize } from '@huggingface/jinja'
import { NibbleError, isNibbleError } from './errors.js'
import { cutSegments } from './guard.js'
import { Runner } from './jinja.js'
import { globals } from './jinja-library.js'
import { Text, fail, fromData } from './jinja-values.js'
import { NAMED_TEMPLATES } from './named-templates.js'

/**
 * @typedef {import('./guard.js').Segment} Segment
 * @typedef {import('./guard.js').Specials} Specials
 * @typedef {{value: string, type: string}} Token
 */

const SOURCE_MAX = 1 << 18 // characters; the longest in use have 20,000
const SPACES_MAX = 2000 // in one run: the library's search for tags takes the square of it
const NESTING_MAX = 800 // in the units of checkNesting

const BLOCKS = new Set(['if', 'for', 'macro', 'call', 'filter'])
const OPENING = new Set(['OpenParen', 'OpenSquareBracket', 'OpenCurlyBracket'])
const CLOSING = new Set(['CloseParen', 'CloseSquareBracket', 'CloseCurlyBracket'])
const CHAINING = new Set(['AdditiveBinaryOperator', 'MultiplicativeBinaryOperator', 'ExponentiationBinaryOperator', 'ComparisonBinaryOperator', 'UnaryOperator', 'Dot', 'Pipe'])
const CHAINING_WORDS = new Set(['not', 'if', 'else', 'and', 'or', 'in', 'is'])

/**
 * The parser recurses without limit, and so does what walks its tree. An upper bound of how deep that goes is known from the tokens alone: each
 * bracket, block and operator that is open or chained at a place counts.
 * @param {Token[]} tokens
 */
function checkNesting(tokens) {
  let total = 0
  let block = false
  /** @type {{base: number, chain: number}[]} */
  const open = [{ base: 0, chain: 0 }]
  const add = (/** @type {number} */ n) => {
    open[open.length - 1].chain += n
    total += n
    if (total > NESTING_MAX) fail('it nests its brackets, blocks or operators too deeply')
  }
  const push = (/** @type {number} */ base) => {
    open.push({ base, chain: 0 })
    total += base
    add(0)
  }
  const pop = () => {
    const { base, chain } = open.length > 1 ? /** @type {{base: number, chain: number}} */ (open.pop()) : { base: 0, chain: 0 }
    total -= base + chain
  }
  tokens.forEach(({ type, value }, i) => {
    if (type === 'OpenStatement') {
      const name = tokens[i + 1]?.value ?? ''
      if (name.startsWith('end')) pop()
      if (name === 'elif') add(2)
      block = BLOCKS.has(name) || (name === 'set' && setsBlock(tokens, i))
      push(0)
    } else if (type === 'OpenExpression') push(0)
    else if (type === 'CloseExpression') pop()
    else if (type === 'CloseStatement') {
      pop()
      if (block) push(4)
      block = false
    } else if (OPENING.has(type)) {
      add(1)
      push(8)
    } else if (CLOSING.has(type)) pop()
    else if (type === 'Comma') {
      total -= open[open.length - 1].chain
      open[open.length - 1].chain = 0
    } else if (CHAINING.has(type) || (type === 'Identifier' && CHAINING_WORDS.has(value))) add(1)
  })
}

/** Whether {% set x %} has a body. @param {Token[]} tokens @param {number} at */
function setsBlock(tokens, at) {
  while (at < tokens.length && tokens[at].type !== 'CloseStatement' && tokens[at].type !== 'Equals') at++
  return tokens[at]?.type !== 'Equals'
}

/**
 * The parser takes tests without arguments only. `x is divisibleby(3)` binds as a filter would, so it becomes one, named 'is divisibleby'.
 * @param {Token[]} tokens
 * @returns {Token[]}
 */
function testsWithArguments(tokens) {
  /** @type {Token[]} */
  const out = []
  const token = (/** @type {string} */ type, value = '') => ({ type, value })
  for (let i = 0; i < tokens.length; i++) {
    const not = tokens[i + 1]?.type === 'Identifier' && tokens[i + 1].value === 'not' ? 1 : 0
    const name = tokens[i + 1 + not], next = tokens[i + 2 + not]
    const literal = next?.type === 'StringLiteral' || next?.type === 'NumericLiteral'
    if (tokens[i].type !== 'Identifier' || tokens[i].value !== 'is' || name?.type !== 'Identifier' || !(literal || next?.type === 'OpenParen')) {
      out.push(tokens[i])
      continue
    }
    out.push(token('Pipe', '|'), token('Identifier', `is ${not ? 'not ' : ''}${name.value}`))
    i += 1 + not
    if (literal) {
      out.push(token('OpenParen', '('), next, token('CloseParen', ')'))
      i++
    }
  }
  return out
}

/** @param {string} what @param {unknown} error @returns {never} */
function rethrow(what, error) {
  if (isNibbleError(error)) throw error
  // Whatever depth the limits miss in some engine: the stack ends in a RangeError.
  const message = error instanceof RangeError ? 'it nests or recurses too deeply' : /** @type {Error} */ (error).message
  throw new NibbleError('E_TEMPLATE', `${what}: ${message}`, { cause: error })
}

export class ChatTemplate {
  /**
   * @param {string} source  Jinja
   * @param {{now?: () => Date}} [options]  now: what strftime_now() tells
   */
  constructor(source, { now = () => new Date() } = {}) {
    this.now = now
    try {
      if (source.length > SOURCE_MAX) fail(`it has ${source.length} characters, the limit is ${SOURCE_MAX}`)
      if (new RegExp(`\\s{${SPACES_MAX + 1}}`).test(source)) fail(`it has more than ${SPACES_MAX} spaces in a row`)
      /** @type {Token[]} */
      const tokens = tokenize(source.replace(/\r\n?/g, '\n'), { trim_blocks: true, lstrip_blocks: true })
      checkNesting(tokens)
      /** @type {import('./jinja.js').Node} */
      this.program = parse(/** @type {any} */ (testsWithArguments(tokens)))
    } catch (error) {
      rethrow('the chat template is malformed', error)
    }
  }

  /**
   * @param {Record<string, unknown>} context
   * @returns {Text}
   */
  run(context) {
    try {
      const names = globals(this.now)
      names.set('raise_exception', ([message]) => {
        throw new NibbleError('E_TEMPLATE', `the chat template refuses these messages: ${message instanceof Text ? message.text : 'it gives no reason'}`)
      })
      for (const [name, value] of Object.entries({ tools: null, documents: null, add_generation_prompt: false, ...context })) {
        if (value !== undefined) names.set(name, fromData(value, name !== 'bos_token' && name !== 'eos_token'))
      }
      return new Runner(names).run(this.program)
    } catch (error) {
      return rethrow('the chat template fails', error)
    }
  }

  /**
   * The prompt as text.
   * @param {Record<string, unknown>} context  messages, tools, documents, add_generation_prompt, bos_token, eos_token, and whatever else it knows
   * @returns {string}
   */
  render(context) {
    return this.run(context).text
  }

  /**
   * The prompt in pieces: control tokens are to be recognised in those that are special. Nearly always it is one; text of the context that
   * spells a control token, or would complete one, is cut out.
   * @param {Record<string, unknown>} context
   * @param {Specials} specials
   * @returns {Segment[]}
   */
  segments(context, specials) {
    const { text, mask } = this.run(context)
    return cutSegments(text, mask, specials)
  }
}

/**
 * @param {string} source  Jinja, or the name of a template of named-templates.js
 * @param {{now?: () => Date}} [options]
 */
export function compileTemplate(source, options) {
  if (!/^[\w.-]{1,40}$/.test(source)) return new ChatTemplate(source, options)
  if (Object.hasOwn(NAMED_TEMPLATES, source)) return new ChatTemplate(NAMED_TEMPLATES[source], options)
  throw new NibbleError('E_TEMPLATE', `there is no chat template named '${source}'; there are ${Object.keys(NAMED_TEMPLATES).join(', ')}`)
}
