/**
 * Models with less in them: whole layers, columns of the feed-forward blocks, single weights. What comes of it is a plain GGUF file.
 */
import { NibbleError } from '../errors.js'
import { abortError } from '../source.js'
import { Calibration, SITES } from './calibration.js'
import { isCheckpoint, openCheckpoint } from './checkpoint.js'
import { quantizeEngine } from './engine.js'
import { FLOAT_BYTES } from './floats.js'
import { GgufWriter } from './gguf-writer.js'
import { architectureKey, layersOf, leastLayers, withNumber, withoutLayers } from './layers.js'
import { layerOf } from './plan.js'
import { LayerPruner } from './prune-layer.js'
import { checkDestination, openSink } from './sinks.js'
import { isFloat, rowsOf } from './types.js'

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./checkpoint.js').Tensor} Tensor
 * @typedef {import('./layers.js').Importance} Importance
 * @typedef {import('./quantize.js').Sink} Sink
 *
 * @typedef {object} PruneOnly
 * @property {number | number[]} [removeLayers]  how many go, those that matter least; or which ones, counted from 0
 * @property {Importance} [importance]  by which layers are chosen (default divergence)
 * @property {number} [ffnWidth]  of the feed-forward blocks: a multiple of 32, or a part of what it is, below 1
 * @property {boolean} [compensate]  what stays of ffn_down makes up for what goes (default true)
 * @property {'wanda' | 'magnitude'} [method]  of choosing single weights, with `sparsity` (default wanda)
 * @property {number} [sparsity]  part of the weights of every row that become 0
 * @property {import('./calibrated.js').CalibrationText} [calibration]  needed for all but given layers and magnitude
 * @property {(progress: {what: string, done: number}) => void} [onProgress]  done: 0 to 1, of the step `what`
 * @property {(text: string) => void} [onNote]
 * @property {AbortSignal} [signal]
 * @property {typeof globalThis.fetch} [fetch]  @property {HeadersInit} [headers]
 * @typedef {PruneOnly & import('./engine.js').QuantizeEngineOptions} PruneOptions
 *
 * @typedef {object} PrunedLayer
 * @property {number} layer  as it is counted in the result
 * @property {number} [error]  squared error of the layer's output for the same input, over the square of the output
 * @property {number} [ffn_loss]  squared error of the output of ffn_down, over its square  @property {number} [ffn_loss_plain]  without compensation
 * @property {number} [zeros]  part of the weights of its matrices
 *
 * @typedef {object} PruneResult
 * @property {string} input  @property {number} input_bytes  of tensors  @property {number} file_bytes
 * @property {number} parameters  @property {number} input_parameters
 * @property {number[]} removed  layers, as they were counted before
 * @property {{by: Importance, scores: number[], divergence?: number}} [importance]  divergence: of the predictions without the removed layers
 * @property {{before: number, after: number, compensated: boolean}} [ffn]
 * @property {{method: string, sparsity: number, zeros: number}} [masks]  zeros: part of all weights of the model
 * @property {PrunedLayer[]} layers
 * @property {string[]} notes  @property {number} seconds  @property {number} memory_bytes  @property {number} threads  @property {string} variant
 */

const COPY_PIECE = 4 << 20
const UNIT = 32, LARGE = 256 // weights of blocks
/** For choosing layers: more samples do not change the choice, and every layer goes through all that are behind it. */
const LAYER_SAMPLES = 16

/** @param {string} what */
const wrong = (what) => new NibbleError('E_ARGUMENT', what)

/** @param {PruneOptions} options */
function checkOptions({ removeLayers, importance = 'divergence', ffnWidth, sparsity, method = 'wanda', calibration }) {
  if (removeLayers === undefined && ffnWidth === undefined && sparsity === undefined) throw wrong('nothing is to go: say how many layers, which width of the feed-forward blocks, or which sparsity')
  if (typeof removeLayers === 'number' && !(Number.isInteger(removeLayers) && removeLayers > 0)) throw wrong(`removeLayers must be a whole number above 0, or a list of layers, not ${removeLayers}`)
  if (importance !== 'divergence' && importance !== 'influence') throw wrong(`there is no importance '${importance}'; there are divergence and influence`)
  if (method !== 'wanda' && method !== 'magnitude') throw wrong(`there is no method '${method}'; the methods are wanda, magnitude`)
  if (sparsity !== undefined && !(sparsity > 0 && sparsity < 1)) throw wrong(`sparsity must be between 0 and 1, not ${sparsity}`)
  if (calibration !== undefined && typeof calibration.text !== 'string') throw wrong('calibration.text must be a string')
  if (calibration === undefined) {
    const what = typeof removeLayers === 'number' ? 'choosing layers' : ffnWidth !== undefined ? 'choosing columns' : sparsity !== undefined && method === 'wanda' ? 'the method wanda' : undefined
    if (what) throw wrong(`${what} needs a calibration text (--calibration)`)
  }
}

/**
 * The width that was asked for, as one that blocks of weights divide.
 * @param {number} wanted @param {number} before @param {(text: string) => void} note
 */
function widthFor(wanted, before, note) {
  const part = wanted > 0 && wanted < 1
  const unit = part && before % LARGE === 0 && before >= 8 * LARGE ? LARGE : UNIT
  const width = part ? Math.max(unit, Math.round(wanted * before / unit) * unit) : wanted
  if (!(Number.isInteger(width) && width > 0 && width <= before)) throw wrong(`the feed-forward width ${wanted} is neither a part below 1 nor a whole number up to ${before}, which it is now`)
  if (width % UNIT) throw wrong(`a feed-forward width of ${width} is no multiple of ${UNIT}, into which blocks of weights divide; take ${Math.max(UNIT, Math.round(width / UNIT) * UNIT)}`)
  if (width % LARGE && before % LARGE === 0) note(`${width} is no multiple of ${LARGE}: ffn_down will not fit the types with K in their names, and IQ4_XS, when it is quantized`)
  return width
}

/** @param {Checkpoint} checkpoint */
const parametersOf = ({ tensors }) => tensors.reduce((n, { shape }) => n + shape[0] * rowsOf(shape), 0)

/** Matrices of which weights or columns go have to be floats. @param {Checkpoint} checkpoint @param {string[]} ends */
function checkFloats({ name, tensors }, ends) {
  const other = tensors.find((t) => layerOf(t.name) >= 0 && ends.some((end) => t.name.endsWith(end)) && !(t.type in FLOAT_BYTES && isFloat(t.type)))
  if (other) throw wrong(`${other.name} of ${name} is ${other.type}: prune the F16, BF16 or F32 model, and quantize it then`)
}

/** @param {GgufWriter} writer @param {Checkpoint} checkpoint @param {Tensor} tensor @param {() => void} check */
async function copy(writer, checkpoint, tensor, check) {
  for (let at = 0; at < tensor.bytes; at += COPY_PIECE) {
    check()
    await writer.write(tensor.name, await checkpoint.read(tensor, at, Math.min(COPY_PIECE, tensor.bytes - at)))
  }
}

/**
 * Takes away what matters least of a model.
 * @param {import('../source.js').Source | Checkpoint} source  as openCheckpoint takes it, or a checkpoint, which stays open
 * @param {Sink | string} destination  a path (Node), or a sink
 * @param {PruneOptions} options
 * @returns {Promise<PruneResult>}
 */
export async function prune(source, destination, options) {
  checkOptions(options)
  const { removeLayers, importance: by = 'divergence', ffnWidth, compensate = true, sparsity, method = 'wanda', calibration: text, signal, onNote, onProgress } = options
  const start = performance.now(), engine = await quantizeEngine(options)
  const checkSignal = () => {
    if (signal?.aborted) throw abortError(undefined, signal)
  }
  const notes = /** @type {string[]} */ ([])
  const note = (/** @type {string} */ what) => {
    if (notes.includes(what)) return
    notes.push(what)
    onNote?.(what)
  }
  /** @type {Checkpoint | undefined} */
  let opened
  /** @type {Sink | undefined} */
  let sink
  /** @type {Calibration | undefined} */
  let calibration
  /** @type {LayerPruner | undefined} */
  let pruner
  try {
    const whole = isCheckpoint(source) ? source : opened = await openCheckpoint(source, { ...options, engine })
    await checkDestination(whole, destination)
    const nLayers = layersOf(whole)
    if (typeof removeLayers === 'number' && removeLayers >= nLayers) throw wrong(`${removeLayers} layers of ${nLayers} would go; leave one at least`)
    const needed = [...(sparsity === undefined ? [] : Object.values(SITES).flat().filter((end) => end !== 'output.weight')), ...(ffnWidth === undefined ? [] : ['ffn_down.weight'])]
    checkFloats(whole, needed)
    const ff = ffnWidth === undefined ? undefined : architectureKey(whole.pairs, 'feed_forward_length')
    const width = ff && widthFor(/** @type {number} */ (ffnWidth), ff.value, note)
    const common = { signal, onNote: note }

    let chosen = Array.isArray(removeLayers) ? { removed: [...new Set(removeLayers)].sort((a, b) => a - b) } : undefined
    /** @type {PruneResult['importance']} */
    let importance
    if (typeof removeLayers === 'number' && text) {
      const found = await leastLayers(engine, whole, removeLayers, by, {
        ...text, ...common, samples: Math.min(text.samples ?? 256, LAYER_SAMPLES), onProgress: (done, total, what) => onProgress?.({ what: `choosing layers: ${what}`, done: done / total }),
      })
      chosen = found
      importance = { by, scores: found.importance, ...(found.divergence !== undefined && { divergence: found.divergence }) }
    }
    const removed = chosen?.removed ?? []
    const model = removed.length ? withoutLayers(whole, removed) : whole
    const narrow = width !== undefined && ff && width < ff.value ? width : undefined
    const shapeOf = (/** @type {Tensor} */ { name, shape }) => (narrow === undefined ? shape : /\.ffn_(gate|up)\.weight$/.test(name) ? [shape[0], narrow] : /\.ffn_down\.weight$/.test(name) ? [narrow, shape[1]] : shape)
    const pairs = narrow !== undefined && ff ? withNumber(model.pairs, ff.key, narrow) : model.pairs
    sink = await openSink(destination)
    await sink.journal?.restart()
    const writer = new GgufWriter(sink, { pairs, tensors: model.tensors.map((t) => ({ name: t.name, type: t.type, shape: shapeOf(t) })) })
    const inLayers = narrow !== undefined || sparsity !== undefined
    if (text && inLayers && (narrow !== undefined || method === 'wanda')) {
      calibration = await Calibration.create(engine, model, { ...text, ...common, ...(narrow !== undefined && { h: ['down'] }) })
      await calibration.embed()
    }
    pruner = new LayerPruner({ engine, checkpoint: model, calibration, width: narrow, compensate, sparsity, method, signal })
    const total = model.tensors.length
    let done = 0, zeros = 0
    for (const tensor of model.tensors) {
      if (inLayers && layerOf(tensor.name) >= 0) continue
      await copy(writer, model, tensor, checkSignal)
      done++
    }
    /** @type {PrunedLayer[]} */
    const layers = []
    for (let layer = 0; inLayers && layer < nLayers - removed.length; layer++) {
      onProgress?.({ what: `layer ${layer}`, done: done / total })
      const { changed, result, zeros: own } = await pruner.layer(layer)
      zeros += own
      layers.push(result)
      for (const tensor of model.tensors.filter((t) => layerOf(t.name) === layer)) {
        const bytes = changed.get(tensor.name)
        if (bytes) await writer.write(tensor.name, bytes)
        else await copy(writer, model, tensor, checkSignal)
        done++
      }
    }
    const parameters = model.tensors.reduce((n, t) => n + shapeOf(t)[0] * rowsOf(shapeOf(t)), 0)
    if (sparsity !== undefined) note('weights that are 0 take as many bytes and as much time as others: neither the file nor the model\'s speed changes by them')
    await writer.finish()
    sink = undefined
    return {
      input: whole.name, input_bytes: whole.tensors.reduce((n, t) => n + t.bytes, 0), file_bytes: writer.size, parameters, input_parameters: parametersOf(whole), removed,
      ...(importance && { importance }), ...(ff && { ffn: { before: ff.value, after: narrow ?? ff.value, compensated: compensate } }),
      ...(sparsity !== undefined && { masks: { method, sparsity, zeros: zeros / parameters } }), layers, notes, seconds: (performance.now() - start) / 1000,
      memory_bytes: engine.heap.byteLength, threads: engine.threads, variant: engine.variant,
    }
  } catch (error) {
    if (sink) await sink.abort().catch(() => {}) // what failed first is what counts
    throw error
  } finally {
    pruner?.free()
    calibration?.free()
    await opened?.close()
    engine.close()
  }
}

