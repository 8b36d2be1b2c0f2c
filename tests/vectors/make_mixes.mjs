/**
 * Writes mixes.json: the types that llama.cpp's own quantizer gives the tensors of small models, for every mix that it and Nibble have in common. Needs the
 * folder ../shared (tools/native_quantize.py) and node-llama-cpp in a folder beside it: node tests/vectors/make_mixes.mjs [PEERS]
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openCheckpoint } from '../../js/quantize/checkpoint.js'
import { valueOf } from '../../js/quantize/pairs.js'
import { shared } from '../js/shared.js'
import { tinyModel } from '../js/tiny-model.js'

const small = { type: 'F16', d_ff: 256, head_dim: 64, n_vocab: 384, n_ctx: 64, chatTemplate: '' }
/** Layers that 8 and 16 divide and that they do not; heads that share keys and values by fours, by twos and not at all; rows that K-quants do not divide. */
export const SHAPES = {
  shared4: { ...small, arch: 'llama', n_layers: 17, d_model: 256, n_heads: 4, n_kv_heads: 1 },
  tied: { ...small, arch: 'qwen2', n_layers: 16, d_model: 256, n_heads: 4, n_kv_heads: 2, tied: true },
  odd: { ...small, arch: 'llama', n_layers: 8, d_model: 288, n_heads: 4, n_kv_heads: 4, head_dim: 72 },
}
const MIXES = ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'Q2_K', 'Q3_K_M', 'Q4_K_S', 'Q4_K_M', 'Q5_K_M', 'Q6_K', 'IQ4_NL', 'IQ4_XS', 'F16']

if (import.meta.filename === process.argv[1]) {
  const folder = mkdtempSync(join(tmpdir(), 'mixes-')), peers = process.argv[2] ?? shared('../peers')
  /** @type {Record<string, Record<string, {file_type: unknown, types: Record<string, string[]>}>>} */
  const result = {}
  for (const [name, shape] of Object.entries(SHAPES)) {
    const input = join(folder, 'in.gguf'), output = join(folder, 'out.gguf')
    writeFileSync(input, /** @type {Uint8Array} */ (tinyModel(/** @type {any} */ (shape))))
    result[name] = {}
    for (const mix of MIXES) {
      execFileSync('/usr/bin/python3', [shared('tools/native_quantize.py'), input, output, mix, '--peers', peers], { stdio: 'ignore' })
      const checkpoint = await openCheckpoint(output)
      /** @type {Record<string, string[]>} */
      const types = {}
      for (const t of checkpoint.tensors) if (t.type !== 'F32') (types[t.type] ??= []).push(t.name.replace('.weight', ''))
      // The type of most tensors goes without their names.
      const most = Object.keys(types).sort((a, b) => types[b].length - types[a].length)[0]
      types[most] = []
      result[name][mix] = { file_type: valueOf(/** @type {any} */ (checkpoint.pairs.find((p) => p.key === 'general.file_type'))), types }
      await checkpoint.close()
    }
  }
  rmSync(folder, { recursive: true })
  writeFileSync(new URL('./mixes.json', import.meta.url), `${JSON.stringify(result).replaceAll('}},"', '}},\n"')}\n`)
}
