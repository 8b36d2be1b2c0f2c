/**
 * Chat templates: the Jinja source in a model file makes a prompt of a conversation. Such sources come from strangers. They are run within
 * limits, on plain data, and what they make remembers which characters are a person's, so that those never become control tokens.
 */
import { NibbleError, isNibbleError } from './errors.js'
import { cutSegments } from './guard.js'
import { globals } from './jinja-library.js'
import { Scope, parse } from './jinja-parser.js'
import { Text, fail, fromData, restart } from './jinja-values.js'
import { NAMED_TEMPLATES } from './named-templates.js'

/** @typedef {import('./guard.js').Segment} Segment @typedef {import('./guard.js').Specials} Specials */

const SOURCE_MAX = 1 << 18 // characters; the longest in use have 20,000

/** @param {string} what @param {unknown} error @returns {never} */
function rethrow(what, error) {
  if (isNibbleError(error)) throw error
  // Whatever depth the limits miss in some engine: the stack ends in a RangeError.
  const message = error instanceof RangeError ? 'it nests or recurses too deeply' : /** @type {Error} */ (error).message
  throw new NibbleError('E_TEMPLATE', `${what}: ${message}`, { cause: error })
}

export class ChatTemplate {
  /** @param {string} source  Jinja @param {{now?: () => Date}} [options]  now: what strftime_now() tells */
  constructor(source, { now = () => new Date() } = {}) {
    this.now = now
    try {
      if (source.length > SOURCE_MAX) fail(`it has ${source.length} characters, the limit is ${SOURCE_MAX}`)
      this.program = parse(source)
    } catch (error) {
      rethrow('the chat template is malformed', error)
    }
  }

  /** @param {Record<string, unknown>} context */
  run(context) {
    try {
      const scope = new Scope()
      for (const [name, value] of globals(this.now())) scope.set(name, value)
      restart()
      for (const [name, value] of Object.entries({ tools: null, documents: null, add_generation_prompt: false, ...context })) {
        if (value !== undefined) scope.set(name, fromData(value, name !== 'bos_token' && name !== 'eos_token'))
      }
      restart() // what the caller's getters did is not the template's
      const out = new Text()
      this.program(new Scope(scope), out)
      return out
    } catch (error) {
      return rethrow('the chat template fails', error)
    }
  }

  /** The prompt. @param {Record<string, unknown>} context  messages, tools, documents, add_generation_prompt, bos_token, eos_token, and whatever else it knows */
  render(context) {
    return this.run(context).text
  }

  /**
   * The prompt in pieces: control tokens are to be recognised in those that are special. Nearly always it is one; text of the context that
   * spells a control token, or would complete one, is cut out.
   * @param {Record<string, unknown>} context @param {Specials} specials @returns {Segment[]}
   */
  segments(context, specials) {
    const { text, mask } = this.run(context)
    return cutSegments(text, mask, specials)
  }
}

/** @param {string} source  Jinja, or the name of a template of named-templates.js @param {{now?: () => Date}} [options] */
export function compileTemplate(source, options) {
  if (!/^[\w.-]{1,40}$/.test(source)) return new ChatTemplate(source, options)
  if (Object.hasOwn(NAMED_TEMPLATES, source)) return new ChatTemplate(NAMED_TEMPLATES[source], options)
  throw new NibbleError('E_TEMPLATE', `there is no chat template named '${source}'; there are ${Object.keys(NAMED_TEMPLATES).join(', ')}`)
}
