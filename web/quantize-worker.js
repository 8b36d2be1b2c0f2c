/**
 * The quantizer's side of web/quantize-client.js: one worker holds one model that is to become smaller. It is a worker of its own, which nobody tells what
 * is said to a model. See protocol.js for how it is asked.
 */
import { NibbleError } from '../js/errors.js'
import { openCheckpoint } from '../js/quantize/checkpoint.js'
import { quantizeEngine } from '../js/quantize/engine.js'
import { folderOfFiles } from '../js/quantize/folder.js'
import { headerModel } from '../js/quantize/header.js'
import { openHuggingFace } from '../js/quantize/huggingface.js'
import { keepsFiles, opfsSink, roomLeft, sweep } from '../js/quantize/opfs.js'
import { weightsOf } from '../js/quantize/plan.js'
import { quantize } from '../js/quantize/quantize.js'
import { memorySink } from '../js/quantize/sinks.js'
import { isFloat } from '../js/quantize/types.js'
import { reporter, serve } from './service.js'

/** Results that are not written to a file are held in memory up to this size. */
const MEMORY_LIMIT = 512e6

/** @type {{engine: import('../js/runtime.js').Engine, checkpoint: import('../js/quantize/checkpoint.js').Checkpoint} | undefined} */
let opened

function model() {
  if (!opened) throw new NibbleError('E_INTERNAL', 'this worker has no model; report the bug')
  return opened
}

/** @param {number} n */
const megabytes = (n) => `${Math.ceil(n / 1e6).toLocaleString('en')} MB`

/** Refuses what there is no room for before the work, rather than at its end. @param {number} bytes @param {boolean} kept */
async function checkRoom(bytes, kept) {
  if (!kept) {
    if (bytes <= MEMORY_LIMIT) return
    throw new NibbleError('E_QUOTA', `the result of ${megabytes(bytes)} does not fit: this browser keeps no files for the page, and at most ${megabytes(MEMORY_LIMIT)} are held in memory; use a window that is not private, or another browser`)
  }
  const room = await roomLeft()
  if (bytes > room) throw new NibbleError('E_QUOTA', `the result of ${megabytes(bytes)} does not fit: the browser gives this page ${megabytes(room)} on the disk; free some, or delete models that are kept here`)
}

/** @type {import('./service.js').Operations} */
const OPERATIONS = {
  async open(_, { source, files, folder }, options) {
    const engine = await quantizeEngine(options)
    const checkpoint = files ? await openHuggingFace({ ...folderOfFiles(files), name: folder }) : await openCheckpoint(source, { ...options, engine })
    opened = { engine, checkpoint }
    const header = headerModel(engine, checkpoint), { name, architecture, supported, parameters, n_ctx, chat_template } = header.info
    const session_bytes = supported ? engine.call('nbw_session_bytes', header.model, 0, 0) : 0
    header.free()
    const matrices = checkpoint.tensors.filter(({ shape }) => shape.length > 1)
    /** @type {Map<string, number>} */
    const weights = new Map()
    for (const tensor of matrices) weights.set(tensor.type, (weights.get(tensor.type) ?? 0) + weightsOf(tensor))
    const bytes = checkpoint.tensors.reduce((n, tensor) => n + tensor.bytes, 0)
    return {
      name, architecture, supported, parameters, n_ctx, chats: !!chat_template, weight_bytes: bytes, session_bytes, bpw: parameters ? bytes * 8 / parameters : 0,
      type: [...weights].sort((a, b) => b[1] - a[1])[0]?.[0] ?? '', floats: matrices.every(({ type }) => isFloat(type)), notes: checkpoint.notes ?? [],
      threads: engine.threads, variant: engine.variant, kept: await keepsFiles(),
    }
  },

  async estimate({ signal }, options) {
    const { engine, checkpoint } = model()
    const { type, file_bytes, bpw, estimate: { seconds, memory_bytes }, notes } = await quantize(checkpoint, undefined, { ...options, engine, dryRun: true, signal })
    return { type, file_bytes, bpw, seconds, memory_bytes, notes: notes.slice(checkpoint.notes?.length ?? 0) }
  },

  async quantize({ id, signal }, options, name) {
    const { engine, checkpoint } = model(), { onProgress, flush } = reporter(id)
    const kept = await keepsFiles()
    const { file_bytes } = await quantize(checkpoint, undefined, { ...options, engine, dryRun: true, signal })
    await sweep()
    await checkRoom(file_bytes, kept)
    const sink = kept ? await opfsSink(name) : memorySink()
    try {
      const result = await quantize(checkpoint, sink, { ...options, engine, signal, onProgress })
      flush()
      return { result, kept, file: 'file' in sink ? await sink.file() : new File([sink.blob()], name) }
    } catch (error) {
      await sink.abort().catch(() => {}) // done already, as a rule
      throw error
    }
  },
}

serve(OPERATIONS, () => opened?.engine.heap.byteLength ?? 0)
