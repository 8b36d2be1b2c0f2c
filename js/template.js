/**
 * Chat templates: the Jinja source of a model file, rendered within limits.
 */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'
import { NibbleError, isNibbleError } from './errors.js'
import { guard } from './guard.js'

/** @typedef {{text: string, special: boolean}} Segment */

const SOURCE_MAX = 1 << 18
const STEPS_MAX = 2_000_000

// The declarations of the package name their own files without extensions, which checkJs does not follow here.
const Base = /** @type {new (environment: unknown) => {run(program: unknown): {value: unknown}, evaluate(node: unknown, environment: unknown): unknown}} */ (/** @type {unknown} */ (Interpreter))

class Bounded extends Base {
  steps = 0

  /** @param {any} node @param {any} environment @returns {any} */
  evaluate(node, environment) {
    if (++this.steps > STEPS_MAX) throw new NibbleError('E_TEMPLATE', `the chat template takes more than ${STEPS_MAX} steps`)
    return super.evaluate(node, environment)
  }
}

export class ChatTemplate {
  /** @param {string} source */
  constructor(source) {
    if (source.length > SOURCE_MAX) throw new NibbleError('E_TEMPLATE', `the chat template has ${source.length} characters, the limit is ${SOURCE_MAX}`)
    try {
      this.program = parse(tokenize(source, { trim_blocks: true, lstrip_blocks: true }))
    } catch (error) {
      throw new NibbleError('E_TEMPLATE', `the chat template is not valid: ${/** @type {Error} */ (error).message}`, { cause: error })
    }
  }

  /** @param {Record<string, unknown>} context @returns {string} */
  render(context) {
    const environment = /** @type {any} */ (new Environment())
    const globals = { true: true, false: false, none: null, True: true, False: false, None: null,
      raise_exception: (/** @type {string} */ message) => {
        throw new NibbleError('E_TEMPLATE', `the chat template refuses this conversation: ${message}`)
      },
      range: (/** @type {number} */ a, /** @type {number | undefined} */ b) => Array.from({ length: Math.min(b === undefined ? a : b - a, 10000) }, (_, i) => i + (b === undefined ? 0 : a)),
      ...context }
    for (const [key, value] of Object.entries(globals)) environment.set(key, value)
    try {
      return String(new Bounded(environment).run(this.program).value)
    } catch (error) {
      if (isNibbleError(error)) throw error
      throw new NibbleError('E_TEMPLATE', `the chat template fails: ${/** @type {Error} */ (error).message}`, { cause: error })
    }
  }

  /**
   * The rendered text, in pieces: control tokens are to be recognised in those that are special and nowhere else.
   * @param {Record<string, unknown>} context
   * @param {string[]} specials  the spellings of the control tokens
   * @returns {Segment[]}
   */
  segments(context, specials) {
    return guard(context, specials, (guarded) => this.render(guarded))
  }
}

/** @param {string} source  Jinja */
export const compileTemplate = (source) => new ChatTemplate(source)
