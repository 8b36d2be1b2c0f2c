/**
 * `npm run bench`: Nibble beside its peers, with the same files on the same machine in one run, taking turns. See HELP.
 */
import { readdirSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { cpus, release, type } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { build, cmake } from '../../wasm/build.mjs'
import { currentNode, emscripten } from '../../wasm/setup.mjs'
import { root, runMain, runShown, say, SetupError } from '../../wasm/shell.mjs'
import { CONTENDERS, prepare, shorter } from './contenders.mjs'
import { digits, ratios, report } from './figures.mjs'
import { makeModel, modelSizes, SHAPES, TYPES } from './models.mjs'
import { processors, sentence } from './process.mjs'

const PEERS = Object.keys(CONTENDERS)
const HELP = `npm run bench -- [options]

  --models LIST    shapes: 135m, 0.5b, 1b (default: all three)
  --types LIST     ${TYPES.join(', ')} (default: all)
  --peers LIST     who takes part: ${PEERS.filter((p) => !CONTENDERS[p].opt).join(', ')} (default: these),
                   ${PEERS.filter((p) => CONTENDERS[p].opt).join(', ')}
  --threads LIST   (default 1,2)
  --rounds N       (default 3)
  --prompt N       tokens of the prompt (default 512)
  --gen N          tokens generated behind it (default 64)
  --quick          one round of 128 + 16 tokens with 135m in Q4_0, where nothing else is named
  --json FILE      every measurement and the ratios
  --cache FOLDER   where models are kept (default .bench; all of them take 8.3 GB)

npm run bench -- --kernels [TYPE ...] [--scalar] [--quick]
                   the matrix products alone, in both WebAssembly variants`

/** @param {string} name @param {string | undefined} text @param {string[]} known @param {string[]} all */
function list(name, text, known, all) {
  if (text === undefined) return all
  const items = [...new Set(text.split(',').map((s) => s.trim()))]
  const unknown = items.find((item) => !known.includes(item))
  if (unknown !== undefined) throw new SetupError(`--${name}: there is no '${unknown}'; there are ${known.join(', ')}`)
  return items
}

/** @param {string} name @param {string | undefined} text @param {number} otherwise */
function positive(name, text, otherwise) {
  const n = text === undefined ? otherwise : Number(text)
  if (!Number.isInteger(n) || n < 1) throw new SetupError(`--${name} takes a whole number of at least 1, not '${text}'`)
  return n
}

/** @param {string[]} argv */
function options(argv) {
  let values
  try {
    ({ values } = parseArgs({ args: argv, options: {
      models: { type: 'string' }, types: { type: 'string' }, peers: { type: 'string' }, threads: { type: 'string' }, rounds: { type: 'string' }, prompt: { type: 'string' },
      gen: { type: 'string' }, quick: { type: 'boolean' }, json: { type: 'string' }, cache: { type: 'string' }, help: { type: 'boolean' },
    } }))
  } catch (error) {
    throw new SetupError(`${/** @type {Error} */ (error).message.split('. To specify')[0]}; npm run bench -- --help says what there is`)
  }
  const { quick } = values, shapes = Object.keys(SHAPES)
  const threads = (values.threads ?? '1,2').split(',').map((n) => positive('threads', n, 1))
  return {
    help: values.help,
    models: list('models', values.models, shapes, quick ? ['135m'] : shapes.filter((s) => s !== 'tiny')),
    types: list('types', values.types, TYPES, quick ? ['Q4_0'] : TYPES),
    peers: list('peers', values.peers, PEERS, PEERS.filter((p) => !CONTENDERS[p].opt)),
    threads: [...new Set(threads)].sort((a, b) => a - b),
    rounds: positive('rounds', values.rounds, quick ? 1 : 3),
    prompt: positive('prompt', values.prompt, quick ? 128 : 512),
    generated: positive('gen', values.gen, quick ? 16 : 64),
    json: values.json,
    cache: values.cache ?? join(root, '.bench'),
  }
}

/** Writes the models that are not there, if the disk has room. @param {string} folder @param {string[]} shapes @param {string[]} types */
function models(folder, shapes, types) {
  const wanted = shapes.flatMap((shape) => types.map((type) => modelSizes(folder, shape, type)))
  const bytes = wanted.filter((m) => !m.there).reduce((sum, m) => sum + m.file_bytes, 0)
  if (bytes > 0) {
    const { bavail, bsize } = statfsSync(root)
    if (bavail * bsize < bytes * 1.1) throw new SetupError(`the models take ${(bytes / 1e9).toFixed(1)} GB, and the disk has ${(bavail * bsize / 1e9).toFixed(1)}; name fewer with --models and --types`)
  }
  const made = wanted.map((m) => makeModel(folder, m.shape, m.type, say))
  const kept = readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
  say(`the models in ${folder} take ${(kept / 1e9).toFixed(1)} GB; delete the folder when you need them no more`)
  return made
}

/** @param {string[]} argv */
async function kernels(argv) {
  const { env } = emscripten(), node = currentNode() ?? process.execPath
  for (const variant of ['simd128', 'relaxed']) {
    cmake(`wasm-${variant}`, { env, targets: ['kernels_main'] })
    const flags = variant === 'relaxed' && Number((await import('node:child_process')).execFileSync(node, ['-p', 'process.versions.node.split(".")[0]'])) < 22
      ? ['--experimental-wasm-relaxed-simd'] : []
    console.log(`\n## ${variant}\n`)
    const status = await runShown(node, [...flags, join(root, 'wasm/wasi.mjs'), join(root, `build/wasm-${variant}/kernels_main.wasm`), ...argv])
    if (status !== 0) throw new SetupError(`the measurement of the kernels ended with ${status}`)
  }
}

/**
 * All rounds of one model. Within a round everybody has a turn with each number of threads, so that a machine that slows down slows all.
 * @param {import('./models.mjs').BenchModel} model @param {ReturnType<typeof options>} o @param {ReturnType<typeof prepare>} ready
 * @returns {Promise<import('./figures.mjs').Results>}
 */
async function measureModel(model, o, ready) {
  const { file, ...sizes } = model
  /** @type {import('./figures.mjs').Results} */
  const results = { model: sizes, context: o.prompt + o.generated + 1, rows: [], bandwidth: [], missing: [] }
  for (let round = 0; round < o.rounds; round++) {
    for (const threads of o.threads) {
      const where = `${model.name}, round ${round + 1} of ${o.rounds}, ${threads} thread${threads > 1 ? 's' : ''}`
      for (const kind of /** @type {const} */ (['native', 'wasm'])) {
        try {
          results.bandwidth.push({ kind, threads, gbs: await ready.bandwidth(kind, threads) })
        } catch (error) {
          say(`${where}: memory, ${kind}: missing: ${sentence(error)}`)
        }
      }
      for (const [name, { label, measure }] of ready.contenders) {
        if (results.missing.some((m) => m.contender === name && m.threads === threads)) continue
        try {
          const { memory, ...m } = await measure(file, { prompt: o.prompt, generated: o.generated, threads })
          const peak_bytes = memory?.peak !== undefined && memory.before !== undefined ? memory.peak - memory.before : undefined
          results.rows.push({ contender: name, ...m, threads, peak_bytes })
          say(`${where}: ${label}: prefill ${digits(m.prefill_tps)}, decode ${digits(m.decode_tps)} tokens/s`)
        } catch (error) {
          const why = sentence(error)
          results.missing.push({ contender: name, threads, why })
          say(`${where}: ${label}: missing: ${why}`)
        }
      }
    }
  }
  return results
}

await runMain(async () => {
  const argv = process.argv.slice(2)
  if (argv.includes('--kernels')) return kernels(argv.filter((a) => a !== '--kernels'))
  const o = options(argv)
  if (o.help) return console.log(HELP)
  await build()
  const ready = prepare(o.peers, o.cache)
  const files = models(join(o.cache, 'models'), o.models, o.types)
  const { cores, list: usable } = processors()
  const tooMany = o.threads.find((n) => n > usable.length)
  if (tooMany !== undefined) throw new SetupError(`--threads ${tooMany}: this machine has ${usable.length} processors`)
  const machine = { cpu: cpus()[0]?.model.trim() ?? 'unknown', cores, processors: usable.length, system: `${type()} ${release()}`, node: process.versions.node }
  const short = shorter({ prompt: o.prompt, generated: o.generated, threads: 1 })
  const all = []
  for (const model of files) {
    const results = await measureModel(model, o, ready)
    all.push({ ...results, ratios: ratios(results) })
    // Written after every model: what has been measured is not lost with what follows.
    const settings = { rounds: o.rounds, prompt: o.prompt, generated: o.generated, threads: o.threads, pinned: ready.pinned, wllama: { prompt: short.prompt, generated: short.generated } }
    if (o.json) writeFileSync(o.json, `${JSON.stringify({ date: new Date().toISOString(), machine, settings, results: all }, null, 1)}\n`)
  }
  const labels = Object.fromEntries(ready.contenders.map(([name, { label }]) => [name, label]))
  const programs = [...new Set(all.flatMap((r) => r.rows.map((row) => row.program)))]
  console.log(`\n# ${new Date().toISOString().slice(0, 10)}, ${machine.cpu}, ${cores} cores\n\n${o.prompt} tokens of prompt, ${o.generated} generated` +
    `${o.peers.includes('wllama') ? ` (wllama ${short.prompt} and ${short.generated})` : ''}, ${o.rounds} round${o.rounds > 1 ? 's' : ''}; medians (least–most). ${programs.join('; ')}` +
    `${ready.contenders.some(([name]) => name === 'native') ? `; native threads ${ready.pinned ? '' : 'not '}pinned to cores` : ''}.\n`)
  for (const results of all) console.log(`${report(results, labels)}\n`)
  if (o.json) say(`written to ${o.json}`)
  if (all.every((r) => r.rows.length === 0)) throw new SetupError('nothing could be measured; the lines above say why')
})
