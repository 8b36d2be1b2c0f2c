/**
 * What the time of a token goes into: node tests/bench/profile.mjs MODEL.gguf. See HELP.
 *
 * Builds the engine with the names of its functions, and samples where the calling thread is (V8's profiler), a process for each number of threads. Functions belong
 * to the file that defines them; what the compiler has put into another function counts there. The calling thread does its share of every job and waits for
 * the others, which is the column of barriers: their own waiting is not seen.
 */
import { copyFileSync, mkdirSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cmake } from '../../wasm/build.mjs'
import { currentNode, emscripten } from '../../wasm/setup.mjs'
import { root, runMain, SetupError } from '../../wasm/shell.mjs'
import { output } from './process.mjs'

const HELP = `node tests/bench/profile.mjs MODEL.gguf [options]

  --node FILE      one with relaxed SIMD (default: the current one)
  --threads LIST   (default 1,2)
  --prompt N       tokens of prompt; the row "prompt" is of these alone (default 64)
  --tokens N       generated behind the prompt, drawn with temperature 0.8 (default 64)`

/** What the functions of a file do, the first that fits. @type {[string, RegExp, RegExp?][]} */
const PARTS = [
  ['attention', /attention/], ['attention', /forward\.c$/, /^(run_attention|run_merge|nb_pass_attention)$/], ['attention', /^$/, /^(score|add_values)\d$/], // made by macros
  ['norms, rope, swiglu, quantizing', /forward\.c$|kernels\/(act|exp)/], ['matmul', /kernels\//], ['matmul', /^$/, /^nb_matmul_/],
  ['barriers', /base\/team/], ['sampling', /generate\//], ['sampling', /wasm\//, /^nbw_generation_step$/], ['text', /text\//],
]
const COLUMNS = [...new Set(PARTS.map(([name]) => name)), 'JavaScript', 'rest']

/** The file that defines each function. */
function definitions() {
  /** @type {Map<string, string>} */
  const files = new Map()
  for (const folder of ['src', 'wasm']) {
    for (const name of /** @type {string[]} */ (readdirSync(join(root, folder), { recursive: true }))) {
      if (!/\.[ch]$/.test(name)) continue
      for (const [, called] of readFileSync(join(root, folder, name), 'utf8').matchAll(/^[A-Za-z][\w \t*]*?\b(\w+)\([^;{]*\{/gm)) if (!files.has(called)) files.set(called, `${folder}/${name}`)
    }
  }
  return files
}

/** @param {Map<string, string>} files @param {{name: string, url: string}} frame */
function partOf(files, { name, url }) {
  if (name === '(idle)' || name === '(program)' || name === '(garbage collector)') return name === '(idle)' ? undefined : 'JavaScript'
  if (!url.startsWith('wasm:')) return 'JavaScript'
  const plain = name.replace(/^\$/, ''), file = files.get(plain) ?? ''
  return PARTS.find(([, where, which]) => where.test(file) && (!which || which.test(plain)))?.[0] ?? 'rest'
}

await runMain(async () => {
  let o, model
  try {
    const { values, positionals } = parseArgs({ allowPositionals: true, options: { node: { type: 'string', default: currentNode() ?? process.execPath }, threads: { type: 'string', default: '1,2' }, prompt: { type: 'string', default: '64' }, tokens: { type: 'string', default: '64' }, help: { type: 'boolean' } } })
    o = values
    model = positionals[0]
  } catch (error) {
    throw new SetupError(`${/** @type {Error} */ (error).message.split('. ')[0]}; --help says what there is`)
  }
  if (o.help) return console.log(HELP)
  if (model === undefined) throw new SetupError('name a model: node tests/bench/profile.mjs MODEL.gguf')
  const { env } = emscripten(), wasm = join(root, 'build/profile')
  mkdirSync(wasm, { recursive: true })
  for (const threads of ['', '-threads']) {
    cmake(`wasm-profile${threads}`, { env, targets: ['nibble-wasm'] })
    copyFileSync(join(root, `build/wasm-profile${threads}/nibble-relaxed${threads}.wasm`), join(wasm, `nibble-relaxed${threads}.wasm`))
  }
  const files = definitions(), child = fileURLToPath(new URL('profile_child.mjs', import.meta.url))
  console.log(`| percent of the time | ms a token | ${COLUMNS.join(' | ')} |\n|${'---|'.repeat(COLUMNS.length + 2)}`)
  for (const threads of o.threads.split(',')) {
    /** @type {{prompt: Sampled, token: Sampled}} */
    const sampled = JSON.parse(await output(o.node, [child, model, wasm, threads, o.prompt, o.tokens]))
    for (const [what, { frames, ms }] of Object.entries(sampled)) {
      /** @type {Record<string, number>} */
      const sums = {}
      let all = 0
      for (const frame of frames) {
        const part = partOf(files, frame)
        if (part === undefined) continue
        sums[part] = (sums[part] ?? 0) + frame.hits
        all += frame.hits
      }
      console.log(`| ${what}, ${threads} ${threads === '1' ? 'thread' : 'threads'} | ${ms.toFixed(2)} | ${COLUMNS.map((name) => (100 * (sums[name] ?? 0) / all).toFixed(1)).join(' | ')} |`)
    }
  }
})

/** @typedef {{frames: {name: string, url: string, hits: number}[], ms: number}} Sampled  ms: for each token */
