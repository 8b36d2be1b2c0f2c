/** What the benchmark makes of its measurements: medians, ratios with the targets they have, and tables. No measuring here. */
import { median } from '../../js/cli/bench.js'

export { median }

/**
 * @typedef {object} Row  one measurement
 * @property {string} contender  @property {number} threads
 * @property {number} prefill_tps  @property {number} decode_tps  @property {number} load_s
 * @property {number} [peak_bytes]  what its process took at most beyond what it had before
 * @property {string} program  @property {string} [variant]
 *
 * @typedef {object} Bandwidth  one measurement
 * @property {'native' | 'wasm'} kind  @property {number} threads  @property {number} gbs
 *
 * @typedef {object} Gap  what could not be measured
 * @property {string} contender  @property {number} threads  @property {string} why
 *
 * @typedef {Pick<import('./models.mjs').BenchModel, 'name' | 'shape' | 'type' | 'weight_bytes' | 'token_bytes' | 'kv_bytes_per_token'>} ModelSizes
 * @typedef {{model: ModelSizes, context: number, rows: Row[], bandwidth: Bandwidth[], missing: Gap[]}} Results  of one model
 *
 * @typedef {object} Ratio
 * @property {string} name  @property {number} threads  @property {number} value
 * @property {number} [least]  @property {number} [goal]  targets; of memory they are upper limits
 */

/** @param {number[]} values */
export function spread(values) {
  return values.length === 0 ? undefined : { median: median(values), min: Math.min(...values), max: Math.max(...values), n: values.length }
}

/** Three digits. @param {number} x */
export const digits = (x) => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2))

/** The median, and where there are several the least and the most. @param {number[]} values */
function cell(values) {
  const s = spread(values)
  if (!s) return '–'
  return s.n === 1 ? digits(s.median) : `${digits(s.median)} (${digits(s.min)}–${digits(s.max)})`
}

/**
 * llama.cpp's own SIMD path for WebAssembly, built as it should be, in Chromium, as parts of native llama.cpp on the same machine with as many
 * threads (135m Q4_0, prompt of 512, 64 generated; 2-core EPYC with AVX-512): no package ships it, so it is not measured but scaled.
 * @type {Record<number, {prefill: number, decode: number}>}
 */
export const WASM_SIMD_PATH = { 1: { prefill: 36.7 / 452, decode: 24.2 / 87 }, 2: { prefill: 63.0 / 775, decode: 32.5 / 111 } }

/** The Nibble that ratios are about: in Chromium, and where that is missing, in Node. @param {Results} results */
export const subject = ({ rows }) => ['chromium', 'node-current', 'node'].find((name) => rows.some((r) => r.contender === name))

/**
 * All ratios that the measurements of a model give.
 * @param {Results} results
 * @returns {Ratio[]}
 */
export function ratios(results) {
  const { model, context, rows, bandwidth } = results
  const nibble = subject(results)
  /** @param {string | undefined} contender @param {number} threads @param {'prefill_tps' | 'decode_tps' | 'peak_bytes'} what */
  const of = (contender, threads, what) =>
    spread(rows.filter((r) => r.contender === contender && r.threads === threads).flatMap((r) => r[what] ?? []))?.median
  const reads = (/** @type {string} */ kind, /** @type {number} */ threads) => spread(bandwidth.filter((b) => b.kind === kind && b.threads === threads).map((b) => b.gbs))?.median
  /** @type {Ratio[]} */
  const list = []
  /** @param {string} name @param {number} threads @param {number | undefined} a @param {number | undefined} b @param {[number, number] | []} [targets] */
  const add = (name, threads, a, b, [least, goal] = []) => {
    if (a !== undefined && b) list.push({ name, threads, value: a / b, ...(least !== undefined && { least, goal }) })
  }
  const q4 = model.type === 'Q4_0', slowPeer = model.shape === '1b' && model.type === 'Q4_K_M'
  for (const threads of new Set(rows.map((r) => r.threads))) {
    const prefill = of(nibble, threads, 'prefill_tps'), decode = of(nibble, threads, 'decode_tps')
    const nativePrefill = of('native', threads, 'prefill_tps'), nativeDecode = of('native', threads, 'decode_tps')
    const weights = decode && decode * model.token_bytes / 1e9
    const bandwidthTargets = q4 && threads === 2 && model.shape !== '135m'
    add('decode / read bandwidth (native)', threads, weights, reads('native', threads), bandwidthTargets ? [0.7, 0.9] : [])
    add('decode / read bandwidth (WebAssembly)', threads, weights, reads('wasm', threads))
    add('decode / native llama.cpp', threads, decode, nativeDecode, [1, 1.5])
    add('prefill / native llama.cpp', threads, prefill, nativePrefill, [0.5, 0.65])
    add('prefill / native llama.cpp, Node with revectorize', threads, of('node-revectorize', threads, 'prefill_tps'), nativePrefill, [0.5, 1])
    add('decode / wllama', threads, decode, of('wllama', threads, 'decode_tps'), q4 ? [10, 20] : slowPeer ? [4, 4] : [])
    add('prefill / wllama', threads, prefill, of('wllama', threads, 'prefill_tps'), q4 ? [15, 25] : slowPeer ? [6, 6] : [])
    const path = WASM_SIMD_PATH[threads]
    if (path && model.shape === '135m' && q4) {
      add('decode / llama.cpp\'s wasm SIMD path (scaled)', threads, decode, nativeDecode && nativeDecode * path.decode, [4, 7])
      add('prefill / llama.cpp\'s wasm SIMD path (scaled)', threads, prefill, nativePrefill && nativePrefill * path.prefill, [6, 9])
    }
    if (threads > 1) {
      add(`prefill, ${threads} threads / 1`, threads, prefill, of(nibble, 1, 'prefill_tps'), threads === 2 ? [1.85, 1.95] : [])
      add(`decode, ${threads} threads / 1`, threads, decode, of(nibble, 1, 'decode_tps'), threads === 2 ? [1.5, 1.5] : [])
    }
    add('decode, strict / relaxed SIMD', threads, of('chromium-strict', threads, 'decode_tps'), of('chromium', threads, 'decode_tps'), [0.45, 0.6])
    add('peak memory / (weights + keys and values)', threads, of(nibble, threads, 'peak_bytes'), model.weight_bytes + context * model.kv_bytes_per_token, [1.08, 1.03])
  }
  return list
}

/** Whether a ratio is within its target. @param {Ratio} ratio @param {number} target */
const within = ({ name, value }, target) => (name.startsWith('peak memory') ? value <= target : value >= target)

/** @param {Ratio} ratio */
const verdict = (ratio) => (ratio.least === undefined ? '' : !within(ratio, ratio.least) ? 'short' : within(ratio, /** @type {number} */ (ratio.goal)) ? 'goal' : 'met')

/** @param {string[][]} rows  the first is the head */
function markdown(rows) {
  const [head, ...body] = rows
  const widths = head.map((_, i) => Math.max(3, ...rows.map((r) => r[i].length)))
  const line = (/** @type {string[]} */ cells) => `| ${cells.map((c, i) => c.padEnd(widths[i])).join(' | ')} |`
  return [line(head), `|${widths.map((w) => '-'.repeat(w + 2)).join('|')}|`, ...body.map(line)].join('\n')
}

/** Why something is missing, each reason once. @param {Gap[]} missing @param {Record<string, string>} labels */
function gaps(missing, labels) {
  const reasons = new Set(missing.map((m) => m.why))
  return [...reasons].map((why) => `Missing: ${missing.filter((m) => m.why === why).map((m) => `${labels[m.contender]} with ${m.threads}`).join(', ')}: ${why}.`)
}

/**
 * The tables of one model.
 * @param {Results} results @param {Record<string, string>} labels  of contenders, in the order of the table
 */
export function report(results, labels) {
  const { model, context, rows, bandwidth, missing } = results
  const threads = [...new Set([...rows, ...bandwidth, ...missing].map((r) => r.threads))].sort((a, b) => a - b)
  const reads = (/** @type {string} */ kind) => threads.map((t) => cell(bandwidth.filter((b) => b.kind === kind && b.threads === t).map((b) => b.gbs))).join(' / ')
  const speeds = [['', 'threads', 'prefill tokens/s', 'decode tokens/s', 'GB/s of weights', 'peak MB']]
  for (const contender of Object.keys(labels)) {
    for (const t of threads) {
      const mine = rows.filter((r) => r.contender === contender && r.threads === t), gap = missing.find((m) => m.contender === contender && m.threads === t)
      const label = labels[contender] + (mine[0]?.variant ? ` (${mine[0].variant})` : '')
      if (mine.length > 0) {
        speeds.push([label, `${t}`, cell(mine.map((r) => r.prefill_tps)), cell(mine.map((r) => r.decode_tps)), cell(mine.map((r) => r.decode_tps * model.token_bytes / 1e9)),
          cell(mine.flatMap((r) => (r.peak_bytes === undefined ? [] : r.peak_bytes / 1e6)))])
      }
      if (gap) speeds.push([label, `${t}`, 'missing', '', '', ''])
    }
  }
  const nibble = subject(results)
  const compared = ratios(results).map((r) => [r.name, `${r.threads}`, digits(r.value), r.least === undefined ? '' : digits(r.least), r.goal === undefined ? '' : digits(r.goal), verdict(r)])
  return [
    `## ${model.name}: ${(model.weight_bytes / 1e6).toFixed(0)} MB of weights, ${(model.token_bytes / 1e6).toFixed(0)} MB read for a token, ` +
      `${(context * model.kv_bytes_per_token / 1e6).toFixed(1)} MB of keys and values`,
    `Reading memory, GB/s with ${threads.join(' / ')} threads: native ${reads('native')}, WebAssembly ${reads('wasm')}`,
    markdown(speeds),
    ...gaps(missing, labels),
    ...(compared.length && nibble ? [`Ratios of medians, of ${labels[nibble] ?? nibble}:`, markdown([['', 'threads', 'ratio', 'at least', 'go for', ''], ...compared])] : []),
  ].join('\n\n')
}
