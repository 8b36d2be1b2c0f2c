/**
 * Calibration: samples of a text go through a model one layer at a time (src/quantize/calibrate.h), weights being read as they are needed.
 */
import { NibbleError } from '../errors.js'
import { encodeUtf8 } from '../memory.js'
import { turn } from '../generate.js'
import { abortError } from '../source.js'
import { headerModel } from './header.js'
import { chooseSamples } from './samples.js'
import { rowBytes, typeInfo } from './types.js'

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./checkpoint.js').Tensor} Tensor
 * @typedef {import('../runtime.js').Engine} Engine
 *
 * @typedef {'qkv' | 'attn_output' | 'gate_up' | 'down' | 'head'} Site  what matrices are multiplied with: those that share an input are one site
 *
 * @typedef {object} CalibrationOptions
 * @property {string} [text]  as a whole; it must not be what the result is judged by
 * @property {ArrayLike<number>[]} [tokens]  instead of a text: the samples themselves, all of one length
 * @property {number} [samples]  default 256
 * @property {number} [ctx]  tokens of each (default 512)
 * @property {boolean} [parseSpecial]  control tokens spelled out in the text become those tokens
 * @property {Site[]} [h]  sites of which the sum of x x^T is wanted
 * @property {Site[]} [cross]  sites of which the sum of x (reference - x)^T is wanted: these need `reference`
 * @property {boolean} [reference]  also run the original model, layer by layer beside the quantized one: twice the memory for activations
 * @property {boolean} [floatActivations]  multiply quantized weights by floats instead of int8
 * @property {AbortSignal} [signal]
 * @property {(text: string) => void} [onNote]  what is otherwise than it should be
 *
 * @typedef {object} Statistics  pointers are into the engine's memory, and good until the next layer begins
 * @property {number} cols  @property {number} n  inputs  @property {number} leftOut  inputs with a NaN or an infinity, which are in no sum
 * @property {number} dead  columns that are 0 in every input
 * @property {number} sum  pointer to doubles [cols]  @property {number} sumSq  pointer to doubles [cols]  @property {number} maxAbs  pointer to floats [cols]
 * @property {number} h  pointer to floats [cols, cols]; 0 where it was not asked for
 * @property {number} cross  pointer to floats [cols, cols]; 0 where it was not asked for
 *
 * @typedef {{relative: number, ofChange: number}} LayerError  squared error of the output, relative to the output, and to what the layer adds to its input
 */

/** Sites in the order of nb_site, with the tensors that are multiplied with them. @type {Record<Site, string[]>} */
export const SITES = {
  qkv: ['attn_q.weight', 'attn_k.weight', 'attn_v.weight'], attn_output: ['attn_output.weight'], gate_up: ['ffn_gate.weight', 'ffn_up.weight'], down: ['ffn_down.weight'],
  head: ['output.weight'],
}
const SITE_NAMES = /** @type {Site[]} */ (Object.keys(SITES))
const H = 1, CROSS = 2 // nb_stats_parts
const SET = { original: 0, quantized: 1, ends: 2 } // nb_set
const STREAM = { main: 0, reference: 1 } // nb_stream
const RUN = { stats: 1, advance: 2, reference: 4 } // nb_run_flags
const PIECE = 4 << 20

/** @typedef {keyof typeof SET} SetName  @typedef {keyof typeof STREAM} StreamName  @typedef {(done: number, total: number) => void} OnSample */

/** nb_stats_parts of every site. @param {Pick<CalibrationOptions, 'h' | 'cross'>} options */
const partsOf = ({ h = [], cross = [] }) => Uint8Array.from(SITE_NAMES, (site) => (h.includes(site) ? H : 0) | (cross.includes(site) ? CROSS : 0))

/**
 * Bytes of memory that a calibration takes, without the weights of a layer.
 * @param {Engine} engine @param {Checkpoint} checkpoint @param {Omit<CalibrationOptions, 'text' | 'tokens'>} [options]
 */
export function calibrationBytes(engine, checkpoint, { samples = 256, ctx = 512, reference = false, ...parts } = {}) {
  const { model, info, free } = headerModel(engine, checkpoint)
  try {
    return engine.withBytes(partsOf(parts), (ptr) => engine.call('nbw_calibration_bytes', model, samples, Math.min(ctx, info.n_ctx), Number(reference), ptr, engine.team))
  } finally {
    free()
  }
}

export class Calibration {
  /**
   * Reads what comes before the first layer. The engine and the checkpoint are the caller's.
   * @param {Engine} engine  of quantizeEngine()
   * @param {Checkpoint} checkpoint
   * @param {CalibrationOptions} options
   */
  static async create(engine, checkpoint, options) {
    const calibration = new Calibration(engine, checkpoint, options)
    try {
      await calibration.ends()
      return calibration
    } catch (error) {
      calibration.free()
      throw error
    }
  }

  /** @private @param {Engine} engine @param {Checkpoint} checkpoint @param {CalibrationOptions} options */
  constructor(engine, checkpoint, options) {
    const { h = [], cross = [], reference = false, floatActivations = false, signal, onNote } = options
    this.engine = engine
    this.checkpoint = checkpoint
    this.signal = signal
    this.reference = reference
    this.notes = /** @type {string[]} */ ([])
    this.note = (/** @type {string} */ note) => {
      this.notes.push(note)
      onNote?.(note)
    }
    this.layer = 0
    this.ptr = 0
    this.header = headerModel(engine, checkpoint)
    try {
      const { model, info } = this.header
      if (!info.supported) throw new NibbleError('E_UNSUPPORTED', `${checkpoint.name} is of the architecture '${info.architecture}', which does not run here: it cannot be calibrated`)
      this.chosen = this.choose(options)
      this.chosen.notes.forEach(this.note)
      this.nLayers = info.config.n_layers
      this.samples = this.chosen.samples.length
      this.ctx = this.chosen.n_ctx
      const parts = partsOf({ h, cross })
      const widest = Math.max(...SITE_NAMES.map((site, i) => (parts[i] ? this.widthOf(site) : 0)))
      if (this.samples * this.ctx < 2 * widest) this.note(`${this.samples * this.ctx} inputs are few for ${widest} columns: take more samples`)
      this.ptr = engine.withBytes(parts, (ptr) => engine.make('nbw_calibration_new', model, this.samples, this.ctx, Number(reference), Number(floatActivations), ptr, engine.team))
      this.chosen.samples.forEach((sample, i) => engine.heap.i32(engine.ptr('nb_calibration_tokens', this.ptr, i), this.ctx).set(sample))
    } catch (error) {
      this.free()
      throw error
    }
  }

  /** @private @param {CalibrationOptions} options @returns {import('./samples.js').Samples} */
  choose({ text, tokens, samples = 256, ctx = 512, parseSpecial = false }) {
    const { info: { n_ctx, config: { n_vocab } } } = this.header, tokenizer = this.header.tokenizer()
    if ((text === undefined) === (tokens === undefined)) throw new NibbleError('E_ARGUMENT', 'calibration takes a text or tokens, one of them')
    if (tokens !== undefined) {
      if (tokens.length === 0 || tokens.some((sample) => sample.length !== tokens[0].length)) throw new NibbleError('E_ARGUMENT', 'samples of tokens must all be of the same length')
      tokens.forEach((sample) => tokenizer.checkIds(sample))
      return { samples: tokens.map((sample) => Int32Array.from(sample)), n_ctx: tokens[0].length, tokens: tokens.length * tokens[0].length, distinct: 0, notes: [] }
    }
    const longest = Math.min(ctx, n_ctx)
    const chosen = chooseSamples(tokenizer.encode(/** @type {string} */ (text), { addSpecial: false, parseSpecial }), {
      samples, ctx: longest, n_vocab, ...(tokenizer.addBos && { bos: tokenizer.bos }),
    })
    if (longest < ctx) chosen.notes.unshift(`samples have ${longest} tokens, not ${ctx}: the model was trained on no more`)
    return chosen
  }

  free() {
    if (this.engine.dead) return
    if (this.ptr) this.engine.call('nb_calibration_free', this.ptr)
    this.ptr = 0
    this.header.free()
  }

  /** Columns of a site. @param {Site} site */
  widthOf(site) {
    const { d_model, d_ff, n_heads, head_dim } = this.header.info.config
    return site === 'attn_output' ? n_heads * head_dim : site === 'down' ? d_ff : d_model
  }

  /** @param {string} name */
  tensor(name) {
    return this.checkpoint.tensors.find((t) => t.name === name)
  }

  /** Where the tensor's bytes go. @param {SetName} set @param {string} name @param {string} type @returns {{data: number, bytes: number}} */
  room(set, name, type) {
    const { engine } = this
    engine.withBytes(encodeUtf8(`${name}\0`), (ptr) => engine.check('nbw_calibration_place', this.ptr, SET[set], ptr, typeInfo(type).id, engine.out))
    const [data, bytes] = engine.heap.u32(engine.out, 2)
    return { data, bytes }
  }

  /**
   * Hands in a tensor of the layer.
   * @param {SetName} set @param {string} name @param {string} type @param {Uint8Array} bytes  as a GGUF file has them; may be a view of the engine's memory
   *   only where that does not grow
   */
  place(set, name, type, bytes) {
    const { data, bytes: room } = this.room(set, name, type)
    if (bytes.length !== room) throw new NibbleError('E_ARGUMENT', `${name} takes ${room} bytes as ${type}, not ${bytes.length}`)
    this.engine.heap.bytes(data, room).set(bytes)
  }

  /** Hands in a tensor as the checkpoint has it. @param {SetName} set @param {Tensor} tensor */
  async fetch(set, tensor) {
    const { data } = this.room(set, tensor.name, tensor.type)
    for (let at = 0; at < tensor.bytes; at += PIECE) {
      const piece = await this.checkpoint.read(tensor, at, Math.min(PIECE, tensor.bytes - at))
      this.engine.heap.bytes(data + at, piece.length).set(piece)
      this.checkSignal()
    }
  }

  /** What was placed is complete. @param {SetName} set */
  bind(set) {
    this.engine.check('nb_calibration_bind', this.ptr, SET[set])
  }

  checkSignal() {
    if (this.signal?.aborted) throw abortError(undefined, this.signal)
  }

  /** @private */
  async ends() {
    for (const name of ['output_norm.weight', 'rope_freqs.weight']) {
      const tensor = this.tensor(name)
      if (tensor) await this.fetch('ends', tensor)
    }
    this.bind('ends')
  }

  /**
   * Puts the embedding of the samples' tokens into a stream: as the checkpoint has it, or as it was quantized.
   * @param {StreamName[]} [streams]  all that are kept
   * @param {{type: string, read: (offset: number, length: number) => Promise<Uint8Array>}} [quantized]
   */
  async embed(streams = this.reference ? ['main', 'reference'] : ['main'], quantized) {
    const tensor = this.tensor('token_embd.weight')
    if (!tensor) throw new NibbleError('E_FORMAT', `${this.checkpoint.name} has no tensor token_embd.weight`)
    const { type, read } = quantized ?? { type: tensor.type, read: (offset, length) => this.checkpoint.read(tensor, offset, length) }
    const bits = streams.reduce((sum, s) => sum | 1 << STREAM[s], 0), { engine } = this
    const [cols, rows] = tensor.shape, inRow = rowBytes(type, cols), atOnce = Math.max(1, Math.floor(PIECE / inRow))
    for (let row = 0; row < rows; row += atOnce) {
      const n = Math.min(atOnce, rows - row), bytes = await read(row * inRow, n * inRow)
      engine.withBytes(bytes, (ptr) => engine.check('nb_calibration_embed', this.ptr, bits, typeInfo(type).id, ptr, row, n))
      this.checkSignal()
    }
  }

  /** Names of the tensors of a layer, as the checkpoint has them. @param {number} layer */
  tensorsOf(layer) {
    return this.checkpoint.tensors.filter(({ name }) => name.startsWith(`blk.${layer}.`))
  }

  /**
   * Begins a layer (or, with the number of layers, the head): statistics are empty, the original weights are there.
   * Also goes on from activations that were saved before this layer.
   * @param {number} layer
   */
  async begin(layer) {
    this.engine.check('nb_calibration_begin', this.ptr, layer)
    this.layer = layer
    if (layer === this.nLayers) return
    for (const tensor of this.tensorsOf(layer)) await this.fetch('original', tensor)
    this.bind('original')
  }

  /** @private @param {SetName} set @param {number} flags @param {OnSample} [onSample] */
  async run(set, flags, onSample) {
    for (let i = 0; i < this.samples; i++) {
      this.engine.check('nb_calibration_run', this.ptr, i, SET[set], flags)
      onSample?.(i + 1, this.samples)
      await turn()
      this.checkSignal()
    }
  }

  /**
   * Statistics of the layer that was begun. With a reference stream, that goes on to the next layer.
   * @param {{advance?: boolean, onSample?: OnSample}} [options]  advance: the main stream goes on too, through the original weights
   */
  async gather({ advance = false, onSample } = {}) {
    const head = this.layer === this.nLayers
    await this.run(head ? 'ends' : 'original', RUN.stats | (advance && !head ? RUN.advance : 0) | (this.reference && !head ? RUN.reference : 0), onSample)
    this.engine.call('nb_calibration_finish', this.ptr)
    for (const site of SITE_NAMES) {
      const s = this.statistics(site), where = head ? 'the head' : `layer ${this.layer}, ${site}`
      if (s?.leftOut) this.note(`${where}: ${s.leftOut} of ${s.leftOut + s.n} inputs hold a NaN or an infinity and are left out; the model computes them from the calibration text`)
      if (s?.dead) this.note(`${where}: ${s.dead} of ${s.cols} columns are 0 in every input`)
    }
  }

  /** The main stream goes on to the next layer. @param {'original' | 'quantized'} set @param {OnSample} [onSample] */
  advance(set, onSample) {
    return this.run(set, RUN.advance, onSample)
  }

  /** @param {Site} site @returns {Statistics | undefined} undefined: not of this layer */
  statistics(site) {
    const { engine } = this
    if (!engine.call('nbw_calibration_stats', this.ptr, SITE_NAMES.indexOf(site), engine.out)) return undefined
    const [cols, n, leftOut, dead, sum, sumSq, maxAbs, h, cross] = engine.heap.f64(engine.out, 9)
    return { cols, n, leftOut, dead, sum, sumSq, maxAbs, h, cross }
  }

  /** @private @param {number} drift @param {number} samples @returns {Promise<LayerError>} */
  async error(drift, samples) {
    const { engine } = this
    let difference = 0, output = 0, change = 0
    for (let i = 0; i < Math.min(samples, this.samples); i++) {
      engine.check('nbw_calibration_error', this.ptr, i, drift, engine.out)
      const sums = engine.heap.f64(engine.out, 3)
      difference += sums[0]
      output += sums[1]
      change += sums[2]
      await turn()
      this.checkSignal()
    }
    return { relative: output > 0 ? difference / output : 0, ofChange: change > 0 ? difference / change : 0 }
  }

  /** What quantizing this layer changes about its output, for the same input. @param {number} [samples]  the first ones */
  layerError(samples = 8) {
    return this.error(0, samples)
  }

  /** How far the main stream is from the reference. @param {number} [samples]  the first ones */
  drift(samples = this.samples) {
    return this.error(1, samples)
  }

  /** What enters the layer, a view of the engine's memory: to be saved, or to be filled in. @param {StreamName} stream @param {number} sample */
  activations(stream, sample) {
    const ptr = this.engine.ptr('nb_calibration_activations', this.ptr, STREAM[stream], sample)
    if (!ptr) throw new NibbleError('E_ARGUMENT', `there is no sample ${sample} in the stream '${stream}'`)
    return this.engine.heap.bytes(ptr, this.ctx * this.header.info.config.d_model * 4)
  }
}

/** Floats of doubles in the engine's memory. @param {Engine} engine @param {number} ptr @param {number} n */
const floats = (engine, ptr, n) => Float32Array.from(engine.heap.f64(ptr, n))

/**
 * The importance matrix of a model: for every matrix the sums of its inputs and of their squares, over the whole calibration text.
 * @param {Engine} engine @param {Checkpoint} checkpoint
 * @param {Omit<CalibrationOptions, 'h' | 'cross' | 'reference' | 'floatActivations'> & {dataset?: string, onProgress?: (done: number, total: number, layer: number) => void}} options
 *   dataset: the text's name
 * @returns {Promise<{imatrix: import('./imatrix.js').Imatrix, notes: string[], samples: number, ctx: number}>}
 */
export async function measureImatrix(engine, checkpoint, { dataset, onProgress, ...options }) {
  const calibration = await Calibration.create(engine, checkpoint, options)
  try {
    const { samples, ctx, nLayers } = calibration
    /** @type {import('./imatrix.js').Imatrix['entries']} */
    const entries = new Map()
    const collect = (/** @type {string} */ prefix) => {
      for (const site of SITE_NAMES) {
        const s = calibration.statistics(site)
        if (!s) continue
        if (!s.n) throw new NibbleError('E_FORMAT', `${checkpoint.name}: all inputs of ${prefix}${SITES[site][0]} hold a NaN or an infinity; the model is damaged`)
        const names = SITES[site].map((name) => `${prefix}${name}`)
        // A model without a matrix of its own for the head uses the embedding.
        const owners = site === 'head' && !calibration.tensor('output.weight') ? ['token_embd.weight'] : names
        for (const name of owners) {
          entries.set(name, { sums: floats(engine, s.sumSq, s.cols), means: floats(engine, s.sum, s.cols), counts: Float32Array.of(s.n) })
        }
      }
    }
    await calibration.embed()
    for (let layer = 0; layer <= nLayers; layer++) {
      await calibration.begin(layer)
      const total = nLayers * samples
      await calibration.gather({ advance: true, onSample: (done) => onProgress?.(Math.min(total, layer * samples + done), total, layer) })
      collect(layer < nLayers ? `blk.${layer}.` : '')
    }
    return { imatrix: { entries, datasets: dataset === undefined ? [] : [dataset], chunks: samples, chunkSize: ctx }, notes: calibration.notes, samples, ctx }
  } finally {
    calibration.free()
  }
}
