import { estimate } from '../load.js'
import { CACHE_OPTION, MODEL_OPTIONS } from './options.js'
import { EMBEDDED, count, print, size } from './common.js'

/** @param {unknown} value */
function short(value) {
  const text = typeof value === 'string' ? JSON.stringify(value) : Array.isArray(value) ? `[${value.join(', ')}]` : String(value)
  return text.length > 100 ? `${text.slice(0, 97)}…` : text
}

/** @type {import('./options.js').Command} */
export default {
  summary: 'shows what a file holds and what running it would need; reads the header only',
  usage: '[MODEL] [options]',
  positionals: [0, 1],
  options: { json: MODEL_OPTIONS.json, ctx: MODEL_OPTIONS.ctx, ...CACHE_OPTION },

  async run({ values, args: [source = EMBEDDED] }, signal) {
    const info = await estimate(source, { signal, contextLength: values.ctx ?? 0, cache: !values['no-cache'] })
    // JSON has no numbers beyond 2^53: such metadata is written as text.
    const metadata = Object.fromEntries(Object.entries(info.metadata).map(([key, v]) => [key, typeof v === 'bigint' ? String(v) : Array.isArray(v) ? v.map((x) => (typeof x === 'bigint' ? String(x) : x)) : v]))
    const { architecture, supported, name, parameters, bpw, n_ctx, config, tensors, memory_estimate, file_bytes } = info
    if (!values.json) {
      const types = new Map()
      for (const { type, bytes } of tensors) types.set(type, [(types.get(type)?.[0] ?? 0) + 1, (types.get(type)?.[1] ?? 0) + bytes])
      const m = memory_estimate
      print([
        `${name}: ${architecture}${supported ? '' : ' (not run by this version)'}, ${count(parameters)} parameters, ${bpw.toFixed(2)} bits per weight, ${size(file_bytes)}`,
        `trained on ${n_ctx} tokens of context; ${Object.entries(config).filter(([key]) => key.startsWith('n_') || key.startsWith('d_') || key === 'head_dim').map(([key, v]) => `${key} ${v}`).join(', ')}`,
        supported ? `memory at ${m.n_ctx} tokens: ${size(m.total)} (weights ${size(m.weights)}, context and buffers ${size(m.session)})${m.fits ? '' : ': more than WebAssembly can address'}` : '',
        '', 'metadata', ...Object.entries(metadata).map(([key, value]) => `  ${key} = ${short(value)}`),
        '', `tensors: ${tensors.length} (${[...types].map(([type, [n, bytes]]) => `${n} ${type} ${size(bytes)}`).join(', ')})`,
        ...tensors.map((t) => `  ${t.name.padEnd(32)} ${t.type.padEnd(7)} ${t.shape.join(' x ').padEnd(16)} ${size(t.bytes)}`), ''].filter((line, i, all) => line !== '' || all[i - 1] !== '').join('\n'))
    }
    return { architecture, supported, name, parameters, bpw, n_ctx, file_bytes, config, tensors, metadata, memory_estimate }
  },
}
