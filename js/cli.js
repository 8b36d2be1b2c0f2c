#!/usr/bin/env node
/**
 * The command line: `nibble <command> …`. Each command is a file in cli/. Plain output for people; with --json one JSON object on standard
 * output and everything else on standard error. Exit status: 0 done, 1 failed, 2 called wrongly, 130 interrupted.
 */
import { readFileSync } from 'node:fs'
import { isNibbleError } from './errors.js'
import { say } from './cli/common.js'
import { parse, UsageError, helpOf } from './cli/options.js'

/** @typedef {import('./cli/options.js').Command} Command */

const COMMANDS = ['run', 'chat', 'inspect', 'tokenize', 'logits', 'template', 'perplexity', 'analyze', 'quantize', 'prune', 'convert', 'imatrix', 'report', 'bench', 'serve', 'cache']

const version = () => JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version

/** @param {string} name @returns {Promise<Command>} */
const command = async (name) => (await import(`./cli/${name}.js`)).default

/** JSON escapes some control characters and leaves others as they are. @param {object} value */
const printJson = (value) => void process.stdout.write(`${JSON.stringify(value).replace(/[\x7f-\x9f]/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`)}\n`)

async function overview() {
  const lines = await Promise.all(COMMANDS.map(async (name) => `  nibble ${name.padEnd(11)} ${(await command(name)).summary}`))
  return [`nibble ${version()}: quantized language models on this machine; nothing leaves it`, '', ...lines, '',
    'MODEL is the path or https URL of a GGUF file; of a split model, its first part. Without one: the small model that comes with Nibble.',
    '`nibble <command> --help` lists the options of a command.', ''].join('\n')
}

/**
 * Runs a command line to its end.
 * @param {string[]} argv
 * @returns {Promise<number>} exit status
 */
async function main(argv) {
  const [name, ...rest] = argv
  if (name === undefined || name === 'help' && rest.length === 0 || name === '--help' || name === '-h') {
    process.stdout.write(await overview())
    return name === undefined ? 2 : 0
  }
  if (name === '--version' || name === '-v') {
    console.log(version())
    return 0
  }
  const wanted = name === 'help' ? rest[0] : name
  if (!COMMANDS.includes(wanted)) {
    say(`nibble: there is no command '${wanted}'; the commands are ${COMMANDS.join(', ')}`)
    return 2
  }
  const it = await command(wanted)
  if (name === 'help' || rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(helpOf(wanted, it))
    return 0
  }
  const controller = new AbortController()
  let interrupted = false
  process.on('SIGINT', () => {
    if (interrupted) process.exit(130) // asked twice: at once
    interrupted = true
    controller.abort()
  })
  const json = rest.includes('--json')
  try {
    const result = await it.run(parse(it, rest), controller.signal)
    if (json) printJson(result)
    return it.failed?.(result) ? 1 : 0
  } catch (error) {
    if (error instanceof UsageError) {
      say(`nibble ${wanted}: ${error.message}\nusage: nibble ${wanted} ${it.usage}\n\`nibble ${wanted} --help\` lists the options.`)
      return 2
    }
    if (!isNibbleError(error)) throw error
    if (json) printJson({ error: { code: error.code, message: error.message } })
    say(interrupted ? '\nnibble: interrupted' : `nibble: ${error.message} (${error.code})`)
    return interrupted ? 130 : 1
  }
}

// A reader that has enough, such as `head`, closes the pipe: that is no failure.
process.stdout.on('error', (error) => {
  if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EPIPE') process.exit(0)
  throw error
})
process.exitCode = await main(process.argv.slice(2))
