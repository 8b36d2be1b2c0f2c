/**
 * Models with fewer layers: which ones matter least, and the checkpoint without them.
 */
import { NibbleError } from '../errors.js'
import { Calibration } from './calibration.js'
import { Room } from './encode.js'
import { convertFloats } from './floats.js'
import { KIND, lookUp, pair, valueOf } from './pairs.js'
import { layerOf } from './plan.js'
import { isFloat, rowsOf, typeInfo } from './types.js'

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./pairs.js').Pair} Pair
 * @typedef {import('../runtime.js').Engine} Engine
 *
 * @typedef {'influence' | 'divergence'} Importance  influence: how much a layer turns what goes through it, 1 - cos(input, output);
 *   divergence: how far the predictions are from the model's without it
 * @typedef {import('./calibration.js').CalibrationOptions & {onProgress?: (done: number, total: number, what: string) => void}} MeasureOptions
 */

/** Multiplications by the head for a stream, about. */
const HEAD_WORK = 2e10

/** @param {Pair[]} pairs @param {string} suffix  of the architecture's keys */
export function architectureKey(pairs, suffix) {
  const key = `${lookUp(pairs, 'general.architecture')}.${suffix}`, value = lookUp(pairs, key)
  if (typeof value !== 'number') throw new NibbleError('E_UNSUPPORTED', `${key} is ${value === undefined ? 'missing' : 'not one number'}: this model cannot be cut down`)
  return { key, value }
}

/** Another number under a key, where the pair is. @param {Pair[]} pairs @param {string} key @param {number} value */
export const withNumber = (pairs, key, value) => pairs.map((p) => (p.key === key ? pair[/** @type {'u32'} */ (kindName(p.kind))](key, value) : p))

/** @param {number | undefined} kind */
const kindName = (kind) => /** @type {import('./pairs.js').KindName} */ (Object.keys(KIND).find((name) => KIND[/** @type {'u32'} */ (name)] === kind))

/** @param {Checkpoint} checkpoint */
export const layersOf = (checkpoint) => architectureKey(checkpoint.pairs, 'block_count').value

/**
 * The model without some of its layers; those behind them move up.
 * @param {Checkpoint} checkpoint @param {number[]} removed  counted from 0
 * @returns {Checkpoint}
 */
export function withoutLayers(checkpoint, removed) {
  const { key, value: n } = architectureKey(checkpoint.pairs, 'block_count'), gone = new Set(removed)
  for (const i of gone) if (!(Number.isInteger(i) && i >= 0 && i < n)) throw new NibbleError('E_ARGUMENT', `there is no layer ${i} to remove: ${checkpoint.name} has ${n}, counted from 0`)
  if (gone.size >= n) throw new NibbleError('E_ARGUMENT', `all ${n} layers would go; leave one at least`)
  const left = Array.from({ length: n }, (_, i) => i).filter((i) => !gone.has(i))
  const prefix = key.slice(0, key.indexOf('.') + 1)
  const pairs = withNumber(checkpoint.pairs, key, left.length).map((p) => {
    if (!(p.kind === KIND.array && p.count === n && p.key.startsWith(prefix))) return p
    const items = /** @type {any[]} */ (valueOf(p))
    return pair.array(p.key, kindName(p.itemKind), left.map((i) => items[i]))
  })
  const places = new Map(left.map((from, to) => [from, to])), before = new Map(checkpoint.tensors.map((t) => [t.name, t]))
  /** @type {Map<string, string>} */
  const names = new Map()
  const tensors = checkpoint.tensors.flatMap((tensor) => {
    const layer = layerOf(tensor.name)
    if (layer < 0) return [tensor]
    const to = places.get(layer)
    if (to === undefined) return []
    const name = tensor.name.replace(/^blk\.\d+\./, `blk.${to}.`)
    names.set(name, tensor.name)
    return [{ ...tensor, name }]
  })
  return {
    ...checkpoint, pairs, tensors,
    read: (tensor, offset, length) => checkpoint.read(before.get(names.get(tensor.name) ?? tensor.name) ?? tensor, offset, length),
  }
}

/** Mean of 1 - cos over the vectors. @param {Float32Array} x @param {Float32Array} y @param {number} width */
function turned(x, y, width) {
  let sum = 0
  for (let at = 0; at < x.length; at += width) {
    let xx = 0, yy = 0, xy = 0
    for (let i = at; i < at + width; i++) {
      xx += x[i] * x[i]
      yy += y[i] * y[i]
      xy += x[i] * y[i]
    }
    sum += xx > 0 && yy > 0 ? 1 - xy / Math.sqrt(xx * yy) : 0
  }
  return sum / (x.length / width)
}

/** Samples on their way through the layers, outside of the engine's memory. @typedef {Float32Array[]} Stream */

/** What enters the layer. @param {Calibration} calibration @returns {Stream} */
const taken = (calibration) => Array.from({ length: calibration.samples }, (_, i) => new Float32Array(calibration.activations('main', i).slice().buffer))

/** @param {Calibration} calibration @param {Stream} stream */
function put(calibration, stream) {
  stream.forEach((x, i) => calibration.activations('main', i).set(new Uint8Array(x.buffer)))
}

/** A stream through the layer that was begun. @param {Calibration} calibration @param {Stream} stream @returns {Promise<Stream>} */
async function through(calibration, stream) {
  put(calibration, stream)
  await calibration.advance('original')
  return taken(calibration)
}

/**
 * How much each layer turns what goes through it.
 * @param {Engine} engine @param {Checkpoint} checkpoint @param {MeasureOptions} options
 * @returns {Promise<number[]>}
 */
export async function blockInfluence(engine, checkpoint, { onProgress, ...options }) {
  const calibration = await Calibration.create(engine, checkpoint, options)
  try {
    await calibration.embed()
    const width = calibration.header.info.config.d_model, scores = []
    let x = taken(calibration)
    for (let layer = 0; layer < calibration.nLayers; layer++) {
      await calibration.begin(layer)
      const y = await through(calibration, x)
      scores.push(x.reduce((sum, sample, i) => sum + turned(sample, y[i], width), 0) / x.length)
      x = y
      onProgress?.(layer + 1, calibration.nLayers, `layer ${layer}`)
    }
    return scores
  } finally {
    calibration.free()
  }
}

/** What predictions are made with, as the file has it. @param {Checkpoint} checkpoint */
async function headOf(checkpoint) {
  const find = (/** @type {string} */ name) => checkpoint.tensors.find((t) => t.name === name)
  const head = find('output.weight') ?? find('token_embd.weight'), norm = find('output_norm.weight')
  if (!head || !norm || !isFloat(norm.type)) throw new NibbleError('E_FORMAT', `${checkpoint.name} has no head that its predictions could be compared with`)
  return {
    type: head.type, cols: head.shape[0], rows: rowsOf(head.shape), bytes: await checkpoint.read(head, 0, head.bytes),
    norm: convertFloats(await checkpoint.read(norm, 0, norm.bytes), norm.type, 'F32', norm.name),
  }
}

/** Divergences of streams that are through all layers from a reference. */
class Head {
  /** @param {Engine} engine @param {Awaited<ReturnType<typeof headOf>>} head @param {number} eps @param {{samples: number, ctx: number}} size */
  constructor(engine, head, eps, { samples, ctx }) {
    this.engine = engine
    this.head = head
    this.eps = eps
    /** Of each sample the last so many tokens count. */
    this.n = Math.max(1, Math.min(ctx, Math.ceil(HEAD_WORK / (head.rows * head.cols * samples))))
    this.rooms = { head: new Room(engine), norm: new Room(engine), x: new Room(engine), scratch: new Room(engine) }
    engine.heap.bytes(this.rooms.head.at(head.bytes.length), head.bytes.length).set(head.bytes)
    engine.heap.bytes(this.rooms.norm.at(head.norm.length), head.norm.length).set(head.norm)
  }

  /** @param {Stream} reference @param {Stream} stream */
  divergence(reference, stream) {
    const { engine, head: { type, rows, cols }, n, rooms } = this, floats = n * cols
    const x = rooms.x.at(floats * 8 + n * 8), scratch = rooms.scratch.at(engine.call('nb_divergence_scratch_bytes', rows, cols, engine.threads))
    let sum = 0
    stream.forEach((sample, i) => {
      engine.heap.f32(x, floats).set(reference[i].subarray(-floats))
      engine.heap.f32(x + floats * 4, floats).set(sample.subarray(-floats))
      sum += engine.call('nbw_divergence', engine.team, typeInfo(type).id, rooms.head.ptr, rows, cols, rooms.norm.ptr, this.eps, x, x + floats * 4, n, scratch, x + floats * 8)
    })
    return sum / (n * stream.length)
  }

  free() {
    for (const room of Object.values(this.rooms)) room.free()
  }
}

/**
 * How far the predictions are from those of the model where one more layer is left out, for each that is left; Infinity for those that are removed.
 * Streams of all these models go through the layers side by side, so that a layer's weights are read once.
 * @param {Engine} engine @param {Checkpoint} checkpoint @param {number[]} removed @param {MeasureOptions} options
 * @returns {Promise<number[]>}
 */
export async function divergenceWithout(engine, checkpoint, removed, { onProgress, ...options }) {
  const gone = new Set(removed), head = await headOf(checkpoint)
  const calibration = await Calibration.create(engine, checkpoint, options)
  /** @type {Head | undefined} */
  let predictions
  try {
    await calibration.embed()
    const { nLayers } = calibration, all = nLayers * (nLayers + 1) / 2
    let reference = taken(calibration), base = reference, done = 0
    /** @type {Map<number, Stream>} */
    const without = new Map()
    for (let layer = 0; layer < nLayers; layer++) {
      await calibration.begin(layer)
      const next = await through(calibration, reference)
      if (!gone.has(layer)) {
        for (const [candidate, stream] of without) {
          without.set(candidate, await through(calibration, stream))
          onProgress?.(Math.min(all, ++done), all, `layer ${layer}`)
        }
        without.set(layer, base)
        base = base === reference ? next : await through(calibration, base)
      }
      reference = next
      onProgress?.(Math.min(all, ++done), all, `layer ${layer}`)
    }
    predictions = new Head(engine, head, architectureKey(checkpoint.pairs, 'attention.layer_norm_rms_epsilon').value, calibration)
    const scores = Array(nLayers).fill(Infinity)
    for (const [layer, stream] of without) {
      options.signal?.throwIfAborted()
      scores[layer] = predictions.divergence(reference, stream)
    }
    return scores
  } finally {
    predictions?.free()
    calibration.free()
  }
}

/**
 * The layers that matter least.
 * @param {Engine} engine @param {Checkpoint} checkpoint @param {number} count  that go @param {Importance} by @param {MeasureOptions} options
 * @returns {Promise<{removed: number[], importance: number[], divergence?: number}>} importance: of every layer of the whole model; divergence: of the
 *   predictions without those that are removed
 */
export async function leastLayers(engine, checkpoint, count, by, options) {
  const least = (/** @type {number[]} */ scores) => scores.indexOf(Math.min(...scores))
  if (by === 'influence') {
    const importance = await blockInfluence(engine, checkpoint, options)
    const removed = importance.map((_, i) => i).sort((a, b) => importance[a] - importance[b] || a - b).slice(0, count)
    return { removed: removed.sort((a, b) => a - b), importance }
  }
  /** @type {number[]} */
  const removed = []
  let importance = /** @type {number[]} */ ([]), divergence = 0
  while (removed.length < count) {
    const scores = await divergenceWithout(engine, checkpoint, removed, {
      ...options, onNote: removed.length ? undefined : options.onNote, onProgress: (done, total, what) => options.onProgress?.(done + removed.length * total, count * total, what),
    })
    if (removed.length === 0) importance = scores
    removed.push(least(scores))
    divergence = scores[/** @type {number} */ (removed.at(-1))]
  }
  return { removed: removed.sort((a, b) => a - b), importance, divergence }
}
