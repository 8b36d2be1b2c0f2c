/**
 * From a model to a smaller one: plan, estimate, encode piece by piece, write. Nothing but a piece is in memory at a time; a run that was killed goes on
 * where it stood, to the same file.
 */
import { NibbleError } from '../errors.js'
import { node } from '../platform.js'
import { abortError } from '../source.js'
import { openCheckpoint } from './checkpoint.js'
import { ENCODE, RowEncoder } from './encode.js'
import { quantizeEngine } from './engine.js'
import { estimateWork, pieceRows } from './estimate.js'
import { GgufWriter } from './gguf-writer.js'
import { checkImatrix, importanceOf, readImatrix } from './imatrix.js'
import { Progress, fingerprint, sha256 } from './journal.js'
import { pair, withPairs } from './pairs.js'
import { planTypes, weightsOf } from './plan.js'
import { openSink } from './sinks.js'
import { isFloat, rowBytes } from './types.js'

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./imatrix.js').Imatrix} Imatrix
 * @typedef {import('./plan.js').Plan} Plan
 * @typedef {import('./gguf-writer.js').Sink & Partial<import('./node.js').FileParts>} Sink
 *
 * @typedef {object} QuantizeOnly
 * @property {'rtn' | 'search'} [method]  how blocks are found: by rounding, or by a search for the least error (the default)
 * @property {Imatrix | import('../source.js').SingleSource} [imatrix]  importance of the columns of matrices, or the file that has it
 * @property {boolean} [dryRun]  plan and estimate only; the destination is not touched
 * @property {(progress: QuantizeProgress) => void} [onProgress]
 * @property {(estimate: {seconds: number, memory_bytes: number, input_bytes: number, file_bytes: number, bpw: number, threads: number}) => void} [onEstimate]
 *   before the work
 * @property {(text: string) => void} [onNote]  what is otherwise than asked for, as soon as it is known
 * @property {AbortSignal} [signal]
 * @property {typeof globalThis.fetch} [fetch]  @property {HeadersInit} [headers]
 * @typedef {QuantizeOnly & Omit<import('./plan.js').PlanOptions, 'hasImatrix'> & import('./engine.js').QuantizeEngineOptions} QuantizeOptions
 *
 * @typedef {object} QuantizeProgress
 * @property {string} tensor  in work  @property {number} index  @property {number} count  of tensors
 * @property {number} done  of the work, 0 to 1  @property {number} secondsLeft
 *
 * @typedef {object} TensorResult
 * @property {string} name  @property {number[]} shape  @property {string} from  @property {string} to
 * @property {boolean} copied
 * @property {number} bytes  @property {number} bits  per weight
 * @property {number} error  sum of squared differences over sum of squares
 * @property {number} weighted_error  the same, each column times its importance
 * @property {number} seconds
 *
 * @typedef {object} QuantizeResult
 * @property {string} input  @property {string} type  @property {string} method
 * @property {number} parameters  @property {number} bpw  @property {number} input_bytes  of tensors
 * @property {number} output_bytes  of tensors  @property {number} file_bytes
 * @property {{seconds: number, memory_bytes: number}} estimate
 * @property {number} seconds  that encoding took, in this run and those before it
 * @property {number} resumed  part of the work that an earlier run had done, 0 to 1
 * @property {number} threads  @property {string} variant  @property {number} memory_bytes  of the engine, at most
 * @property {boolean} dry_run
 * @property {string[]} notes
 * @property {TensorResult[]} tensors
 */

const METHODS = { rtn: ENCODE.rtn, search: ENCODE.search }
const QUANTIZATION_VERSION = 2 // GGML_QNT_VERSION
const COPY_PIECE = 4 << 20

/** @param {QuantizeOptions} options */
function checkOptions({ method = 'search', type }) {
  if (typeof type !== 'string') throw new NibbleError('E_ARGUMENT', "type is missing; name one, such as 'Q4_K_M'")
  if (!Object.hasOwn(METHODS, method)) throw new NibbleError('E_ARGUMENT', `there is no method '${method}'; the methods are ${Object.keys(METHODS).join(', ')}`)
  return METHODS[method]
}

/** @param {unknown} source @returns {source is Checkpoint} */
const isCheckpoint = (source) => typeof source === 'object' && source !== null && 'pairs' in source && 'tensors' in source
/** @param {unknown} source @returns {source is Imatrix} */
const isImatrix = (source) => typeof source === 'object' && source !== null && 'entries' in source

/** Metadata of the output. @param {Checkpoint} checkpoint @param {Plan} plan @param {Imatrix | undefined} imatrix */
function outputPairs(checkpoint, plan, imatrix) {
  const changes = [pair.u32('general.quantization_version', QUANTIZATION_VERSION), pair.u32('general.file_type', plan.fileType)]
  if (imatrix) {
    changes.push(pair.string('quantize.imatrix.file', imatrix.file ?? ''))
    if (imatrix.datasets.length) changes.push(pair.string('quantize.imatrix.dataset', imatrix.datasets[0]))
    changes.push(pair.u32('quantize.imatrix.entries_count', imatrix.entries.size))
    if (imatrix.chunks > 0) changes.push(pair.u32('quantize.imatrix.chunks_count', imatrix.chunks))
  }
  return withPairs(checkpoint.pairs, changes)
}

/** What decides about the bytes of the output, beside the input. @param {QuantizeOptions} options @param {Plan} plan @param {Imatrix | undefined} imatrix */
async function decisive({ method = 'search' }, plan, imatrix) {
  const importance = []
  for (const [name, { sums, counts }] of imatrix?.entries ?? []) {
    importance.push([name, await sha256(new Uint8Array(sums.buffer, sums.byteOffset, sums.byteLength)), [...counts]])
  }
  return { method, fileType: plan.fileType, types: plan.tensors.map(({ tensor, to }) => [tensor.name, to]), importance, file: imatrix?.file, datasets: imatrix?.datasets, chunks: imatrix?.chunks }
}

/** @type {Sink} */
const NOWHERE = { write: async () => {}, commit: async () => {}, abort: async () => {} }

class Run {
  /**
   * @param {{checkpoint: Checkpoint, plan: Plan, encoder: RowEncoder, method: number, imatrix: Imatrix | undefined, estimate: import('./estimate.js').Estimate,
   *   options: QuantizeOptions, sink: Sink, writer: GgufWriter, progress: Progress}} parts
   */
  constructor(parts) {
    this.checkpoint = parts.checkpoint
    this.plan = parts.plan
    this.encoder = parts.encoder
    this.method = parts.method
    this.imatrix = parts.imatrix
    this.estimate = parts.estimate
    this.options = parts.options
    this.sink = parts.sink
    this.writer = parts.writer
    this.progress = parts.progress
    this.start = performance.now()
    /** Seconds of the estimate that are done, and of these what an earlier run did. */
    this.done = 0
    this.found = 0
  }

  /** @param {string} tensor @param {number} index */
  tell(tensor, index) {
    const { options: { onProgress, signal }, estimate: { seconds: all }, done, found, plan: { tensors } } = this
    if (signal?.aborted) throw abortError(undefined, signal)
    const own = done - found, elapsed = (performance.now() - this.start) / 1000
    // The estimate, corrected by how it has been so far.
    const factor = own > 0.02 * all || elapsed > 10 ? elapsed / Math.max(own, 1e-9) : 1
    onProgress?.({ tensor, index, count: tensors.length, done: all > 0 ? Math.min(1, done / all) : 1, secondsLeft: Math.max(0, all - done) * factor })
  }

  /** The blocks that an earlier run wrote, if they are still there. @param {string} name @param {number} row @param {number} rows @param {number} bytes */
  async earlier(name, row, rows, bytes) {
    const entry = this.progress.entry(name, row)
    if (!entry || entry.rows !== rows || !this.sink.read) return undefined
    const { offset, written } = this.writer.place(name, bytes)
    const blocks = await this.sink.read(offset + written, bytes)
    return blocks.length === bytes && await sha256(blocks) === entry.sha256 ? entry : undefined
  }

  /**
   * @param {import('./plan.js').TensorPlan} plan @param {number} index
   * @returns {Promise<TensorResult>}
   */
  async tensor({ tensor, to, copied, bytes }, index) {
    const { name, type: from, shape } = tensor, [cols, height = 1] = shape
    const weights = weightsOf(tensor), estimated = this.estimate.secondsOf.get(name) ?? 0
    const sum = { error: 0, norm: 0, weightedError: 0, weightedNorm: 0, seconds: 0 }
    if (copied && !isFloat(from)) {
      await this.copy(tensor, index)
    } else {
      const entry = this.imatrix?.entries.get(name)
      for (let first = 0; first < weights / cols; first += height) {
        const importance = entry && !copied ? importanceOf(entry, first / height) : undefined
        for (let row = first; row < first + height;) {
          const rows = Math.min(pieceRows(cols), first + height - row)
          this.tell(name, index)
          const result = await this.piece({ tensor, to, copied, row, rows, cols, importance })
          for (const key of /** @type {(keyof typeof sum)[]} */ (Object.keys(sum))) sum[key] += result[key]
          this.done += estimated * rows * cols / weights
          if (result.found) this.found += estimated * rows * cols / weights
          row += rows
        }
      }
    }
    return {
      name, shape, from, to, copied, bytes, bits: bytes * 8 / weights, error: sum.norm > 0 ? sum.error / sum.norm : 0,
      weighted_error: sum.weightedNorm > 0 ? sum.weightedError / sum.weightedNorm : 0, seconds: sum.seconds,
    }
  }

  /** @param {import('./checkpoint.js').Tensor} tensor @param {number} index */
  async copy(tensor, index) {
    for (let at = 0; at < tensor.bytes; at += COPY_PIECE) {
      this.tell(tensor.name, index)
      await this.writer.write(tensor.name, await this.checkpoint.read(tensor, at, Math.min(COPY_PIECE, tensor.bytes - at)))
    }
  }

  /**
   * @param {{tensor: import('./checkpoint.js').Tensor, to: string, copied: boolean, row: number, rows: number, cols: number, importance?: Float32Array}} piece
   * @returns {Promise<import('./journal.js').PieceResult & {found: boolean}>}
   */
  async piece({ tensor, to, copied, row, rows, cols, importance }) {
    const { name, type: from } = tensor, outBytes = rows * rowBytes(to, cols), inRow = rowBytes(from, cols)
    const before = copied ? undefined : await this.earlier(name, row, rows, outBytes)
    if (before) {
      await this.writer.skip(name, outBytes)
      return { ...before, found: true }
    }
    const input = await this.checkpoint.read(tensor, row * inRow, rows * inRow)
    const start = performance.now()
    const result = this.encoder.encode(input, { from, to, method: copied ? ENCODE.rtn : this.method, rows, cols, importance })
    if ('bad' in result) {
      throw new NibbleError('E_FORMAT', `${name} of ${this.checkpoint.name} holds a NaN or an infinity in row ${row + result.bad.row}, column ${result.bad.col}; the file is damaged, or went wrong when it was made`)
    }
    const seconds = (performance.now() - start) / 1000
    // Out of the engine's memory, which may be shared: files and hashes do not take that.
    const blocks = copied ? input : result.blocks.slice()
    await this.writer.write(name, blocks)
    if (!copied) await this.progress.done(name, row, rows, blocks, { ...result, seconds })
    return { ...result, seconds: copied ? 0 : seconds, found: false }
  }
}

/** @param {Checkpoint} checkpoint @param {unknown} destination */
async function checkDestination(checkpoint, destination) {
  if (typeof destination === 'string' && node && await (await import('./node.js')).samePlace(checkpoint.name, destination)) {
    throw new NibbleError('E_ARGUMENT', `${destination} is the file that is read; name another one for the result`)
  }
}

/**
 * Quantizes a model.
 * @param {import('./checkpoint.js').CheckpointSource | Checkpoint} source  a model as openCheckpoint takes it, or a checkpoint, which stays open
 * @param {Sink | string | undefined} destination  a path (Node), or a sink; undefined with dryRun
 * @param {QuantizeOptions} options
 * @returns {Promise<QuantizeResult>}
 */
export async function quantize(source, destination, options) {
  const method = checkOptions(options), { signal, onNote } = options
  const engine = await quantizeEngine(options)
  const encoder = new RowEncoder(engine)
  /** @type {Checkpoint | undefined} */
  let opened
  /** @type {Sink | undefined} */
  let sink
  try {
    const checkpoint = isCheckpoint(source) ? source : opened = await openCheckpoint(source, { ...options, engine })
    const imatrix = options.imatrix === undefined || isImatrix(options.imatrix) ? options.imatrix : await readImatrix(options.imatrix, { ...options, engine })
    const plan = planTypes(checkpoint, { ...options, hasImatrix: imatrix !== undefined })
    const notes = [...checkpoint.notes ?? [], ...plan.notes]
    if (imatrix) {
      notes.push(...checkImatrix(imatrix, plan.tensors.filter((t) => !t.copied).map((t) => t.tensor)))
      if (options.method === 'rtn') notes.push('rounding (method rtn) does not look at the importance matrix')
    }
    for (const note of notes) onNote?.(note)
    const estimate = await estimateWork(checkpoint, plan, encoder, method)
    if (signal?.aborted) throw abortError(undefined, signal)
    const result = {
      input: checkpoint.name, type: plan.type, method: options.method ?? 'search', parameters: estimate.parameters, bpw: estimate.bpw, input_bytes: estimate.inputBytes,
      output_bytes: estimate.outputBytes, estimate: { seconds: estimate.seconds, memory_bytes: estimate.memoryBytes }, threads: engine.threads, variant: engine.variant, notes,
    }
    const content = {
      pairs: outputPairs(checkpoint, plan, imatrix), tensors: plan.tensors.map(({ tensor: { name, shape }, to }) => ({ name, shape, type: to })),
    }
    const { size } = new GgufWriter(NOWHERE, content)
    options.onEstimate?.({ ...result.estimate, input_bytes: result.input_bytes, file_bytes: size, bpw: result.bpw, threads: result.threads })
    if (options.dryRun) {
      const tensors = plan.tensors.map(({ tensor, to, copied, bytes }) => ({
        name: tensor.name, shape: tensor.shape, from: tensor.type, to, copied, bytes, bits: bytes * 8 / weightsOf(tensor), error: 0, weighted_error: 0,
        seconds: estimate.secondsOf.get(tensor.name) ?? 0,
      }))
      return { ...result, file_bytes: size, seconds: 0, resumed: 0, memory_bytes: engine.heap.byteLength, dry_run: true, tensors }
    }
    if (destination === undefined) throw new NibbleError('E_ARGUMENT', 'where the result goes is missing; name a path, or pass a sink')
    await checkDestination(checkpoint, destination)
    const print = await fingerprint(checkpoint, await decisive(options, plan, imatrix))
    sink = await openSink(destination)
    const progress = new Progress(sink.journal, print), writer = new GgufWriter(sink, content)
    await progress.open()
    if (progress.other) onNote?.('what an earlier run had begun there was of other input or other options: it begins anew')
    const run = new Run({ checkpoint, plan, encoder, method, imatrix, estimate, options, sink, writer, progress })
    const tensors = []
    for (const [i, item] of plan.tensors.entries()) tensors.push(await run.tensor(item, i))
    const memory = engine.heap.byteLength
    await writer.finish()
    sink = undefined
    return {
      ...result, file_bytes: writer.size, seconds: tensors.reduce((n, t) => n + t.seconds, 0), resumed: estimate.seconds > 0 ? run.found / estimate.seconds : 0,
      memory_bytes: memory, dry_run: false, tensors,
    }
  } catch (error) {
    if (sink) await (sink.suspend ?? sink.abort)().catch(() => {}) // what failed first is what counts
    throw error
  } finally {
    await opened?.close()
    engine.close()
  }
}
