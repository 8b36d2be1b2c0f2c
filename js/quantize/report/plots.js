/**
 * Plots as inline SVG. Colours and fonts come from classes of the style sheet, so that a plot follows the page from light to dark and to paper.
 */
import { figure, html, percent } from './markup.js'

/** @typedef {import('./markup.js').Markup} Markup */

const WIDTH = 440
const round = (/** @type {number} */ x) => Number(x.toFixed(1))
/** The best predictions have divergences of any smallness, which would stretch the axis. */
const LEAST = 0.05
/** Colours that lines and dots can have; further ones begin again. */
export const COLOURS = 6

/** @param {string[]} names */
export const legend = (names) => (names.length < 2 ? '' : html`<ul class="legend">${names.map((name, i) => html`<li><svg viewBox="0 0 12 12" aria-hidden="true"><rect width="12" height="12" rx="3" class="f${i % COLOURS}"/></svg>${name}</li>`)}</ul>`)

/** Powers of ten around positive values. @param {number[]} values @returns {[number, number]} exponents */
function decades(values) {
  const positive = values.filter((x) => x > 0 && Number.isFinite(x))
  if (positive.length === 0) return [-1, 0]
  const from = Math.floor(Math.log10(Math.min(...positive)) + 1e-9), to = Math.ceil(Math.log10(Math.max(...positive)) - 1e-9)
  return [from, Math.max(to, from + 1)]
}

/**
 * The same for values that lie near to each other: from 1, 2 or 5 times a power of ten to another.
 * @param {number[]} values @returns {[number, number]}
 */
function bounds(values) {
  const [from, to] = decades(values)
  const steps = Array.from({ length: to - from + 1 }, (_, i) => [1, 2, 5].map((n) => from + i + Math.log10(n))).flat().filter((e) => e <= to + 1e-9)
  const logs = values.filter((x) => x > 0).map(Math.log10)
  const least = Math.min(...logs), most = Math.max(...logs)
  return logs.length ? [steps.findLast((e) => e <= least + 1e-9) ?? from, steps.find((e) => e >= most - 1e-9 && e > least + 1e-9) ?? to] : [from, to]
}

/** @param {number} exponent */
const power = (exponent) => (exponent >= -3 && exponent <= 3 ? String(Number((10 ** exponent).toPrecision(1))) : `1e${exponent}`.replace('-', '\u2212'))

/**
 * Axes with a logarithmic one upwards.
 * @param {{height: number, left: number, bottom: number, y: [number, number], ticks: {at: number, name: string}[], x: string, yName: string, show?: (exponent: number) => string}} frame
 */
function frame({ height, left, bottom, y: [from, to], ticks, x, yName, show = power }) {
  const top = 20, right = WIDTH - 10, base = height - bottom
  const yOf = (/** @type {number} */ value) => round(base - (base - top) * Math.min(1, Math.max(0, (Math.log10(Math.max(value, 1e-300)) - from) / (to - from))))
  const step = Math.max(1, Math.ceil((to - from) / 6)), low = Math.ceil(from - 1e-9)
  const whole = Array.from({ length: Math.max(0, Math.floor((to + 1e-9 - low) / step) + 1) }, (_, i) => low + i * step)
  const lines = to - from > 2.1 ? whole : [...whole, ...[-1, 0, 1, 2].map((i) => low + i).flatMap((e) => [e + Math.log10(2), e + Math.log10(5)])].filter((e) => e >= from - 1e-9 && e <= to + 1e-9)
  const axes = html`<text x="0" y="10">${yName}</text>${lines.map((e) => html`<line x1="${left}" x2="${right}" y1="${yOf(10 ** e)}" y2="${yOf(10 ** e)}" class="grid"/><text x="${left - 6}" y="${yOf(10 ** e) + 4}" text-anchor="end">${show(e)}</text>`)}
<line x1="${left}" x2="${right}" y1="${base}" y2="${base}" class="axis"/>${ticks.map(({ at, name }) => html`<text x="${round(left + (right - left) * at)}" y="${base + 15}" text-anchor="middle">${name}</text>`)}<text x="${right}" y="${height - 2}" text-anchor="end">${x}</text>`
  return { axes, yOf, xOf: (/** @type {number} */ at) => round(left + (right - left) * at), base, top }
}

/**
 * Divergences that a part of the predictions does not exceed; the axis is stretched towards the worst.
 * @param {{name: string, quantiles: [number, number][], tokens: number, mean: number}[]} list
 */
export function percentiles(list) {
  const runs = list.map((run) => ({ ...run, quantiles: run.quantiles.filter(([q], i, all) => q >= LEAST || i === all.length - 1) }))
  const most = Math.max(...runs.map(({ tokens }) => Math.log10(2 * tokens)), 1)
  const at = (/** @type {number} */ q, /** @type {number} */ tokens) => Math.min(1, -Math.log10(Math.max(1 - q, 1 / (2 * tokens))) / most)
  const ticks = [[0, '0'], [0.5, '50'], [0.9, '90'], [0.99, '99'], [0.999, '99.9'], [0.9999, '99.99']].map(([q, name]) => ({ at: -Math.log10(1 - Number(q)) / most, name: String(name) })).filter((t) => t.at < 0.88)
  const height = 250
  const { axes, yOf, xOf } = frame({ height, left: 44, bottom: 34, y: decades(runs.flatMap(({ quantiles, mean }) => [mean, ...quantiles.map(([, x]) => x)])), ticks: [...ticks, { at: 1, name: 'max' }].map((t, i, all) => (i === all.length - 1 ? { ...t, at: 0.985 } : t)), x: 'percent of the predictions', yName: 'divergence, nats' })
  return html`<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Percentiles of the divergence">${axes}${runs.map(({ name, quantiles, tokens, mean }, i) => html`
${runs.length === 1 && html`<line x1="${xOf(0)}" x2="${xOf(1)}" y1="${yOf(mean)}" y2="${yOf(mean)}" class="axis dash"/><text x="${xOf(1)}" y="${yOf(mean) + 13}" text-anchor="end">mean ${figure(mean)}</text>`}
<path class="l${i % COLOURS}" d="${quantiles.map(([q, x], j) => `${j ? 'L' : 'M'}${xOf(at(q, tokens))} ${yOf(x)}`).join('')}"/>${quantiles.map(([q, x]) => html`<circle cx="${xOf(at(q, tokens))}" cy="${yOf(x)}" r="2.5" class="f${i % COLOURS}"><title>${name}: ${q === 1 ? 'greatest' : `${Number((100 * q).toFixed(2))} % up to`} ${figure(x)}</title></circle>`)}`)}</svg>`
}

/**
 * How many predictions have a divergence of which size.
 * @param {{name: string, histogram: {from: number, to: number, counts: number[]}}[]} runs
 */
export function histogram(runs) {
  const { from, to, counts: { length } } = runs[0].histogram
  const shares = runs.map(({ histogram: { counts } }) => {
    const all = counts.reduce((a, b) => a + b, 0)
    return counts.map((n) => (all ? n / all : 0))
  })
  const used = shares.flatMap((list) => list.flatMap((x, i) => (x > 0 ? [i] : [])))
  const perDecade = length / (to - from), first = Math.max(0, Math.floor(Math.min(...used) / perDecade) * perDecade), last = Math.min(length, Math.ceil((Math.max(...used) + 1) / perDecade) * perDecade)
  const height = 250, left = 44, right = WIDTH - 10, top = 20, base = height - 34, greatest = Math.max(...shares.flat())
  const x = (/** @type {number} */ i) => round(left + (right - left) * (i - first) / (last - first)), y = (/** @type {number} */ share) => round(base - (base - top) * share / greatest)
  const ticks = Array.from({ length: (last - first) / perDecade + 1 }, (_, i) => first + i * perDecade)
  const half = percent(greatest / 2, greatest < 0.1 ? 1 : 0), whole = percent(greatest, greatest < 0.1 ? 1 : 0)
  return html`<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Histogram of the divergence"><text x="0" y="10">part of the predictions</text>
${[[greatest / 2, half], [greatest, whole]].map(([share, name]) => html`<line x1="${left}" x2="${right}" y1="${y(Number(share))}" y2="${y(Number(share))}" class="grid"/><text x="${left - 6}" y="${y(Number(share)) + 4}" text-anchor="end">${name}</text>`)}
${runs.map(({ name }, r) => (runs.length === 1
    ? shares[r].slice(first, last).map((share, i) => share > 0 && html`<rect x="${x(first + i) + 0.5}" y="${y(share)}" width="${round(x(first + i + 1) - x(first + i) - 1)}" height="${round(base - y(share))}" class="f0"><title>${figure(10 ** (from + (first + i) / perDecade))} to ${figure(10 ** (from + (first + i + 1) / perDecade))}: ${percent(share)}</title></rect>`)
    : html`<path class="l${r % COLOURS}" d="M${x(first)} ${base}${shares[r].slice(first, last).map((share, i) => `L${x(first + i)} ${y(share)}L${x(first + i + 1)} ${y(share)}`).join('')}L${x(last)} ${base}"><title>${name}</title></path>`))}
<line x1="${left}" x2="${right}" y1="${base}" y2="${base}" class="axis"/>${ticks.map((i) => html`<text x="${x(i)}" y="${base + 15}" text-anchor="middle">${power(from + i / perDecade)}</text>`)}<text x="${right}" y="${height - 2}" text-anchor="end">divergence, nats</text></svg>`
}

/**
 * Cells of layers and kinds of tensors.
 * @typedef {{layer: number, kind: string, step: number, text: string, title: string}} Cell  step: of 9, from pale to dark
 * @param {Cell[]} cells  layer -1: tensors outside of layers
 * @param {{label: string, scale?: [string, string]}} about
 */
export function heatMap(cells, { label, scale }) {
  const inner = cells.filter(({ layer }) => layer >= 0), outer = cells.filter(({ layer }) => layer < 0)
  const kinds = [...new Set(inner.map(({ kind }) => kind))], layers = Math.max(-1, ...inner.map(({ layer }) => layer)) + 1
  const left = 30, columns = Math.max(kinds.length, 1), width = (WIDTH - left) / columns
  const perRow = 4, outerWidth = Math.min(100, (WIDTH - left) / perRow)
  const height = layers > 48 ? 9 : layers > 24 ? 13 : 22, texts = height > 14 && width > 38
  const top = kinds.length ? 18 : 4, below = top + layers * height + (outer.length ? 22 : 4)
  const rows = Math.ceil(outer.length / perRow), end = below + rows * 38 - (rows ? 12 : 0)
  const short = (/** @type {string} */ kind, room = width) => {
    const text = kind.replace(/^attn_output$/, 'attn out').replace(/^(attn|ffn)_/, '')
    const most = Math.floor(room / 6.2)
    return text.length > most ? `${text.slice(0, most - 1)}\u2026` : text
  }
  const rect = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ w, /** @type {number} */ h, /** @type {Cell} */ { step, text, title }, /** @type {boolean} */ withText) => html`<rect x="${round(x + 1)}" y="${y + 0.5}" width="${round(w - 2)}" height="${h - 1}" rx="2" class="s${step}"><title>${title}</title></rect>${withText && html`<text x="${round(x + w / 2)}" y="${y + h / 2 + 3.5}" text-anchor="middle" class="cell t${step}" pointer-events="none">${text}</text>`}`
  const every = height < 10 ? 8 : height < 14 ? 4 : 1
  return html`<svg viewBox="0 0 ${WIDTH} ${end + (scale ? 24 : 2)}" role="img" aria-label="${label}">${kinds.map((kind, i) => html`<text x="${round(left + (i + 0.5) * width)}" y="11" text-anchor="middle">${short(kind)}<title>${kind}</title></text>`)}
${Array.from({ length: layers }, (_, l) => l % every === 0 && html`<text x="${left - 8}" y="${top + (l + 0.5) * height + 4}" text-anchor="end">${l}</text>`)}
${inner.map((cell) => rect(left + kinds.indexOf(cell.kind) * width, top + cell.layer * height, width, height, cell, texts))}
${outer.map((cell, i) => html`<text x="${round(left + (i % perRow) * outerWidth + 2)}" y="${below + Math.floor(i / perRow) * 38 - 4}">${short(cell.kind, outerWidth)}<title>${cell.kind}</title></text>${rect(left + (i % perRow) * outerWidth, below + Math.floor(i / perRow) * 38, outerWidth, 22, cell, true)}`)}
${scale && html`<text x="${left}" y="${end + 16}">${scale[0]}</text>${Array.from({ length: 9 }, (_, i) => html`<rect x="${left + 60 + 16 * i}" y="${end + 7}" width="16" height="11" class="s${i}"/>`)}<text x="${left + 60 + 16 * 9 + 8}" y="${end + 16}">${scale[1]}</text>`}</svg>`
}

/**
 * A value of each tensor, by layer.
 * @param {{name: string, points: {x: number, y: number, title: string}[]}[]} series  x: layer, with a part of one to tell kinds apart
 * @param {{layers: number, label: string, yName: string}} about
 */
export function dots(series, { layers, label, yName }) {
  const height = 250, every = Math.max(1, Math.ceil(layers / 12))
  const ticks = Array.from({ length: Math.ceil(layers / every) }, (_, i) => ({ at: (i * every + 0.5) / layers, name: String(i * every) }))
  const { axes, yOf, xOf } = frame({ height, left: 50, bottom: 34, y: bounds(series.flatMap(({ points }) => points.map(({ y }) => y))), ticks, x: 'layer', yName, show: (e) => `${Number((10 ** (e + 2)).toPrecision(1))} %` })
  const many = series.reduce((n, { points }) => n + points.length, 0) > 250
  return html`<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${label}">${axes}${series.map(({ points }, i) => points.map(({ x, y, title }) => y > 0 && html`<circle cx="${xOf(x / layers)}" cy="${yOf(y)}" r="${many ? 2 : 3.5}" class="f${i % COLOURS}${many ? '' : ' edge'}"><title>${title}</title></circle>`))}</svg>`
}

/** Shares of a whole, side by side. @param {{name: string, value: number, title: string}[]} parts @param {string} label */
export function shares(parts, label) {
  const all = parts.reduce((sum, { value }) => sum + value, 0)
  let at = 0
  return html`<svg viewBox="0 0 ${WIDTH} 26" role="img" aria-label="${label}">${parts.map(({ name, value, title }, i) => {
    const width = all ? (WIDTH * value) / all : 0, x = at
    at += width
    return html`<rect x="${round(x)}" y="0" width="${round(Math.max(0, width - 1))}" height="26" class="f${i % COLOURS}"><title>${title}</title></rect>${width > 7 * name.length + 8 && html`<text x="${round(x + width / 2)}" y="17" text-anchor="middle" class="cell onbar">${name}</text>`}`
  })}</svg>`
}

/** How much of what a limit allows is used. @param {number} used @param {boolean} passed */
export function allowance(used, passed) {
  const most = 1.5, x = (/** @type {number} */ v) => round(140 * Math.min(1, Math.max(0, v / most)))
  return html`<svg viewBox="0 0 140 12" role="img" aria-label="${percent(used, 0)} of what the limit allows"><title>${percent(used, 0)} of what the limit allows</title><rect y="2" width="140" height="8" rx="2" class="track"/><rect y="2" width="${x(used)}" height="8" rx="2" class="${passed ? 'ok' : 'bad'}"/><line x1="${x(1)}" x2="${x(1)}" y1="0" y2="12" class="limit"/></svg>`
}
