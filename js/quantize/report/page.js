/**
 * The page of a report.
 */
import { NibbleError } from '../../errors.js'
import { change, count, figure, html, inLine, percent, seconds, size, withError } from './markup.js'
import { allowance, legend, histogram, percentiles } from './plots.js'
import { STYLE } from './style.js'
import { allTensors, tensorPlots } from './tensors.js'

/** @typedef {import('../report.js').QuantizeReport} QuantizeReport @typedef {import('./markup.js').Markup} Markup */
/** @typedef {import('../../evaluate.js').Evaluation & import('../../evaluate.js').Divergence} Validation */

/** Predictions that are shown at once. */
const WORST = 8

/** @param {QuantizeReport} report */
const validationOf = (report) => /** @type {Validation | undefined} */ (report.validation)

/** @param {boolean | undefined} passed */
const badge = (passed) => (passed === undefined ? html`<span class="badge none">no gates</span>`
  : passed ? html`<span class="badge pass">\u2713 PASS</span>` : html`<span class="badge fail">\u2717 FAIL</span>`)

/** The last part of a path. @param {string} name */
const base = (name) => name.replace(/^.*[\\/](?=[^\\/])/, '')
/** @param {QuantizeReport} report */
const nameOf = (report) => report.name ?? base(report.output.name)
/** @param {number} value @param {number} error @param {(x: number) => string} show */
const plusMinus = (value, error, show) => html`${show(value)} <span class="soft">\u00b1 ${show(error)}</span>`
/** @param {number} value @param {number} error */
const measured = (value, error) => {
  const [v, e] = withError(value, error)
  return html`${v} <span class="soft">\u00b1 ${e}</span>`
}
/** A probability. @param {number} x */
const p = (x) => (x < 0.0005 ? figure(x) : percent(x, 1))

/** @param {string} name @param {string} value @param {import('./markup.js').Part} about */
const tile = (name, value, about) => html`<div class="tile"><span>${name}</span><b>${value}</b><span>${about}</span></div>`

/** @param {QuantizeReport} report */
function head(report) {
  const { input, output, gates } = report, v = validationOf(report)
  const times = output.bytes > 0 ? input.bytes / output.bytes : 0
  return html`<header><p class="eyebrow">Quantization report${report.program && ` \u00b7 ${report.program}`}</p>
<div class="title"><h1>${base(output.name)}</h1>${badge(gates?.passed)}</div>
<p class="soft">${output.type ?? ''}${output.type && ' '}from ${base(input.name)}${input.architecture && ` \u00b7 ${input.architecture}`}${input.parameters && ` \u00b7 ${count(input.parameters)} parameters`}</p></header>
<div class="tiles">${tile('Size', size(output.bytes), html`from ${size(input.bytes)}, ${times.toFixed(2)} times smaller`)}
${output.bpw !== undefined && tile('Bits per weight', output.bpw.toFixed(2), 'over all tensors, scales included')}
${v && [tile('Divergence (KL)', figure(v.kld.mean), html`\u00b1 ${withError(v.kld.mean, v.kld.error)[1]} nats, mean`), tile('Same first token', percent(v.top1_agreement, 1), html`\u00b1 ${percent(v.top1_error, 1)}`),
    tile('Perplexity', change(v.ppl_ratio - 1), html`\u00b1 ${percent(v.ppl_ratio_error)}; ${figure(v.ref_ppl)} \u2192 ${figure(v.ppl)}`)]}</div>`
}

/** @param {QuantizeReport} report */
function gatesSection({ gates }) {
  if (!gates) return ''
  const show = (/** @type {string} */ name, /** @type {number} */ x) => (['top1', 'ppl', 'p'].includes(name) ? percent(x) : name === 'loops' ? String(Number(x.toPrecision(2))).replace('-', '\u2212') : figure(x))
  const used = (/** @type {import('../gates.js').GateResult} */ g) => (g.kind === 'least' ? (1 - g.value) / (1 - g.limit) : g.value / g.limit)
  return html`<section><h2>Gates</h2><div class="scroll"><table class="cards"><thead><tr><th>Result</th><th>Gate</th><th class="n">Measured</th><th class="n">Limit</th><th>Used of the limit</th><th>Sample</th></tr></thead><tbody>
${gates.gates.map((g) => html`<tr><td>${badge(g.passed)}</td><th>${g.what[0].toUpperCase() + g.what.slice(1)}</th><td class="n" data-name="measured">${g.error === null || g.error === undefined ? show(g.name, g.value) : g.name === 'kld' ? measured(g.value, g.error) : plusMinus(g.value, g.error, (x) => show(g.name, x))}</td>
<td class="n" data-name="limit">${g.kind === 'most' ? '\u2264' : '\u2265'} ${show(g.name, g.limit)}</td><td class="bar">${Number.isFinite(used(g)) && allowance(used(g), g.passed)}</td>
<td>${g.sure ? html`<span class="soft">sufficient</span>` : html`<span class="badge doubt">too small</span>${g.needed !== null && g.needed !== undefined && html` <span class="note">about ${count(Number(g.needed.toPrecision(2)))} would do</span>`}`}</td></tr>`)}</tbody></table></div>
<p class="note">${count(gates.tokens)} predictions. A sample is too small where the standard error is greater than the distance to the limit: another text could have ended otherwise.</p></section>`
}

/** @param {Validation} v */
const figures = (v) => html`<div class="scroll"><table class="cards"><thead><tr><th>Divergence, nats</th><th class="n">mean</th><th class="n">median</th><th class="n">90 %</th><th class="n">95 %</th><th class="n">99 %</th><th class="n">99.9 %</th><th class="n">greatest</th></tr></thead>
<tbody><tr><td class="soft w">${v.kld.kind}</td><td class="n" data-name="mean divergence">${measured(v.kld.mean, v.kld.error)}</td>${Object.entries({ median: v.kld.median, '90 %': v.kld.p90, '95 %': v.kld.p95, '99 %': v.kld.p99, '99.9 %': v.kld.p999, greatest: v.kld.max }).map(([name, x]) => html`<td class="n" data-name="${name}">${figure(x)}</td>`)}</tr></tbody></table></div>
<dl><dt>Perplexity</dt><dd>${plusMinus(v.ppl, v.ppl_error, (x) => x.toFixed(3))}, the original ${v.ref_ppl.toFixed(3)}; ${change(v.ppl_ratio - 1)} <span class="soft">\u00b1 ${percent(v.ppl_ratio_error)} (paired)</span></dd>
<dt>Same first token</dt><dd>${plusMinus(v.top1_agreement, v.top1_error, percent)}</dd>
<dt>Probability of the right token</dt><dd>${plusMinus(v.p_rms, v.p_rms_error, percent)} RMS difference</dd>
<dt>Sample</dt><dd>${count(v.tokens)} predictions in ${count(v.chunks)} chunks of ${count(v.n_ctx)} tokens</dd>
<dt>Reference</dt><dd>${base(v.reference.name)}${v.reference.kind === 'file' ? ', by a reference file' : ', evaluated beside it'}</dd>
${v.reference.tokens_sha256 && html`<dt>Text (SHA-256 of its tokens)</dt><dd class="mono">${v.reference.tokens_sha256}</dd>`}</dl>
${v.kld.kind !== 'exact' && html`<p class="note">${v.kld.kind === 'estimate' ? `The reference file holds the most probable tokens and a sample of the others: the mean is right on the average (its error includes the draw), and at least ${figure(v.kld.lower_bound)}.` : 'The reference file holds the most probable tokens only: the divergences are lower bounds.'}</p>`}`

/** @param {QuantizeReport[]} reports */
function distance(reports) {
  const all = reports.flatMap((report) => {
    const v = validationOf(report)
    return v ? [{ name: nameOf(report), v }] : []
  })
  if (all.length === 0) return html`<section><h2>Distance from the original</h2><p class="soft">Not measured: the run was made without a text to validate on.</p></section>`
  const first = validationOf(reports[0])
  return html`<section><h2>Distance from the original</h2>${first && figures(first)}${legend(all.map(({ name }) => name))}
<div class="plots"><figure>${percentiles(all.map(({ name, v }) => ({ name, quantiles: v.distribution.quantiles, tokens: v.tokens, mean: v.kld.mean })))}<figcaption>Divergence that so many percent of the predictions do not exceed. The axis is stretched towards the worst.</figcaption></figure>
<figure>${histogram(comparable(all))}<figcaption>Predictions by their divergence; what lies outside counts at the ends.</figcaption></figure></div></section>`
}

/** Histograms with the parts of the first. @param {{name: string, v: Validation}[]} all */
function comparable(all) {
  const { from, to, counts } = all[0].v.distribution.histogram
  return all.map(({ name, v }) => ({ name, histogram: v.distribution.histogram })).filter(({ histogram: h }) => h.from === from && h.to === to && h.counts.length === counts.length)
}

/** @param {QuantizeReport[]} reports */
function runs(reports) {
  if (reports.length < 2) return ''
  const cell = (/** @type {string} */ name, /** @type {import('./markup.js').Part} */ value) => html`<td class="n" data-name="${name}">${value}</td>`
  return html`<section><h2>Runs</h2><div class="scroll"><table class="cards"><thead><tr><th>Run</th><th class="n">File</th><th class="n">Bits / weight</th><th class="n">Divergence (KL)</th><th class="n">99 %</th><th class="n">Same first</th><th class="n">Perplexity</th><th class="n">Time</th><th>Gates</th></tr></thead><tbody>
${reports.map((report) => {
    const v = validationOf(report)
    return html`<tr><th>${nameOf(report)}</th>${cell('file', size(report.output.bytes))}${cell('bits per weight', report.output.bpw?.toFixed(2))}${cell('divergence', v && measured(v.kld.mean, v.kld.error))}
${cell('99 %', v && figure(v.kld.p99))}${cell('same first', v && percent(v.top1_agreement, 1))}${cell('perplexity', v && html`${v.ppl.toFixed(3)} <span class="soft">${change(v.ppl_ratio - 1)}</span>`)}${cell('time', report.timing && seconds(report.timing.seconds))}<td>${badge(report.gates?.passed)}</td></tr>`
  })}</tbody></table></div><p class="note">Below, ${nameOf(reports[0])} in full; the plots show all.</p>${new Set(reports.map((r) => `${r.validation?.tokens} ${r.validation?.reference?.tokens_sha256 ?? ''}`)).size > 1 && html`<p class="note">Not all of them were measured on the same sample: compare with care.</p>`}</section>`
}

/** @param {QuantizeReport} report */
function worst(report) {
  const list = report.validation?.worst
  if (!list?.length) return ''
  const token = (/** @type {string} */ text) => html`<span class="text">${inLine(text) || '\u2205'}</span>`
  const table = (/** @type {typeof list} */ part) => html`<div class="scroll"><table class="cards worst"><thead><tr><th class="n">Divergence</th><th>Text, and what really follows</th><th>This model</th><th>The original</th></tr></thead><tbody>
${part.map((w) => html`<tr><td class="n" data-name="divergence">${figure(w.kld)}</td><td><span class="text">${w.context.length > 160 ? '\u2026' : ''}${inLine(w.context.slice(-160))}<mark>${inLine(w.expected) || '\u2205'}</mark></span></td>
<td data-name="this model">${token(w.predicted.text)} <span class="soft">${p(w.predicted.p)}</span><br><span class="note">right one ${p(w.p)}</span></td><td data-name="the original">${token(w.ref_predicted.text)} <span class="soft">${p(w.ref_predicted.p)}</span><br><span class="note">right one ${p(w.ref_p)}</span></td></tr>`)}</tbody></table></div>`
  return html`<section><h2>Worst predictions</h2>${table(list.slice(0, WORST))}${list.length > WORST && html`<details class="more"><summary>${list.length - WORST} more</summary>${table(list.slice(WORST))}</details>`}</section>`
}

/** @param {QuantizeReport} report */
function loops(report) {
  const l = report.validation?.loops
  if (!l) return ''
  return html`<section><h2>Loops in greedy text</h2><p>${l.looping} of ${l.prompts} texts go round in circles, of the original\u2019s ${l.ref_looping}: ${l.added} new, ${l.removed} gone. Runs of four tokens that repeat earlier ones:
${percent(l.repeated, 1)}, in the original\u2019s ${percent(l.ref_repeated, 1)} <span class="soft">(difference ${change(l.repeated_difference, 1)} \u00b1 ${percent(l.repeated_error, 1)})</span>.</p>
${l.examples.map((e) => html`<p class="text"><span class="soft">\u2026${inLine(e.prompt.slice(-80))}</span>${inLine(e.text.slice(0, 400))}</p><p class="note">goes round every ${e.period} token${e.period > 1 && 's'}</p>`)}
<p class="note">Beginnings taken from the text, up to ${l.tokens} tokens of the most probable text each. A text loops where up to 32 tokens come three times in a row.</p></section>`
}

/** @param {QuantizeReport} report */
function calibration({ calibration: c }) {
  if (!c) return ''
  return html`<section><h2>Calibration</h2><dl>${c.text && html`<dt>Text</dt><dd>${base(c.text)}</dd>`}<dt>Samples</dt><dd>${count(c.samples)}${c.sample_tokens && ` of ${count(c.sample_tokens)} tokens`}</dd><dt>Tokens</dt><dd>${count(c.tokens)}</dd>
${c.dead_columns !== undefined && html`<dt>Dead columns</dt><dd>${count(c.dead_columns)}${c.dead_columns === 0 ? '' : ': no input of the samples reached them'}</dd>`}${c.nan_inputs !== undefined && html`<dt>Inputs that are no numbers</dt><dd>${count(c.nan_inputs)}</dd>`}
${c.sha256 && html`<dt>SHA-256</dt><dd class="mono">${c.sha256}</dd>`}</dl>${c.notes?.map((note) => html`<p class="note">${note}</p>`)}</section>`
}

/** @param {QuantizeReport} report */
function facts({ input, output, options, timing }) {
  const file = (/** @type {string} */ what, /** @type {import('../report.js').ReportFile} */ f) => html`<dt>${what}</dt><dd>${f.name} <span class="soft">${f.bytes.toLocaleString('en')} bytes</span>${f.sha256 && html`<br><span class="mono soft">SHA-256 ${f.sha256}</span>`}</dd>`
  const given = Object.entries(options).filter(([, value]) => value !== null && value !== false && !(Array.isArray(value) && value.length === 0))
  return html`<section><h2>What was done</h2><dl>${file('Input', input)}${file('Output', output)}${given.map(([name, value]) => html`<dt>${name}</dt><dd class="mono">${Array.isArray(value) ? value.join(', ') : value === true ? 'yes' : String(value)}</dd>`)}
${timing && html`<dt>Time</dt><dd>${seconds(timing.seconds)}${timing.steps && Object.keys(timing.steps).length > 1 && ` (${Object.entries(timing.steps).map(([step, s]) => `${step} ${seconds(s)}`).join(', ')})`}${timing.resumed ? `, ${percent(timing.resumed, 0)} of it in an earlier run` : ''}</dd>
${timing.threads !== undefined && html`<dt>Threads</dt><dd>${timing.threads}${timing.variant && `, ${timing.variant}`}</dd>`}${timing.memory_bytes !== undefined && html`<dt>Memory of the engine</dt><dd>${size(timing.memory_bytes)}</dd>`}`}</dl></section>`
}

/** @param {QuantizeReport} report */
const warnings = (report) => (report.warnings.length === 0 ? '' : html`<section class="warnings"><h2>Notes</h2><ul>${report.warnings.map((text) => html`<li>${text}</li>`)}</ul></section>`)

/** SHA-256 in base64: the policy of the page allows this one style sheet, and no script at all. @param {string} text */
async function hash(text) {
  const { subtle } = globalThis.crypto
  if (!subtle) throw new NibbleError('E_UNSUPPORTED', 'hashes cannot be computed here; serve the page over https or from localhost')
  return btoa(String.fromCharCode(...new Uint8Array(await subtle.digest('SHA-256', new TextEncoder().encode(text)))))
}

/** @param {QuantizeReport[]} reports */
export async function page(reports) {
  const [report] = reports
  const policy = `default-src 'none'; style-src 'sha256-${await hash(STYLE)}'; base-uri 'none'; form-action 'none'`
  return String(html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${base(report.output.name)}: quantization report</title>
`) + `<style>${STYLE}</style>\n` + String(html`</head>
<body><main>
${head(report)}
${warnings(report)}
${runs(reports)}
${gatesSection(report)}
${distance(reports)}
${tensorPlots(reports, nameOf)}
${worst(report)}
${loops(report)}
${calibration(report)}
${facts(report)}
${allTensors(report)}
<footer>Divergence: Kullback\u2013Leibler, of the model from its original, in nats. Errors after \u00b1 are standard errors. Pages like this one hold text that models and files brought; it is shown as text.</footer>
</main></body>
</html>
`)
}
