/**
 * Quantizing by what a calibration text makes of the model: layer after layer, each seeing what the quantized layers before it give.
 */
import { NibbleError } from '../errors.js'
import { Calibration, SITES } from './calibration.js'
import { sha256 } from './journal.js'
import { layerOf } from './plan.js'
import { gptqOptions } from './sites.js'
import { isFloat, rowBytes, rowsOf } from './types.js'

/**
 * @typedef {import('./plan.js').TensorPlan} TensorPlan
 * @typedef {import('./run.js').Run} Run
 * @typedef {import('./calibration.js').Site} Site
 * @typedef {import('./sites.js').Matrix} Matrix
 * @typedef {import('./sites.js').SiteEncoder} SiteEncoder
 *
 * @typedef {object} CalibrationText
 * @property {string} text  as a whole; it must not be what the result is judged by
 * @property {string} [name]  of the text
 * @property {number} [samples]  default 256  @property {number} [ctx]  tokens of each (default 512)
 * @property {boolean} [parseSpecial]  control tokens spelled out in the text become those tokens
 *
 * @typedef {object} LayerResult
 * @property {number} layer
 * @property {number} error  squared error of the layer's output for the same input, over the square of the output
 * @property {number} error_of_change  the same, over the square of what the layer adds to its input
 * @property {number} seconds
 */

const LAYER_SITES = /** @type {Site[]} */ (['qkv', 'attn_output', 'gate_up', 'down'])
/** Samples by which the error of a layer is measured. */
export const ERROR_SAMPLES = 8

/**
 * The calibration that a method needs.
 * @param {import('../runtime.js').Engine} engine @param {import('./checkpoint.js').Checkpoint} checkpoint @param {CalibrationText} text
 * @param {import('./quantize.js').QuantizeOptions} options
 */
export function openCalibration(engine, checkpoint, text, { method, gptq, signal, onNote }) {
  const needsH = method === 'gptq' || method === 'awq', reference = method === 'gptq' && gptqOptions(gptq).alpha > 0
  return Calibration.create(engine, checkpoint, {
    ...text, signal, onNote, ...(needsH && { h: /** @type {Site[]} */ (Object.keys(SITES)) }), ...(reference && { cross: LAYER_SITES }), reference,
  })
}

export class CalibratedRun {
  /** @param {Run} run @param {Calibration} calibration @param {SiteEncoder} sites */
  constructor(run, calibration, sites) {
    this.run = run
    this.engine = calibration.engine
    this.calibration = calibration
    this.sites = sites
    this.gptq = gptqOptions(run.options.gptq)
    /** @type {Map<string, TensorPlan>} */
    this.plans = new Map(run.plan.tensors.map((p) => [p.tensor.name, p]))
    /** @type {LayerResult[]} */
    this.layers = []
    /** Tensors of the layer that is in work that are written otherwise than they were read. @type {Map<string, {type: string, bytes: Uint8Array}>} */
    this.written = new Map()
  }

  /** @param {string} name */
  plan(name) {
    return this.plans.get(name)
  }

  /** All of it: the embedding, the layers, the head. */
  async work() {
    const { run, calibration } = this, { nLayers } = calibration
    const embedding = this.plan('token_embd.weight')
    if (!embedding) throw new NibbleError('E_FORMAT', `${run.checkpoint.name} has no tensor token_embd.weight`)
    await run.tensor(embedding)
    await this.embed(embedding)
    const first = await this.resume()
    if (first === 0 && run.progress.layers.length > 0) await this.embed(embedding) // what could not be restored is in its place
    for (let layer = first; layer < nLayers; layer++) await this.layer(layer)
    await this.head()
    for (const plan of run.plan.tensors) if (!run.results.has(plan.tensor.name)) await run.tensor(plan)
  }

  /** The embedding of the samples: as it was quantized, and for the reference as it was. @param {TensorPlan} plan */
  async embed({ tensor: { name }, to, copied }) {
    const { run, calibration } = this
    if (copied) return calibration.embed()
    const { offset } = run.writer.place(name, 0)
    await calibration.embed(['main'], { type: to, read: (at, length) => this.readBack(offset + at, length) })
    if (calibration.reference) await calibration.embed(['reference'])
  }

  /** @param {number} layer */
  async layer(layer) {
    const { run, calibration } = this, start = performance.now()
    await run.tell(`layer ${layer}`)
    await calibration.begin(layer)
    await calibration.gather({ onSample: () => this.sampleDone(layer, 'gather') })
    this.written.clear()
    if (run.options.method === 'search') this.importance(layer)
    else await this.encodeSites(`blk.${layer}.`, run.options.method === 'awq')
    const plans = run.plan.tensors.filter((p) => layerOf(p.tensor.name) === layer)
    for (const plan of plans) if (!run.results.has(plan.tensor.name)) await run.tensor(plan)
    for (const plan of plans) await this.place(plan)
    calibration.bind('quantized')
    const { relative, ofChange } = await calibration.layerError(ERROR_SAMPLES)
    run.advance(2 * Math.min(ERROR_SAMPLES, calibration.samples) * (run.estimate.sample?.advance ?? 0))
    await calibration.advance('quantized', () => this.sampleDone(layer, 'advance'))
    const result = { layer, error: relative, error_of_change: ofChange, seconds: (performance.now() - start) / 1000 }
    this.layers.push(result)
    await this.save(result)
  }

  /** @param {number} layer @param {'gather' | 'advance' | 'head'} what */
  sampleDone(layer, what) {
    const { run } = this
    run.advance(run.estimate.sample?.[what] ?? 0)
    run.show(what === 'head' ? 'output.weight' : `layer ${layer}`)
  }

  /** Importance of the columns of a layer's matrices, for the search. @param {number} layer */
  importance(layer) {
    const { run, calibration, engine } = this
    for (const site of LAYER_SITES) {
      const s = calibration.statistics(site)
      if (!s) continue
      const sums = Float32Array.from(engine.heap.f64(s.sumSq, s.cols))
      for (const name of SITES[site]) run.importance.set(`blk.${layer}.${name}`, { sums, counts: Float32Array.of(s.n) })
    }
  }

  /** Puts what was written of a tensor beside the original. @param {TensorPlan} plan */
  async place({ tensor: { name }, to, copied, bytes }) {
    const { run, calibration } = this, own = this.written.get(name)
    if (own) return calibration.place('quantized', name, own.type, own.bytes)
    if (copied) return
    const { offset } = run.writer.place(name, 0)
    calibration.place('quantized', name, to, await this.readBack(offset, bytes))
  }

  /** @param {number} position @param {number} length @returns {Promise<Uint8Array>} */
  async readBack(position, length) {
    const { read } = this.run.sink
    if (!read) throw new NibbleError('E_ARGUMENT', 'calibration reads what was written: the sink must have the function read')
    return read(position, length)
  }

  /**
   * The matrices of a site that are to be encoded, as floats.
   * @param {string} prefix @param {Site} site
   */
  async load(prefix, site) {
    const matrices = []
    for (const end of SITES[site]) {
      const plan = this.plan(`${prefix}${end}`)
      if (plan && !plan.copied && !isFloat(plan.to)) matrices.push(await this.sites.load(this.run, plan.tensor, plan.to))
    }
    return matrices
  }

  /** @param {string} prefix  blk.<layer>. @param {boolean} awq */
  async encodeSites(prefix, awq) {
    const options = awq ? { ...this.gptq, order: /** @type {const} */ ('search'), refine: 0 } : this.gptq
    /** @type {Float32Array | undefined} */
    let upRows
    // From the last to the first: the rows of ffn_up are divided by what the columns of ffn_down are multiplied by.
    for (const site of /** @type {Site[]} */ (['down', 'gate_up', 'attn_output', 'qkv'])) {
      const stats = this.calibration.statistics(site), matrices = await this.load(prefix, site)
      if (!stats || matrices.length === 0) continue
      if (!stats.n) throw new NibbleError('E_FORMAT', `${this.run.checkpoint.name}: all inputs of ${prefix}${SITES[site][0]} hold a NaN or an infinity; the model is damaged`)
      this.sites.shrink(stats, options.shrink)
      const up = matrices.find((m) => m.tensor.name === `${prefix}ffn_up.weight`)
      if (up && upRows) this.sites.divideRows(up, upRows)
      const scaled = awq && await this.scale(prefix, site, matrices, stats)
      if (scaled && site === 'down') upRows = scaled.scales
      await this.encode(matrices, stats, options, scaled ? scaled.details : {})
    }
  }

  /**
   * AWQ's scales, where what comes before can be divided by them: norms, and ffn_up.
   * @param {string} prefix @param {Site} site @param {Matrix[]} matrices @param {import('./calibration.js').Statistics} stats
   */
  async scale(prefix, site, matrices, stats) {
    if (matrices.length !== SITES[site].length || site === 'attn_output') return undefined
    const before = site === 'down' ? this.plan(`${prefix}ffn_up.weight`) : this.plan(`${prefix}${site === 'qkv' ? 'attn_norm' : 'ffn_norm'}.weight`)
    if (!before || (site === 'down' ? before.copied || isFloat(before.to) : before.tensor.type !== 'F32')) return undefined
    const found = this.sites.awq(matrices, stats)
    if (found && site !== 'down') {
      const { run } = this, { tensor } = before
      const norm = new Float32Array((await run.checkpoint.read(tensor, 0, tensor.bytes)).slice().buffer)
      const bad = norm.findIndex((x) => !Number.isFinite(x))
      if (bad >= 0) throw run.notFinite(tensor.name, 0, bad)
      const bytes = new Uint8Array(norm.map((x, i) => x / found.scales[i]).buffer)
      this.written.set(tensor.name, { type: 'F32', bytes })
      await run.write(tensor.name, 0, 1, bytes, { error: 0, norm: 0, weightedError: 0, weightedNorm: 0, seconds: 0 })
      run.finish(before, { error: 0, norm: 0, weightedError: 0, weightedNorm: 0, seconds: 0 }, { copied: false })
    }
    return found
  }

  /** @param {Matrix[]} matrices @param {import('./calibration.js').Statistics} stats @param {import('./sites.js').AllGptqOptions} options @param {Record<string, number>} more */
  async encode(matrices, stats, options, more) {
    const { run } = this, start = performance.now()
    await run.tell(matrices[0].tensor.name)
    const encoded = this.sites.gptq(matrices, stats, options)
    const all = matrices.reduce((n, { tensor: { shape }, rows }) => n + rows * shape[0], 0), seconds = (performance.now() - start) / 1000
    for (const { matrix, blocks, sums, details } of encoded) {
      const { tensor: { name, shape }, rows } = matrix, own = { ...sums, seconds: seconds * rows * shape[0] / all, details: { ...details, ...more } }
      this.sites.drop(matrix)
      await run.write(name, 0, rows, blocks, own)
      run.finish(/** @type {TensorPlan} */ (this.plan(name)), own, own.details)
      run.advance(run.estimate.secondsOf.get(name) ?? 0)
      this.written.set(name, { type: matrix.to, bytes: blocks })
    }
  }

  /** What the head is multiplied with is known when the layers are done. */
  async head() {
    const { run, calibration, engine } = this, plan = this.plan('output.weight')
    if (!plan || plan.copied) return
    await calibration.begin(calibration.nLayers)
    await calibration.gather({ onSample: () => this.sampleDone(calibration.nLayers, 'head') })
    const stats = calibration.statistics('head')
    if (!stats) throw new NibbleError('E_INTERNAL', 'nothing is known of what the head is multiplied with')
    if (run.options.method === 'search' || isFloat(plan.to)) {
      run.importance.set('output.weight', { sums: Float32Array.from(engine.heap.f64(stats.sumSq, stats.cols)), counts: Float32Array.of(stats.n) })
      return // written with the rest
    }
    this.sites.shrink(stats, this.gptq.shrink)
    const matrices = await this.load('', 'head')
    await this.encode(matrices, stats, run.options.method === 'awq' ? { ...this.gptq, order: 'search', refine: 0 } : { ...this.gptq, alpha: 0 }, {})
  }

  // ---- going on where an earlier run stood ----

  /** Samples of all streams, in the order in which they are kept. @returns {[import('./calibration.js').StreamName, number][]} */
  get kept() {
    const { calibration: { samples, reference } } = this
    const streams = /** @type {import('./calibration.js').StreamName[]} */ (reference ? ['main', 'reference'] : ['main'])
    return streams.flatMap((stream) => Array.from({ length: samples }, (_, i) => /** @type {[import('./calibration.js').StreamName, number]} */ ([stream, i])))
  }

  /** Layers take turns in two places: what was complete stays until the next is. @param {LayerResult} result */
  async save(result) {
    const { run: { sink, progress }, calibration } = this
    if (!sink.state || !sink.journal) return
    const hashes = []
    for (const [i, [stream, sample]] of this.kept.entries()) {
      const bytes = calibration.activations(stream, sample).slice()
      hashes.push(await sha256(bytes))
      await sink.state.write(bytes, (result.layer % 2 * this.kept.length + i) * bytes.length)
    }
    const { layer, ...numbers } = result
    await progress.layerDone({ layer, state: await sha256(new TextEncoder().encode(hashes.join())), result: numbers })
  }

  /** Takes over the layers that an earlier run has done; returns the first that is left. */
  async resume() {
    const { run: { progress } } = this, last = progress.layers.at(-1)
    if (!last || !await this.restore(last)) return 0
    const plans = this.run.plan.tensors.filter((p) => layerOf(p.tensor.name) >= 0 && layerOf(p.tensor.name) <= last.layer)
    const entries = []
    for (const plan of plans) {
      const found = await this.wrote(plan)
      if (!found) return 0
      entries.push(found)
    }
    for (const [i, { pieces, sums, details }] of entries.entries()) {
      const { tensor: { name } } = plans[i]
      for (const bytes of pieces) await this.run.writer.skip(name, bytes)
      if (pieces.length) {
        this.run.finish(plans[i], sums, { ...details, ...(plans[i].copied && { copied: false }) })
        this.run.advance(this.run.estimate.secondsOf.get(name) ?? 0, true)
      } else {
        await this.run.tensor(plans[i]) // copied
      }
    }
    const { estimate: { sample }, progress: { layers } } = this.run
    if (sample) {
      const { samples } = this.calibration
      this.run.advance((last.layer + 1) * (samples * (sample.gather + sample.advance) + 2 * Math.min(ERROR_SAMPLES, samples) * sample.advance), true)
    }
    for (const { layer, result } of layers) this.layers[layer] = /** @type {LayerResult} */ ({ layer, ...result })
    return last.layer + 1
  }

  /** @param {import('./journal.js').LayerEntry} entry */
  async restore({ layer, state }) {
    const { run: { sink }, calibration } = this
    if (!sink.state) return false
    this.engine.check('nb_calibration_begin', calibration.ptr, layer + 1)
    const hashes = []
    for (const [i, [stream, sample]] of this.kept.entries()) {
      const { length } = calibration.activations(stream, sample)
      const bytes = await sink.state.read((layer % 2 * this.kept.length + i) * length, length)
      if (bytes.length !== length) return false
      hashes.push(await sha256(bytes))
      calibration.activations(stream, sample).set(bytes)
    }
    return await sha256(new TextEncoder().encode(hashes.join())) === state
  }

  /**
   * What the journal tells of a tensor, if the file holds it.
   * @param {TensorPlan} plan
   */
  async wrote({ tensor: { name, shape }, to, copied }) {
    const { run } = this, { offset } = run.writer.place(name, 0), inRow = rowBytes(to, shape[0]), all = rowsOf(shape)
    const sums = { error: 0, norm: 0, weightedError: 0, weightedNorm: 0, seconds: 0 }, pieces = []
    /** @type {Record<string, number> | undefined} */
    let details
    for (let row = 0; row < all;) {
      const entry = run.progress.entry(name, row)
      if (!entry && copied && row === 0) break
      if (!entry || entry.rows > all - row || await sha256(await this.readBack(offset + row * inRow, entry.rows * inRow)) !== entry.sha256) return undefined
      for (const key of /** @type {(keyof typeof sums)[]} */ (Object.keys(sums))) sums[key] += entry[key]
      details = entry.details
      pieces.push(entry.rows * inRow)
      row += entry.rows
    }
    return { pieces, sums, details }
  }
}
