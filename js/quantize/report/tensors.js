/**
 * The part of a report's page that is about single tensors.
 */
import { count, figure, html, percent, seconds, size } from './markup.js'
import { dots, heatMap, legend, shares } from './plots.js'

/** @typedef {import('../report.js').QuantizeReport} QuantizeReport @typedef {import('../report.js').ReportTensor} ReportTensor */

/** Where a tensor stands in the model. @param {string} name */
function placeOf(name) {
  const match = /^blk\.(\d{1,4})\.(.+?)(?:\.weight)?$/.exec(name)
  return match ? { layer: Number(match[1]), kind: match[2] } : { layer: -1, kind: name.replace(/\.weight$/, '') }
}

/** Vectors are kept as they are and would only dilute the picture. @param {ReportTensor} tensor */
const isMatrix = ({ shape }) => shape.length > 1

/** Of nine steps, on a logarithmic scale. @param {number[]} values */
function scaleOf(values) {
  const logs = values.filter((x) => x > 0).map(Math.log)
  const least = Math.min(...logs), most = Math.max(...logs)
  return (/** @type {number} */ x) => (x > 0 && most > least ? Math.round(8 * (Math.log(x) - least) / (most - least)) : x > 0 ? 4 : 0)
}

/** Root of a relative squared error, as people read it. @param {number} error */
const rms = (error) => percent(Math.sqrt(error), Math.sqrt(error) < 0.00995 ? 2 : 1)

/**
 * A heat map of a figure of tensors.
 * @param {ReportTensor[]} tensors @param {(tensor: ReportTensor) => number | null | undefined} value
 * @param {{label: string, short: (x: number) => string, long: (x: number) => string, caption: import('./markup.js').Part}} about
 */
function map(tensors, value, { label, short, long, caption }) {
  const measured = tensors.flatMap((tensor) => {
    const x = value(tensor)
    return x === null || x === undefined ? [] : [{ tensor, x }]
  })
  if (measured.length === 0) return ''
  const step = scaleOf(measured.map(({ x }) => x)), all = measured.map(({ x }) => x)
  const cells = measured.map(({ tensor, x }) => ({ ...placeOf(tensor.name), step: step(x), text: short(x), title: `${tensor.name}: ${long(x)}` }))
  return html`<figure><h3>${label}</h3>${heatMap(cells, { label, scale: [short(Math.min(...all)), short(Math.max(...all))] })}<figcaption>${caption}</figcaption></figure>`
}

/** From pale to dark by bits: 2 to 8, and floats. @param {number} bits */
const bitStep = (bits) => (bits >= 16 ? 8 : Math.max(0, Math.min(7, Math.round(bits - 1.5))))

/** @param {ReportTensor[]} tensors */
function bits(tensors) {
  const cells = tensors.map((t) => ({ ...placeOf(t.name), step: bitStep(t.bits), text: t.type, title: `${t.name}: ${t.type}, ${t.bits.toFixed(2)} bits per weight, ${size(t.bytes)}` }))
  const types = [...new Map([...tensors].sort((a, b) => a.bits - b.bits).map((t) => [t.type, bitStep(t.bits)]))]
  return html`<figure><h3>Type and bits</h3><ul class="legend">${types.map(([type, step]) => html`<li><svg viewBox="0 0 12 12" aria-hidden="true"><rect width="12" height="12" rx="3" class="s${step}"/></svg>${type}</li>`)}</ul>${heatMap(cells, { label: 'Type and bits of each tensor' })}<figcaption>Rows are layers; the darker, the more bits. Tensors outside of layers stand below.</figcaption></figure>`
}

/** @param {QuantizeReport} report */
function byType({ tensors }) {
  /** @type {Map<string, {bytes: number, weights: number}>} */
  const types = new Map()
  for (const { type, bytes, shape } of tensors) {
    const entry = types.get(type) ?? { bytes: 0, weights: 0 }
    entry.bytes += bytes
    entry.weights += shape.reduce((a, b) => a * b, 1)
    types.set(type, entry)
  }
  const parts = [...types].sort((a, b) => b[1].bytes - a[1].bytes)
  return html`<figure><h3>Bytes by type</h3>${legend(parts.map(([type]) => type))}${shares(parts.map(([type, { bytes }]) => ({ name: type, value: bytes, title: `${type}: ${size(bytes)}` })), 'Bytes by type')}
<div class="scroll"><table><thead><tr><th>Type</th><th class="n">Bytes</th><th class="n">Weights</th><th class="n">Bits / weight</th></tr></thead><tbody>${parts.map(([type, { bytes, weights }]) => html`<tr><td>${type}</td><td class="n">${size(bytes)}</td><td class="n">${count(weights)}</td><td class="n">${(8 * bytes / weights).toFixed(2)}</td></tr>`)}</tbody></table></div></figure>`
}

/** Errors by layer; a colour for each method, or for each run where there are several. @param {QuantizeReport[]} reports @param {(report: QuantizeReport) => string} nameOf */
function errors(reports, nameOf) {
  /** @type {Map<string, {x: number, y: number, title: string}[]>} */
  const series = new Map()
  const kinds = [...new Set(reports.flatMap(({ tensors }) => tensors.filter(isMatrix).map(({ name }) => placeOf(name)).filter(({ layer }) => layer >= 0).map(({ kind }) => kind)))]
  const several = reports.length > 1, byMethod = !several && reports[0].tensors.some((tensor) => tensor.errors)
  let layers = 0
  for (const report of reports) {
    for (const tensor of report.tensors.filter(isMatrix)) {
      const { layer, kind } = placeOf(tensor.name)
      if (layer < 0) continue
      layers = Math.max(layers, layer + 1)
      const tried = Object.entries(byMethod ? tensor.errors ?? {} : { [several ? nameOf(report) : tensor.method]: tensor.relative_error ?? 0 })
      for (const [name, error] of tried) {
        if (error <= 0) continue
        const list = series.get(name) ?? []
        list.push({ x: layer + 0.15 + 0.7 * (kinds.indexOf(kind) + 0.5) / kinds.length, y: Math.sqrt(error), title: `${tensor.name}, ${name}: ${rms(error)}` })
        series.set(name, list)
      }
    }
  }
  if (layers === 0 || series.size === 0) return ''
  return html`<figure><h3>Error of the ${byMethod ? 'output' : 'weights'} by layer${several ? ', for each run' : series.size > 1 && ', for each method'}</h3>${legend([...series.keys()])}
${dots([...series].map(([name, points]) => ({ name, points })), { layers, label: `Error of the ${byMethod ? 'output' : 'weights'} by layer`, yName: byMethod ? 'RMS error over RMS output' : 'RMS error over RMS weight' })}<figcaption>Each dot is a matrix; those of a layer stand side by side: ${kinds.join(', ')}.</figcaption></figure>`
}

/** What becomes of the output of whole layers. @param {QuantizeReport[]} reports @param {(report: QuantizeReport) => string} nameOf */
function layerErrors(reports, nameOf) {
  const measured = reports.filter((report) => report.layers?.length).map((report) => ({
    name: nameOf(report), points: (report.layers ?? []).map(({ layer, error }) => ({ x: layer + 0.5, y: Math.sqrt(Math.max(0, error)), title: `layer ${layer}: ${rms(error)}` })),
  }))
  if (measured.length === 0) return ''
  const layers = Math.max(...measured.flatMap(({ points }) => points.map(({ x }) => x + 0.5)))
  return html`<figure><h3>Error of the layers\u2019 output</h3>${legend(measured.map(({ name }) => name))}${dots(measured, { layers, label: 'Error of the output of each layer', yName: 'RMS error over RMS output' })}
<figcaption>Measured on the calibration text, with the layers before already quantized.</figcaption></figure>`
}

/**
 * @param {QuantizeReport[]} reports @param {(report: QuantizeReport) => string} nameOf
 */
export function tensorPlots(reports, nameOf) {
  const matrices = reports[0].tensors.filter(isMatrix)
  if (matrices.length === 0) return ''
  return html`<section><h2>Tensors</h2><div class="plots">${map(matrices, (t) => t.sensitivity, {
    label: 'Sensitivity', short: figure, long: (x) => `${figure(x)} nats`, caption: 'What the model\u2019s predictions lose for an error of each tensor: divergence over relative squared error. Rows are layers.',
  })}${bits(matrices)}${map(matrices, (t) => t.relative_error, {
    label: 'Error of the weights', short: rms, long: (x) => `RMS error ${rms(x)} of the RMS weight`, caption: 'RMS error over RMS weight. Rows are layers.',
  })}${map(matrices, (t) => t.error, {
    label: 'Error of the output', short: rms, long: rms, caption: 'Of the output of the matrix, or weighted by the importance of its columns.',
  })}${errors(reports, nameOf)}${layerErrors(reports, nameOf)}${byType(reports[0])}</div></section>`
}

/** @param {QuantizeReport} report */
export function allTensors({ tensors }) {
  const has = (/** @type {keyof ReportTensor} */ key) => tensors.some((tensor) => tensor[key] !== undefined && tensor[key] !== null)
  /** @type {[string, keyof ReportTensor, (t: any) => string][]} */
  const optional = [['Weight error', 'relative_error', (t) => rms(t.relative_error)], ['Output error', 'error', (t) => rms(t.error)], ['Sensitivity', 'sensitivity', (t) => figure(t.sensitivity)],
    ['Damping', 'damping', (t) => figure(t.damping)], ['Order', 'order', (t) => t.order], ['Dead columns', 'dead_columns', (t) => count(t.dead_columns)], ['Time', 'seconds', (t) => (t.seconds > 0 ? seconds(t.seconds) : '')]]
  const columns = optional.filter(([, key]) => has(key))
  return html`<section><details><summary>All ${count(tensors.length)} tensors</summary><div class="scroll"><table><thead><tr><th>Name</th><th>Shape</th><th>Type</th><th class="n">Bits</th><th class="n">Bytes</th><th>Method</th>${columns.map(([name]) => html`<th class="n">${name}</th>`)}</tr></thead><tbody>
${tensors.map((t) => html`<tr${t.method === 'copied' && html` class="dim"`}><td class="mono">${t.name}</td><td class="w">${t.shape.join(' \u00d7 ')}</td><td class="w">${t.from && t.from !== t.type ? `${t.from} \u2192 ` : ''}${t.type}</td><td class="n">${t.bits.toFixed(2)}</td><td class="n">${size(t.bytes)}</td><td>${t.method}</td>
${columns.map(([, key, show]) => html`<td class="n">${t[key] === undefined || t[key] === null ? '' : show(t)}</td>`)}</tr>`)}</tbody></table></div></details></section>`
}
