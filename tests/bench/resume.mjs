/**
 * A long run of the quantizer that is killed: node tests/bench/resume.mjs [options]
 *
 * A 135M-shaped F16 model with random weights goes through `nibble quantize --method gptq` twice: once to the end, with its time and peak memory,
 * and once killed (SIGKILL) at random moments and started again. Both files must be the same.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { root, runMain, say } from '../../wasm/shell.mjs'
import { shared } from '../js/shared.js'
import { makeModel } from './models.mjs'
import { resident } from './process.mjs'

const MOST_MEMORY = 1.5e9
const { values } = parseArgs({ options: {
  cache: { type: 'string', default: join(root, '.bench') }, calibration: { type: 'string', default: shared('data/text/tinystories-2MiB.txt') }, type: { type: 'string', default: 'Q4_0' },
  samples: { type: 'string', default: '128' }, ctx: { type: 'string', default: '512' }, kills: { type: 'string', default: '3' }, threads: { type: 'string' },
} })

/** @param {string} file @returns {Promise<string>} */
async function hashOf(file) {
  const hash = createHash('sha256')
  for await (const bytes of createReadStream(file)) hash.update(bytes)
  return hash.digest('hex')
}

/**
 * The command, up to its end or for some seconds.
 * @param {string} input @param {string} output @param {number} [seconds]  after which it is killed
 */
async function quantize(input, output, seconds = Infinity) {
  const start = performance.now(), elapsed = () => (performance.now() - start) / 1000
  const child = spawn(process.execPath, [join(root, 'js/cli.js'), 'quantize', input, output, '--type', values.type, '--method', 'gptq', '--calibration', values.calibration,
    '--samples', values.samples, '--ctx', values.ctx, '--json', ...(values.threads === undefined ? [] : ['--threads', values.threads])], { stdio: ['ignore', 'pipe', 'ignore'] })
  let text = '', ended = false, peak = 0
  child.stdout.setEncoding('utf8').on('data', (s) => { text += s })
  const done = new Promise((resolve) => child.on('close', (code) => { ended = true; resolve(code) }))
  while (!ended) {
    peak = Math.max(peak, resident(Number(child.pid))?.peak ?? 0)
    if (elapsed() >= seconds) child.kill('SIGKILL')
    await Promise.race([done, sleep(250)])
  }
  const code = await done
  if (code !== 0 && seconds === Infinity) throw new Error(`the command ended with ${code}: ${text.slice(0, 500)}`)
  return { seconds: elapsed(), peak, killed: code === null, result: code === 0 ? JSON.parse(text) : undefined }
}

await runMain(async () => {
  if (!existsSync(values.calibration)) return say(`skipped: there is no calibration text at ${values.calibration}; name one with --calibration`)
  const { file } = makeModel(values.cache, '135m', 'F16', say)
  const outputs = ['whole', 'killed'].map((name) => join(values.cache, `resume-${name}.gguf`)), [whole, killed] = outputs
  for (const output of outputs) for (const end of ['', '.part', '.part.jsonl', '.part.state']) rmSync(output + end, { force: true })
  const once = await quantize(file, whole), { result } = once
  say(`${result.threads} threads, ${values.samples} samples of ${values.ctx} tokens: ${once.seconds.toFixed(0)} s (estimated ${result.estimate.seconds.toFixed(0)}), ` +
    `peak memory of the process ${(once.peak / 1e6).toFixed(0)} MB (of the engine ${(result.memory_bytes / 1e6).toFixed(0)}, estimated ${(result.estimate.memory_bytes / 1e6).toFixed(0)})`)
  let spent = 0
  for (let left = Number(values.kills), rest = once.seconds; left > 0; left--) {
    const run = await quantize(file, killed, rest * (0.1 + 0.8 * Math.random()) / left)
    if (!run.killed) break
    spent += run.seconds
    rest -= run.seconds
    say(`killed after ${run.seconds.toFixed(0)} s`)
  }
  const last = await quantize(file, killed)
  say(`went on with ${(100 * last.result.resumed).toFixed(0)} % of the work done, and took ${last.seconds.toFixed(0)} s; ${(spent + last.seconds).toFixed(0)} s in all`)
  const [a, b] = [await hashOf(whole), await hashOf(killed)]
  const line = (/** @type {boolean} */ passed, /** @type {string} */ what) => {
    console.log(`${passed ? 'PASS' : 'FAIL'}  ${what}`)
    if (!passed) process.exitCode = 1
  }
  line(a === b && last.result.resumed > 0, `killed and resumed, the file is the same: ${a} and ${b}`)
  line(once.peak <= MOST_MEMORY, `peak memory ${(once.peak / 1e6).toFixed(0)} MB, at most ${MOST_MEMORY / 1e6} MB`)
})
