import { convert, CONVERT_TYPES } from '../quantize/convert.js'
import { JSON_OPTION, UsageError } from './options.js'
import { count, print, progressBar, say, size } from './common.js'

/** @type {import('./options.js').Command} */
export default {
  summary: 'makes a GGUF file of a Hugging Face folder',
  usage: 'IN OUT.gguf [options]',
  details: 'IN is a folder with config.json, safetensors and the tokenizer of a Llama, Mistral, Qwen2 or Qwen3 model, or a GGUF file, also one in parts.\n' +
    'Nothing is quantized: matrices keep their type or become another type of floats, vectors become F32. What the file cannot say is reported.',
  positionals: [2, 2],
  options: {
    ...JSON_OPTION,
    type: { type: 'string', value: 'T', default: 'keep', help: 'type of the matrices: keep, F32, F16 or BF16 (default keep)' },
  },

  async run({ values, args: [source, out] }, signal) {
    const type = CONVERT_TYPES.find((name) => name.toLowerCase() === values.type.toLowerCase())
    if (!type) throw new UsageError(`--type takes ${CONVERT_TYPES.join(', ')}, not '${values.type}'`)
    const bar = progressBar('converting')
    let report
    try {
      report = await convert(source, out, {
        type, signal, onProgress: ({ written, total, tensor }) => bar.update(written, total, `${size(written)} of ${size(total)}  ${tensor}`),
      })
    } finally {
      bar.end()
    }
    for (const note of report.notes) say(`note: ${note}`)
    if (!values.json) {
      const types = Object.entries(report.types).map(([name, n]) => `${n} ${name}`).join(', ')
      print(`${out}: ${report.name}, ${report.architecture}, ${count(report.parameters)} parameters, ${report.tensors} tensors (${types}), ${size(report.file_bytes)}\n`)
    }
    return { ...report, output: out }
  },
}
