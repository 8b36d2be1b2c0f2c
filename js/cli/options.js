/**
 * What commands of the command line share in reading their arguments.
 */
import { parseArgs } from 'node:util'

/**
 * @typedef {object} OptionSpec
 * @property {'string' | 'boolean' | 'integer' | 'number'} type
 * @property {string} [value]  what the value is called in the help
 * @property {string} help
 * @property {boolean} [multiple]
 * @property {string | number} [default]
 * @property {string} [short]
 *
 * @typedef {Record<string, any>} Values  options by their names, with the types of their specification
 *
 * @typedef {object} Call
 * @property {Values} values  @property {string[]} args
 *
 * @typedef {object} Command
 * @property {string} summary  @property {string} usage  @property {string} [details]
 * @property {Record<string, OptionSpec>} options
 * @property {[number, number]} positionals  fewest and most
 * @property {(call: Call, signal: AbortSignal) => Promise<object>} run  resolves to what --json prints
 * @property {(result: object) => boolean} [failed]  whether that says that something was found wanting: the exit status is then 1
 */

/** The command was called wrongly: the message is followed by how to call it. */
export class UsageError extends Error {}

/** @type {Record<string, OptionSpec>} */
export const JSON_OPTION = { json: { type: 'boolean', help: 'print one JSON object' } }

/** Of commands that read a model by its URL. @type {Record<string, OptionSpec>} */
export const CACHE_OPTION = { 'no-cache': { type: 'boolean', help: 'keep nothing that is fetched from a URL, and read nothing that was kept (`nibble cache` lists it)' } }

/** Of every command that runs a model. @type {Record<string, OptionSpec>} */
export const MODEL_OPTIONS = {
  ...JSON_OPTION,
  ctx: { type: 'integer', value: 'N', help: 'tokens of the context (default: what the model was trained on, at most 4096)' },
  variant: { type: 'string', value: 'V', help: 'simd128 or relaxed (default: the fastest this Node runs)' },
  threads: { type: 'integer', value: 'N', help: 'threads (default: as many as are fastest here)' },
  ...CACHE_OPTION,
  'float-activations': { type: 'boolean', help: 'multiply by floats instead of int8: slow and exact' },
  integrity: { type: 'string', value: 'H', multiple: true, help: 'sha256-<base64> that the file must have (of a split model, once for each part)' },
}

/** How tokens are chosen; defaults where the model's file recommends nothing. @type {Record<string, OptionSpec>} */
export const SAMPLING_OPTIONS = {
  'max-tokens': { type: 'integer', value: 'N', help: 'most tokens to generate (default: until the text or the context ends)' },
  temperature: { type: 'number', value: 'T', help: 'randomness; 0: always the most probable token (default 0.8)' },
  'top-k': { type: 'integer', value: 'K', help: 'choose among the K most probable tokens; 0: all (default 40)' },
  'top-p': { type: 'number', value: 'P', help: 'choose among the most probable tokens that sum to P (default 0.95)' },
  'min-p': { type: 'number', value: 'P', help: 'leave out tokens less probable than P times the best (default 0.05)' },
  'typical-p': { type: 'number', value: 'P', help: 'locally typical sampling (default 1: off)' },
  'repeat-penalty': { type: 'number', value: 'R', help: 'divides the logits of recent tokens (default 1: off)' },
  'repeat-last-n': { type: 'integer', value: 'N', help: 'tokens that the penalties look back; -1: all (default 64)' },
  'frequency-penalty': { type: 'number', value: 'F', help: 'for each time a token occurred (default 0)' },
  'presence-penalty': { type: 'number', value: 'F', help: 'for tokens that occurred (default 0)' },
  'logit-bias': { type: 'string', value: 'ID=B', multiple: true, help: 'added to the logit of a token; -inf forbids it' },
  seed: { type: 'integer', value: 'S', help: 'the same seed gives the same text (default: random)' },
  stop: { type: 'string', value: 'TEXT', multiple: true, help: 'end before this text' },
  'ignore-eos': { type: 'boolean', help: 'go on where the model ends its text' },
  'context-overflow': { type: 'string', value: 'stop|slide', help: 'when the context is full: end, or forget the oldest half (default stop)' },
}

/** @param {string} name @param {OptionSpec} spec @param {string} text */
function convert(name, spec, text) {
  if (spec.type === 'string') return text
  const n = Number(text)
  if (text.trim() === '' || Number.isNaN(n) || (spec.type === 'integer' && !Number.isSafeInteger(n))) {
    throw new UsageError(`--${name} takes a ${spec.type === 'integer' ? 'whole number' : 'number'}, not '${text}'`)
  }
  return n
}

/**
 * Reads a command's arguments; throws a UsageError that says what is wrong.
 * @param {Command} command @param {string[]} argv
 * @returns {Call}
 */
export function parse({ options, positionals: [least, most] }, argv) {
  // Negative numbers are values, not options: --repeat-last-n -1.
  const joined = []
  for (let i = 0; i < argv.length; i++) {
    const name = /^--([a-z-]+)$/.exec(argv[i])?.[1]
    if (name !== undefined && options[name] && options[name].type !== 'boolean' && /^-\d|^-inf$/.test(argv[i + 1] ?? '')) joined.push(`${argv[i]}=${argv[++i]}`)
    else joined.push(argv[i])
  }
  let parsed
  try {
    parsed = parseArgs({
      args: joined, allowPositionals: true, strict: true,
      options: Object.fromEntries(Object.entries(options).map(([name, { type, multiple, short }]) =>
        [name, { type: type === 'boolean' ? 'boolean' : 'string', ...(multiple && { multiple }), ...(short && { short }) }])),
    })
  } catch (error) {
    throw new UsageError(/** @type {Error} */ (error).message.split('. To specify')[0])
  }
  const args = parsed.positionals
  if (args.length < least) throw new UsageError('something is missing')
  if (args.length > most) throw new UsageError(`'${args[most]}' is one argument too many${most > 0 ? '; put quotes around a prompt' : ''}`)
  /** @type {Values} */
  const values = {}
  for (const [name, spec] of Object.entries(options)) {
    const given = /** @type {any} */ (parsed.values)[name]
    if (given === undefined) values[name] = spec.default
    else if (spec.type === 'boolean') values[name] = given
    else values[name] = Array.isArray(given) ? given.map((text) => convert(name, spec, text)) : convert(name, spec, given)
  }
  return { values, args }
}

/** @param {string} name @param {Command} command */
export function helpOf(name, { summary, usage, details, options }) {
  const rows = Object.entries(options).map(([option, { value, short, help }]) => [`${short ? `-${short}, ` : ''}--${option}${value ? ` ${value}` : ''}`, help])
  const width = Math.max(...rows.map(([left]) => left.length))
  return [`nibble ${name} ${usage}`, '', summary, ...(details ? ['', details] : []), '', ...rows.map(([left, help]) => `  ${left.padEnd(width)}  ${help}`), ''].join('\n')
}

/**
 * The options of load() that the command line gives.
 * @param {Values} values
 * @returns {import('../load.js').LoadOptions}
 */
export function loadOptions(values) {
  return {
    variant: values.variant, threads: values.threads ?? 'auto', contextLength: values.ctx ?? 0, floatActivations: values['float-activations'] ?? false,
    cache: !values['no-cache'], ...(values.integrity && { integrity: values.integrity }),
  }
}

/**
 * The options of a generation that the command line gives.
 * @param {Values} values
 * @returns {import('../options.js').GenerateOptions}
 */
export function generateOptions(values) {
  const names = ['max-tokens', 'temperature', 'top-k', 'top-p', 'min-p', 'typical-p', 'repeat-penalty', 'repeat-last-n', 'frequency-penalty', 'presence-penalty',
    'seed', 'stop', 'context-overflow']
  /** @type {Record<string, any>} */
  const options = { ignore_eos: values['ignore-eos'] ?? false }
  for (const name of names) if (values[name] !== undefined) options[name.replaceAll('-', '_')] = values[name]
  if (values['logit-bias']) {
    options.logit_bias = values['logit-bias'].map((/** @type {string} */ pair) => {
      const match = /^(\d+)=(-inf|[-+]?[\d.]+(?:e[-+]?\d+)?)$/i.exec(pair)
      if (!match) throw new UsageError(`--logit-bias takes ID=NUMBER, such as 13=-2.5 or 13=-inf, not '${pair}'`)
      return [Number(match[1]), match[2] === '-inf' ? -Infinity : Number(match[2])]
    })
  }
  return options
}
