import { openCheckpoint } from '../quantize/checkpoint.js'
import { measureImatrix } from '../quantize/calibration.js'
import { quantizeEngine } from '../quantize/engine.js'
import { legacyImatrix, writeImatrix } from '../quantize/imatrix.js'
import { fileSink } from '../quantize/node.js'
import { JSON_OPTION, UsageError } from './options.js'
import { print, progressBar, readText, say } from './common.js'

/** @type {import('./options.js').Command} */
export default {
  summary: 'what columns of its matrices a model uses most, for quantizing it',
  usage: 'MODEL --calibration F -o OUT [options]',
  details: 'MODEL is best the unquantized one. The text should be of the kind the model is used for, and must not be what the result is judged by.\n' +
    'OUT is an importance matrix in GGUF as llama.cpp writes it; in the older form where its name ends in .dat.',
  positionals: [1, 1],
  options: {
    ...JSON_OPTION,
    calibration: { type: 'string', value: 'F', help: "the text; '-': standard input" },
    output: { type: 'string', value: 'OUT', short: 'o', help: 'where the importance matrix goes' },
    samples: { type: 'integer', value: 'N', default: 256, help: 'pieces of the text, spread over all of it (default 256)' },
    ctx: { type: 'integer', value: 'N', default: 512, help: 'tokens of each (default 512)' },
    'parse-special': { type: 'boolean', help: 'control tokens spelled out in the text become those tokens' },
    variant: { type: 'string', value: 'V', help: 'simd128 or relaxed (default: the fastest this Node runs)' },
    threads: { type: 'integer', value: 'N', help: 'threads (default: one for each core)' },
  },

  async run({ values, args: [source] }, signal) {
    if (values.calibration === undefined) throw new UsageError('--calibration is missing')
    if (values.output === undefined) throw new UsageError('-o is missing')
    const text = await readText(values.calibration)
    const engine = await quantizeEngine({ variant: values.variant, threads: values.threads ?? 'auto' })
    const bar = progressBar('calibrating')
    try {
      const start = performance.now()
      const checkpoint = await openCheckpoint(source, { engine, signal })
      /** @type {Awaited<ReturnType<typeof measureImatrix>>} */
      let measured
      try {
        measured = await measureImatrix(engine, checkpoint, {
          text, samples: values.samples, ctx: values.ctx, parseSpecial: values['parse-special'], dataset: values.calibration, signal, onNote: (note) => {
            bar.end()
            say(`note: ${note}`)
          },
          onProgress: (done, total, layer) => bar.update(done, total, `layer ${layer}`),
        })
      } finally {
        await checkpoint.close()
      }
      bar.end()
      const { imatrix, samples, ctx, notes } = measured
      const sink = await fileSink(values.output)
      try {
        if (values.output.endsWith('.dat')) {
          const bytes = legacyImatrix(imatrix)
          await sink.write(bytes, 0)
          await sink.commit(bytes.length)
        } else {
          await writeImatrix(sink, imatrix)
        }
      } catch (error) {
        await sink.abort().catch(() => {})
        throw error
      }
      const seconds = (performance.now() - start) / 1000
      if (!values.json) print(`${values.output}: ${imatrix.entries.size} matrices, ${samples} samples of ${ctx} tokens, ${seconds.toFixed(1)} s\n`)
      return { output: values.output, entries: imatrix.entries.size, samples, n_ctx: ctx, seconds, memory_bytes: engine.heap.byteLength, threads: engine.threads, variant: engine.variant, notes }
    } finally {
      bar.end()
      engine.close()
    }
  },
}
