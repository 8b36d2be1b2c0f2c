/**
 * What quantizing will take, before it begins: bytes from the plan, time from trials of the first rows of some tensors.
 */
import { SITES } from './calibration.js'
import { ENCODE } from './encode.js'
import { layerOf, weightsOf } from './plan.js'
import { AWQ_ROWS } from './sites.js'
import { isFloat, rowBytes } from './types.js'

/** Weights of a trial: some milliseconds. */
const TRIAL = 1 << 16
/** Weights of a piece: what is in memory at a time, and what a killed run loses at most. */
export const PIECE = 1 << 20

/** Rows of a piece. @param {number} cols */
export const pieceRows = (cols) => Math.max(1, Math.floor(PIECE / cols))

/**
 * @typedef {object} Estimate
 * @property {number} inputBytes  @property {number} outputBytes  of tensors
 * @property {number} parameters  @property {number} bpw  bits per weight, over all tensors
 * @property {number} memoryBytes  of the engine, beside what the program itself takes
 * @property {number} seconds
 * @property {Map<string, number>} secondsOf  by the names of tensors
 * @property {{gather: number, advance: number, head: number}} [sample]  seconds of one sample in a layer: gathering statistics, going on; and in the head
 */

/**
 * @param {import('./checkpoint.js').Checkpoint} checkpoint @param {import('./plan.js').Plan} plan @param {import('./encode.js').RowEncoder} encoder
 * @param {number} method  of ENCODE
 * @returns {Promise<Estimate>}
 */
export async function estimateWork(checkpoint, { tensors }, encoder, method) {
  /** @type {Map<string, number>} */
  const speeds = new Map(), secondsOf = new Map()
  let memory = 0, seconds = 0, inputBytes = 0, outputBytes = 0, parameters = 0
  for (const { tensor, to, copied, bytes } of tensors) {
    const { name, type: from, shape: [cols] } = tensor, weights = weightsOf(tensor)
    inputBytes += tensor.bytes
    outputBytes += bytes
    parameters += weights
    if (copied && !isFloat(from)) continue
    const key = `${from} ${to}`, all = weights / cols
    const rows = Math.min(all, Math.max(1, Math.floor(TRIAL / cols)))
    const how = { from, to, method: copied ? ENCODE.rtn : method, rows, cols }
    memory = Math.max(memory, encoder.bytes({ ...how, rows: Math.min(all, pieceRows(cols)) }))
    let speed = speeds.get(key)
    if (speed === undefined) {
      const input = await checkpoint.read(tensor, 0, rows * rowBytes(from, cols))
      const few = Math.ceil(rows / 8)
      encoder.encode(input.subarray(0, few * rowBytes(from, cols)), { ...how, rows: few }) // before the engine has optimised it
      const start = performance.now()
      encoder.encode(input, how)
      speed = (performance.now() - start) / 1000 / (rows * cols)
      speeds.set(key, speed)
    }
    secondsOf.set(name, speed * weights)
    seconds += speed * weights
  }
  return { inputBytes, outputBytes, parameters, bpw: parameters ? outputBytes * 8 / parameters : 0, memoryBytes: memory + (4 << 20), seconds, secondsOf }
}

const GIVEN = 0, STATS = 1, ADVANCE = 2, REFERENCE = 4 // nb_set, nb_run_flags
/** Exponents that AWQ tries. */
const AWQ_TRIALS = 21
/** Rows of the trials of GPTQ. */
const FEW = 16

/**
 * What a calibration adds, by trials in the first layer: one sample of it, and GPTQ on some rows of its first site. Leaves the calibration before its
 * first layer, without an embedding.
 * @param {import('./calibration.js').Calibration} calibration @param {import('./plan.js').Plan} plan @param {import('./sites.js').SiteEncoder} sites
 * @param {import('./sites.js').AllGptqOptions | undefined} gptq  undefined where matrices are encoded by rows
 * @param {boolean} awq
 * @param {Estimate} estimate  is added to
 * @param {number} errorSamples  by which the error of each layer is measured
 */
export async function estimateCalibration(calibration, plan, sites, gptq, awq, estimate, errorSamples) {
  const { engine, ptr, samples, nLayers, ctx } = calibration
  const timed = (/** @type {() => void} */ work) => {
    const start = performance.now()
    work()
    return (performance.now() - start) / 1000
  }
  await calibration.embed()
  await calibration.begin(0)
  const pass = (/** @type {number} */ flags) => timed(() => engine.check('nb_calibration_run', ptr, 0, GIVEN, flags))
  const flags = STATS | (calibration.reference ? REFERENCE : 0)
  const gather = Math.min(pass(flags), pass(flags)), advance = pass(ADVANCE)
  engine.call('nb_calibration_finish', ptr)
  estimate.sample = { gather, advance, head: gather / 8 }
  estimate.seconds += nLayers * (samples * (estimate.sample.gather + advance) + 2 * Math.min(errorSamples, samples) * advance) + samples * estimate.sample.head
  const widest = Math.max(...['down', 'attn_output', 'qkv'].map((site) => calibration.widthOf(/** @type {import('./calibration.js').Site} */ (site))))
  const layers = new Map(), floats = new Map()
  for (const { tensor, bytes, copied } of plan.tensors) {
    const layer = layerOf(tensor.name), site = Object.values(SITES).findIndex((ends) => ends.some((end) => tensor.name.endsWith(end)))
    if (layer >= 0) layers.set(layer, (layers.get(layer) ?? 0) + tensor.bytes + bytes)
    if (gptq && site >= 0 && !copied) floats.set(`${layer} ${site}`, (floats.get(`${layer} ${site}`) ?? 0) + weightsOf(tensor) * 4 + 2 * bytes)
  }
  estimate.memoryBytes += samples * ctx * calibration.header.info.config.d_model * 4 * (calibration.reference ? 2 : 1) + Math.max(0, ...layers.values()) +
    Math.max(0, ...floats.values()) + (gptq ? 3 : 0) * widest * widest * 4
  const stats = calibration.statistics('qkv'), name = `blk.0.${SITES.qkv[0]}`, first = plan.tensors.find((p) => p.tensor.name === name)
  if (gptq && stats?.h && first && !first.copied && !isFloat(first.to)) {
    const { tensor, to } = first, { cols } = stats, few = Math.min(weightsOf(tensor) / cols, FEW * engine.threads)
    const w = engine.alloc(few * cols * 4)
    try {
      engine.heap.f32(w, few * cols).set(Float32Array.from({ length: few * cols }, (_, i) => Math.sin(i * 1.7) + Math.sin(i * 0.31)))
      const matrix = (/** @type {number} */ rows) => ({ tensor: { ...tensor, shape: [cols, rows] }, to, rows, w })
      const run = (/** @type {number} */ rows) => timed(() => sites.gptq([matrix(rows)], stats, { ...gptq, alpha: 0 }))
      run(few)
      const all = run(few), half = run(Math.ceil(few / 2))
      const perRow = Math.max(all / few / 4, (all - half) / (few / 2)), fixed = Math.max(0, all - perRow * few) // of H itself
      for (const item of plan.tensors) {
        const { name: other, shape } = item.tensor
        if (item.copied || isFloat(item.to) || !(layerOf(other) >= 0 || other === 'output.weight') || !Object.values(SITES).flat().some((end) => other.endsWith(end))) continue
        const rows = weightsOf(item.tensor) / shape[0], trials = awq ? AWQ_TRIALS * Math.min(AWQ_ROWS, rows) / rows : 0
        const seconds = perRow * (1 + trials) * rows * (shape[0] / cols) ** 2 + fixed * (shape[0] / cols) ** 3 / 2
        estimate.seconds += seconds - (estimate.secondsOf.get(other) ?? 0)
        estimate.secondsOf.set(other, seconds)
      }
    } finally {
      if (!engine.dead) engine.free(w)
    }
  }
}
