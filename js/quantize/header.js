/**
 * A checkpoint as a model of the library of which no more than the header was read: its configuration, its tokenizer.
 */
import { NibbleError } from '../errors.js'
import { readInfo } from '../info.js'
import { Tokenizer } from '../tokenizer.js'
import { GgufWriter } from './gguf-writer.js'

const HEADER_ONLY = 1 // NB_LOAD_HEADER_ONLY
const nothing = async () => {}

/**
 * @param {import('../runtime.js').Engine} engine
 * @param {import('./checkpoint.js').Checkpoint} checkpoint
 * @returns {{model: number, info: import('../info.js').ModelInfo, tokenizer: () => Tokenizer, free: () => void}} model: nb_model
 */
export function headerModel(engine, { name, pairs, tensors }) {
  const { header } = new GgufWriter({ write: nothing, commit: nothing, abort: nothing }, { pairs, tensors })
  const loader = engine.ptr('nb_loader_new', HEADER_ONLY)
  if (!loader) throw new NibbleError('E_NOMEM', 'not enough memory for the header')
  try {
    for (let at = 0; at < header.length;) {
      const to = engine.ptr('nb_loader_window', loader, engine.out), n = Math.min(engine.heap.u32(engine.out, 1)[0], header.length - at)
      engine.heap.bytes(to, n).set(header.subarray(at, at + n))
      engine.check('nb_loader_commit', loader, n)
      at += n
    }
    const model = engine.make('nb_loader_take', loader), info = readInfo(engine, model)
    /** @type {Tokenizer | undefined} */
    let tokenizer
    return {
      model, info,
      tokenizer: () => tokenizer ??= new Tokenizer(engine, engine.make('nbw_tokenizer_new', model), { info }),
      free() {
        if (engine.dead) return
        if (tokenizer) engine.call('nb_tokenizer_free', tokenizer.ptr)
        engine.call('nb_model_free', model)
      },
    }
  } catch (error) {
    if (error instanceof NibbleError && !engine.dead) throw new NibbleError(error.code, `${name}: ${error.message}`, { cause: error })
    throw error
  } finally {
    if (!engine.dead) engine.call('nb_loader_free', loader)
  }
}
