/**
 * `npm run quality`: what each method and type costs in accuracy, on text that neither trained nor calibrated, with llama.cpp's own files as rows of
 * the same table; then what was aimed at, PASS or FAIL. See HELP. Rows that a file of results already has are not measured again.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { perplexity } from '../../js/evaluate.js'
import { greedyTexts } from '../../js/evaluate/loops.js'
import { load } from '../../js/load.js'
import { analyze, createReference, openReference, quantize } from '../../js/quantize/index.js'
import { root, runMain, say, SetupError } from '../../wasm/shell.mjs'
import { shared } from '../js/shared.js'
import { modules } from './peers.mjs'
import { output, sentence } from './process.mjs'
import { checks } from './quality_checks.mjs'

const here = fileURLToPath(new URL('.', import.meta.url))
const TYPES = ['Q8_0', 'Q6_K', 'Q5_K_M', 'Q5_1', 'Q5_0', 'Q4_K_M', 'Q4_K_S', 'Q4_1', 'Q4_0', 'IQ4_NL', 'IQ4_XS', 'Q3_K_M', 'Q2_K']
/** Methods with what they are given; the order is that in which rows are measured. */
const METHODS = /** @type {const} */ ({ rtn: ['rtn', false], search: ['search', false], 'search, text': ['search', true], gptq: ['gptq', true], awq: ['awq', true], hqq: ['hqq', false] })
/** No other row is compared with theirs. @type {(keyof typeof METHODS)[]} */
const LAST = ['awq', 'hqq']
const HELP = `npm run quality -- [options]

  --types LIST     ${TYPES.join(', ')} (default: all)
  --methods LIST   separated by semicolons: ${Object.keys(METHODS).join('; ')} (default: all)
  --model FILE     in F16 (default: the original of demo/model)
  --stories FILE   the text it was trained on, and what was held out (default ../shared/data/text/stories.jsonl.xz)
  --native FILE    a program FILE IN OUT TYPE that quantizes with llama.cpp (default ../shared/tools/native_quantize.py)
  --peers FOLDER   node_modules with node-llama-cpp (default: that of npm run bench)
  --samples N      of 512 tokens, that calibrate (default 64)
  --chunks N       of 512 tokens, half of which are predictions to be judged (default 16)
  --threads N      (default: one for each core)
  --cache FOLDER   files and results.json (default .bench/quality)`
const N_CTX = 512
/** Of a reference's predictions: the divergence is right within a thousandth. */
const KEPT = { topK: 256, drawn: 64 }
/** Bits per weight for which mixes are found; one more has the size of llama.cpp's IQ4_XS. Beside them stand files of one type alone. */
const MIXES = [4.5, 5], ALONE = ['Q4_K', 'Q4_1']
/** Tokens of the held-out text behind which a model goes on greedily, to be compared with llama.cpp. */
const BEGINNING = 64

function options() {
  let values
  try {
    ({ values } = parseArgs({ options: {
      types: { type: 'string', default: TYPES.join(',') }, methods: { type: 'string', default: Object.keys(METHODS).join(';') }, model: { type: 'string', default: join(root, 'demo/model/Llama-Nibble-Stories-5M-F16.gguf') },
      stories: { type: 'string', default: shared('data/text/stories.jsonl.xz') }, native: { type: 'string', default: shared('tools/native_quantize.py') }, peers: { type: 'string', default: modules },
      samples: { type: 'string', default: '64' }, chunks: { type: 'string', default: '16' }, threads: { type: 'string' }, cache: { type: 'string', default: join(root, '.bench/quality') }, help: { type: 'boolean' },
    } }))
  } catch (error) {
    throw new SetupError(`${/** @type {Error} */ (error).message.split('. To specify')[0]}; npm run quality -- --help says what there is`)
  }
  const list = (/** @type {string} */ text, /** @type {string} */ by, /** @type {string[]} */ known) => text.split(by).map((s) => s.trim()).map((name) => {
    if (!known.includes(name)) throw new SetupError(`there is no '${name}'; there are ${known.join(`${by} `)}`)
    return name
  })
  return { ...values, types: list(values.types, ',', TYPES), methods: /** @type {(keyof typeof METHODS)[]} */ (list(values.methods, ';', Object.keys(METHODS))), samples: Number(values.samples), chunks: Number(values.chunks) }
}

/**
 * Conversations as demo/model/data.py divides them: 2 % of the prompts, by their hash, were held out from the training. Mixed by their hash.
 * @param {string} file
 */
function conversations(file) {
  const done = spawnSync('xz', ['-dc', file], { encoding: 'utf8', maxBuffer: 1 << 29 })
  if (done.status !== 0) throw new SetupError(`${file} cannot be unpacked: ${done.error?.message ?? done.stderr.trim()}`)
  const clean = (/** @type {string} */ text) => text.normalize('NFC').replaceAll('\r\n', '\n').replaceAll('\u2019', "'").replaceAll('\t', '    ').trim()
  const all = done.stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line)).filter(({ kind }) => kind !== 'common-sense').map(({ prompt, answer }) => {
    const asked = clean(prompt), hash = createHash('sha256').update(asked)
    const text = `<s><|user|>${asked}</s><|assistant|>${clean(answer)}</s>`
    return { text, held: hash.copy().digest().readUInt32BE(0) % 50 === 0, order: hash.update(text).digest('hex') }
  }).sort((a, b) => (a.order < b.order ? -1 : 1))
  const some = (/** @type {boolean} */ held, /** @type {number} */ characters) => {
    let text = ''
    for (const one of all) if (one.held === held && text.length < characters) text += one.text
    return text
  }
  return { training: some(false, 3e6), heldOut: some(true, 3e5) }
}

/**
 * @typedef {object} Row
 * @property {'original' | 'Nibble' | 'llama.cpp'} by  @property {string} method  @property {string} type
 * @property {string} file  @property {number} bytes  of the file @property {number} bpw
 * @property {number} ppl  @property {number} kld  @property {number} kld_error  @property {number} top1  @property {number} seconds  that quantizing took
 * @property {{compared: number, other: {position: number, margin: number}[]} | {why: string}} [native]  positions at which llama.cpp finds another token most probable
 */

/** Results, kept on disk as they come. */
class Results {
  /** @param {string} file @param {object} asked  what all rows are about */
  constructor(file, asked) {
    this.file = file
    this.asked = asked
    /** @type {Row[]} */
    this.rows = []
    if (!existsSync(file)) return
    const { rows, ...before } = JSON.parse(readFileSync(file, 'utf8'))
    if (JSON.stringify(before.asked) === JSON.stringify(asked)) this.rows = rows
    else say(`the rows of ${file} are of other texts or another model: they are measured anew`)
  }

  /** @param {string} by @param {string} method @param {string} type */
  find(by, method, type) {
    return this.rows.find((row) => row.by === by && row.method === method && row.type === type)
  }

  save() {
    writeFileSync(`${this.file}.part`, `${JSON.stringify({ asked: this.asked, rows: this.rows }, null, 1)}\n`)
    renameSync(`${this.file}.part`, this.file)
  }
}

/** @param {Row} row */
const line = ({ by, method, type, bytes, bpw, ppl, kld, kld_error, top1, seconds, native }) =>
  `| ${by} | ${type} | ${method} | ${bytes} | ${bpw.toFixed(2)} | ${ppl.toFixed(3)} | ${by === 'original' ? '' : `${kld.toFixed(5)} ± ${kld_error.toFixed(5)}`} | ${by === 'original' ? '' : `${(100 * top1).toFixed(1)} %`} | ${seconds.toFixed(0)} | ` +
  `${!native ? '' : 'why' in native ? native.why : native.other.length === 0 ? `all ${native.compared}` : `all but ${native.other.length} of ${native.compared} (margin up to ${Math.max(...native.other.map((o) => o.margin)).toFixed(3)})`} |`

await runMain(async () => {
  const o = options()
  if (o.help) return console.log(HELP)
  if (!existsSync(o.stories)) return say(`skipped: there is no ${o.stories}, the text that the model was trained on and held out from; --stories names it`)
  const threads = o.threads === undefined ? /** @type {const} */ ('auto') : Number(o.threads)
  const { training, heldOut } = conversations(o.stories)
  mkdirSync(o.cache, { recursive: true })
  const hash = (/** @type {string | Uint8Array} */ data) => createHash('sha256').update(data).digest('hex')
  const about = { model: hash(readFileSync(o.model)), training: hash(training), heldOut: hash(heldOut), samples: o.samples, chunks: o.chunks }
  const results = new Results(join(o.cache, 'results.json'), about)
  const calibration = { text: training, name: 'training text', samples: o.samples, ctx: N_CTX, parseSpecial: true }
  const original = await load(o.model, { threads, contextLength: N_CTX })
  const weights = original.info.parameters
  const reference = await openReference((await createReference(original, heldOut, { ...KEPT, n_ctx: N_CTX, chunks: o.chunks, parseSpecial: true })).bytes)
  const beginning = original.tokenizer.encode(heldOut.slice(0, 400), { addSpecial: false, parseSpecial: true }).slice(0, BEGINNING)

  /** The text that a model goes on with, and the two most probable tokens behind each of its tokens. @param {import('../../js/model.js').Model} model */
  const ownText = async (model) => {
    const [{ tokens: said }] = await greedyTexts(model, [beginning]), tokens = [...beginning, ...said]
    /** @type {[number, number][][]} */
    const top = []
    await model.visitLogits(tokens, undefined, (position, i, session) => { top[position] = session.topLogprobs(i, 2) })
    return { tokens, top }
  }
  await original.dispose()
  const nativeThere = existsSync(join(o.peers, 'node-llama-cpp'))
  if (!nativeThere) say(`files are not held against llama.cpp, and it has no rows: there is no node-llama-cpp in ${o.peers} (npm run bench installs it; --peers names another folder)`)

  /** Measures a file. @param {Pick<Row, 'by' | 'method' | 'type' | 'file' | 'seconds'>} row */
  const measure = async (row) => {
    const model = await load(row.file, { threads, contextLength: N_CTX })
    try {
      const of = await perplexity(model, undefined, { against: reference })
      const bytes = statSync(row.file).size
      /** @type {Row} */
      const measured = { ...row, bytes, bpw: bytes * 8 / weights, ppl: of.ppl, kld: Number(of.kld?.mean), kld_error: Number(of.kld?.error), top1: Number(of.top1_agreement) }
      if (nativeThere && row.by !== 'llama.cpp') measured.native = await besideNative(row.file, await ownText(model))
      results.rows.push(measured)
      results.save()
      console.log(line(measured))
    } finally {
      await model.dispose()
    }
  }

  /** @param {string} file @param {{tokens: number[], top: [number, number][][]}} own @returns {Promise<Row['native']>} */
  const besideNative = async (file, { tokens, top }) => {
    try {
      const theirs = JSON.parse(await output(process.execPath, [join(here, 'native_top_child.mjs'), o.peers, JSON.stringify([{ file, tokens }])]))
      // The margin: by how much one of the two programs, the less certain one, prefers its choice.
      const other = top.flatMap(([a, b], position) => {
        const [[id, logit], [, second]] = theirs[position]
        return id === a[0] ? [] : [{ position, margin: Math.min(a[1] - b[1], logit - second) }]
      })
      return { compared: tokens.length, other }
    } catch (error) {
      return { why: sentence(error) }
    }
  }

  console.log('| by | type | method | bytes | bits per weight | perplexity | divergence | same first | s | llama.cpp finds the same token |\n|---|---|---|---|---|---|---|---|---|---|')
  for (const row of results.rows) console.log(line(row))
  const missing = (/** @type {[string, string, string]} */ ...key) => !results.find(...key)
  const nameOf = (/** @type {string} */ by, /** @type {string} */ method, /** @type {string} */ type) => join(o.cache, `${type}-${by}-${method}.gguf`.replaceAll(/[, ]+/g, '-'))
  if (missing('original', '', 'F16')) await measure({ by: 'original', method: '', type: 'F16', file: o.model, seconds: 0 })
  if (nativeThere && existsSync(o.native)) {
    for (const type of o.types) {
      if (!missing('llama.cpp', 'its own', type)) continue
      const file = nameOf('llama.cpp', '', type), start = performance.now()
      const done = spawnSync('python3', [o.native, o.model, file, type, '--peers', join(o.peers, '..')], { encoding: 'utf8' })
      if (done.status !== 0) say(`llama.cpp makes no ${type}: ${(done.error?.message ?? done.stderr).trim().split('\n').at(-1)}`)
      else await measure({ by: 'llama.cpp', method: 'its own', type, file, seconds: (performance.now() - start) / 1000 })
    }
  } else if (nativeThere) say(`llama.cpp has no rows: there is no ${o.native}; --native names it`)
  /** @param {keyof typeof METHODS} method @param {string} type @param {object} what */
  const make = async (method, type, what) => {
    if (!missing('Nibble', method, type)) return
    const [name, text] = METHODS[method], file = nameOf('nibble', method, type)
    const { seconds } = await quantize(o.model, file, { method: name, threads, ...(text && { calibration }), ...what })
    await measure({ by: 'Nibble', method, type, file, seconds })
  }
  const usual = o.methods.filter((m) => !LAST.includes(m)), byText = usual.filter((m) => METHODS[m][1]), theirs = results.find('llama.cpp', 'its own', 'IQ4_XS')
  for (const method of usual) for (const type of o.types) await make(method, type, { type })
  for (const method of byText) for (const type of ALONE) await make(method, `${type} alone`, { type, pure: true })
  const targets = [...MIXES.map((bpw) => ({ type: `mix of ${bpw} bits`, target: { bpw } })), ...(theirs ? [{ type: "mix in IQ4_XS's bytes", target: { bytes: theirs.bytes } }] : [])]
  if (byText.some((m) => targets.some(({ type }) => missing('Nibble', m, type)))) {
    const file = join(o.cache, `sensitivity-${about.model.slice(0, 8)}-${o.samples}.json`)
    if (!existsSync(file)) writeFileSync(file, JSON.stringify(await analyze(o.model, { calibration, threads })))
    const sensitivity = JSON.parse(readFileSync(file, 'utf8'))
    for (const method of byText) for (const { type, target } of targets) await make(method, type, { target, sensitivity })
  }
  for (const method of o.methods) if (!usual.includes(method)) for (const type of o.types) await make(method, type, { type })
  for (const { passed, text } of checks(results.rows)) {
    console.log(`${passed ? 'PASS' : 'FAIL'}  ${text}`)
    if (!passed) process.exitCode = 1
  }
})
