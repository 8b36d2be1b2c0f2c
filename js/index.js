/**
 * Nibble: quantized language models on the user's own machine. This module runs anywhere: browsers, workers, Node, Deno.
 */
export { load, estimate, loadTokenizer } from './load.js'
export { Model } from './model.js'
export { Session } from './session.js'
export { Tokenizer } from './tokenizer.js'
export { NibbleError, isNibbleError } from './errors.js'
export { chooseVariant } from './runtime.js'
export { cache } from './cache.js'

/**
 * @typedef {import('./load.js').LoadOptions} LoadOptions
 * @typedef {import('./load.js').Progress} Progress
 * @typedef {import('./source.js').Source} Source
 * @typedef {import('./download/index.js').KeptEntry} KeptEntry
 * @typedef {import('./info.js').ModelInfo} ModelInfo
 * @typedef {import('./embeddings.js').EmbeddingOptions} EmbeddingOptions
 * @typedef {import('./embeddings.js').EmbeddingResult} EmbeddingResult
 * @typedef {import('./chat.js').Message} Message
 * @typedef {import('./chat.js').ChatOptions} ChatOptions
 * @typedef {import('./chat.js').ChatCompletion} ChatCompletion
 * @typedef {import('./chat.js').ChatChunk} ChatChunk
 * @typedef {import('./completions.js').CompletionOptions} CompletionOptions
 * @typedef {import('./completions.js').Completion} Completion
 * @typedef {import('./session.js').SessionOptions} SessionOptions
 * @typedef {import('./session.js').SessionGenerateOptions} SessionGenerateOptions
 * @typedef {import('./session.js').SessionInput} SessionInput
 */
