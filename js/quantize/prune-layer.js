/**
 * One layer with fewer columns in its feed-forward block, and fewer weights that are not 0. Layers come in their order: each sees what the pruned ones
 * before it give.
 */
import { NibbleError } from '../errors.js'
import { turn } from '../generate.js'
import { SITES } from './calibration.js'
import { Room } from './encode.js'
import { FLOAT_BYTES, convertFloats } from './floats.js'
import { maskRows } from './masks.js'
import { rowBytes, rowsOf } from './types.js'

/**
 * @typedef {import('./checkpoint.js').Tensor} Tensor
 * @typedef {import('./calibration.js').Site} Site
 *
 * @typedef {object} LayerPrunerParts
 * @property {import('../runtime.js').Engine} engine
 * @property {import('./checkpoint.js').Checkpoint} checkpoint
 * @property {import('./calibration.js').Calibration} [calibration]  of it, with h of 'down' where there is a width
 * @property {number} [width]  of the feed-forward block
 * @property {boolean} compensate
 * @property {number} [sparsity]  @property {'wanda' | 'magnitude'} method
 * @property {AbortSignal} [signal]
 */

const LAYER_SITES = /** @type {Site[]} */ (['qkv', 'attn_output', 'gate_up', 'down'])
const DAMPING = 0.01
const ERROR_SAMPLES = 8

/** Floats of a tensor's bytes, which may be changed. @param {Uint8Array} bytes @param {Tensor} tensor */
function floatsOf(bytes, { type, name, shape }) {
  const wide = convertFloats(bytes, type, 'F32', name).slice(), floats = new Float32Array(wide.buffer)
  const bad = floats.findIndex((x) => !Number.isFinite(x))
  if (bad >= 0) throw new NibbleError('E_FORMAT', `${name} holds a NaN or an infinity in row ${Math.floor(bad / shape[0])}, column ${bad % shape[0]}; the file is damaged, or went wrong when it was made`)
  return floats
}

/** @param {Float32Array} floats @param {Tensor} tensor */
const bytesOf = (floats, { type, name }) => convertFloats(new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength), 'F32', type, name)

/** Some columns of a matrix of floats. @param {Uint8Array} bytes @param {Tensor} tensor @param {number[]} columns */
function columnsOf(bytes, { type, shape }, columns) {
  const size = FLOAT_BYTES[type], [cols] = shape, rows = rowsOf(shape), out = new Uint8Array(rows * columns.length * size)
  for (let row = 0, to = 0; row < rows; row++) {
    for (const col of columns) {
      const from = (row * cols + col) * size
      for (let i = 0; i < size; i++) out[to++] = bytes[from + i]
    }
  }
  return out
}

export class LayerPruner {
  /** @param {LayerPrunerParts} parts */
  constructor({ engine, checkpoint, calibration, width, compensate, sparsity, method, signal }) {
    this.engine = engine
    this.checkpoint = checkpoint
    this.calibration = calibration
    this.width = width
    this.compensate = compensate
    this.sparsity = sparsity
    this.method = method
    this.signal = signal
    this.rooms = { w: new Room(engine), kept: new Room(engine), scratch: new Room(engine) }
  }

  free() {
    for (const room of Object.values(this.rooms)) room.free()
  }

  /** @param {string} name */
  async read(name) {
    const tensor = this.checkpoint.tensors.find((t) => t.name === name)
    return tensor && { tensor, bytes: await this.checkpoint.read(tensor, 0, tensor.bytes) }
  }

  /**
   * What becomes of a layer.
   * @param {number} layer
   * @returns {Promise<{changed: Map<string, Uint8Array>, result: import('./prune.js').PrunedLayer, zeros: number}>} changed: tensors by their names, in their
   *   new shape; zeros: weights that are 0 in matrices that were thinned out
   */
  async layer(layer) {
    const { calibration, width, sparsity } = this, prefix = `blk.${layer}.`
    await turn()
    this.signal?.throwIfAborted()
    /** @type {import('./prune.js').PrunedLayer} */
    const result = { layer }
    /** Tensors of the old shape. @type {Map<string, Uint8Array>} */
    const changed = new Map()
    await calibration?.begin(layer)
    await calibration?.gather()
    /** @type {Uint8Array | undefined} */
    let kept
    if (width !== undefined) kept = await this.narrow(prefix, width, changed, result)
    let zeros = 0, thinned = 0
    for (const site of sparsity === undefined ? [] : LAYER_SITES) {
      const norms = this.method === 'wanda' ? this.norms(site) : undefined
      for (const end of SITES[site]) {
        const name = `${prefix}${end}`, found = await this.read(name)
        if (!found) continue
        const { tensor } = found, [cols] = tensor.shape, columns = site === 'down' ? kept : undefined
        const w = floatsOf(changed.get(name) ?? found.bytes, tensor)
        // Rows of the old shape, of which some go: they do not count.
        const rows = site === 'gate_up' && kept ? kept.reduce((n, k) => n + k, 0) : rowsOf(tensor.shape), width = columns ? columns.reduce((n, k) => n + k, 0) : cols
        if (site === 'gate_up' && kept) for (let r = 0; r < kept.length; r++) if (!kept[r]) w.fill(0, r * cols, (r + 1) * cols)
        const all = maskRows(w, cols, /** @type {number} */ (sparsity), norms, columns)
        zeros += all - (rowsOf(tensor.shape) - rows) * cols
        thinned += rows * width
        changed.set(name, bytesOf(w, tensor))
      }
    }
    if (thinned) result.zeros = zeros / thinned
    if (calibration) await this.advance(changed, result)
    if (kept) await this.cut(prefix, kept, changed)
    return { changed, result, zeros }
  }

  /** Root of the sum of squares of what enters a site's columns. @param {Site} site */
  norms(site) {
    const stats = this.calibration?.statistics(site)
    if (!stats?.n) throw new NibbleError('E_FORMAT', `${this.checkpoint.name}: nothing finite enters the matrices of ${site}; the model is damaged`)
    return Float64Array.from(this.engine.heap.f64(stats.sumSq, stats.cols), Math.sqrt)
  }

  /** The sum of squares of what a matrix gives. @param {number} w @param {number} rows @param {number} cols @param {number} h */
  energy(w, rows, cols, h) {
    const { engine, rooms } = this, aligned = Math.ceil(engine.call('nbw_error_scratch_bytes', cols, engine.threads) / 16) * 16
    const scratch = rooms.scratch.at(aligned + rows * 8)
    return engine.call('nbw_output_error', engine.team, 0, w, 0, rows, cols, h, scratch, scratch + aligned)
  }

  /**
   * Chooses the columns of ffn_down that stay; the others become 0.
   * @param {string} prefix @param {number} width @param {Map<string, Uint8Array>} changed @param {import('./prune.js').PrunedLayer} result
   * @returns {Promise<Uint8Array>} [columns] 1 for those that stay
   */
  async narrow(prefix, width, changed, result) {
    const { engine, rooms, compensate } = this, name = `${prefix}ffn_down.weight`, found = await this.read(name), stats = this.calibration?.statistics('down')
    if (!found || !stats?.h) throw new NibbleError('E_FORMAT', `${this.checkpoint.name} has no tensor ${name}`)
    if (!stats.n) throw new NibbleError('E_FORMAT', `${this.checkpoint.name}: all inputs of ${name} hold a NaN or an infinity; the model is damaged`)
    const { tensor } = found, [cols] = tensor.shape, rows = rowsOf(tensor.shape), before = floatsOf(found.bytes, tensor)
    const bytes = engine.call('nbw_columns_scratch_bytes', rows, cols, Number(compensate))
    if (!(bytes < 2 ** 32)) throw new NibbleError('E_NOMEM', `choosing among ${cols} columns takes ${bytes} bytes, more than WebAssembly has`)
    const w = rooms.w.at(before.byteLength), kept = rooms.kept.at(cols)
    engine.heap.f32(w, before.length).set(before)
    const energy = this.energy(w, rows, cols, stats.h), scratch = rooms.scratch.at(bytes)
    engine.check('nbw_prune_columns', engine.team, width, Number(compensate), DAMPING, w, rows, cols, stats.h, kept, scratch, engine.out)
    const after = engine.heap.f32(w, before.length).slice(), mask = engine.heap.bytes(kept, cols).slice()
    const lossOf = (/** @type {(i: number) => number} */ lost) => {
      engine.heap.f32(w, before.length).set(before.map((_, i) => lost(i)))
      return energy > 0 ? this.energy(w, rows, cols, stats.h) / energy : 0
    }
    result.ffn_loss = lossOf((i) => before[i] - after[i])
    result.ffn_loss_plain = lossOf((i) => (mask[i % cols] ? 0 : before[i]))
    changed.set(name, bytesOf(after, tensor))
    return mask
  }

  /** The layer as it is now, for those behind it. @param {Map<string, Uint8Array>} changed @param {import('./prune.js').PrunedLayer} result */
  async advance(changed, result) {
    const { calibration, checkpoint } = this
    if (!calibration) return
    for (const [name, bytes] of changed) {
      const tensor = /** @type {Tensor} */ (checkpoint.tensors.find((t) => t.name === name))
      calibration.place('quantized', name, tensor.type, bytes)
    }
    calibration.bind('quantized')
    result.error = (await calibration.layerError(ERROR_SAMPLES)).relative
    await calibration.advance('quantized')
  }

  /** Columns that are 0 go, and the rows that they were multiplied with. @param {string} prefix @param {Uint8Array} kept @param {Map<string, Uint8Array>} changed */
  async cut(prefix, kept, changed) {
    const stay = Array.from(kept, (k, i) => (k ? i : -1)).filter((i) => i >= 0)
    for (const end of ['ffn_gate.weight', 'ffn_up.weight', 'ffn_down.weight']) {
      const name = `${prefix}${end}`, found = await this.read(name)
      if (!found) throw new NibbleError('E_FORMAT', `${this.checkpoint.name} has no tensor ${name}`)
      const { tensor } = found, bytes = changed.get(name) ?? found.bytes
      if (end === 'ffn_down.weight') {
        changed.set(name, columnsOf(bytes, tensor, stay))
        continue
      }
      const inRow = rowBytes(tensor.type, tensor.shape[0]), out = new Uint8Array(stay.length * inRow)
      stay.forEach((row, i) => out.set(bytes.subarray(row * inRow, (row + 1) * inRow), i * inRow))
      changed.set(name, out)
    }
  }
}
