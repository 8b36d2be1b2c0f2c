// node build.js [model.gguf]: puts the extension together in the folder `out`. Its parts are its own: a store takes no code from elsewhere.
import { cpSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = import.meta.dirname, out = join(here, 'out')
const file = (/** @type {string} */ name) => fileURLToPath(import.meta.resolve(`nibble-llm/${name}`))
const dist = dirname(dirname(file('dist/web/element.js')))

rmSync(out, { recursive: true, force: true })
mkdirSync(join(out, 'nibble/web'), { recursive: true })
for (const name of ['manifest.json', 'background.js', 'panel.html', 'panel.css']) cpSync(join(here, name), join(out, name))
for (const name of readdirSync(dist).filter((name) => /^nibble-(simd128|relaxed)(-threads)?\.wasm$/.test(name))) cpSync(join(dist, name), join(out, 'nibble', name))
// Without the quantizer, the engine for the page's own thread, and the demonstration page.
for (const name of readdirSync(join(dist, 'web')).filter((name) => /\.js$/.test(name) && !/^(quantize.*|index|main|sw)\.js$/.test(name))) cpSync(join(dist, 'web', name), join(out, 'nibble/web', name))
cpSync(process.argv[2] ?? file('demo/model/Llama-Nibble-Stories-5M-Q4_0.gguf'), join(out, 'model.gguf'))
console.log(`built; load ${out} as an unpacked extension (chrome://extensions, developer mode)`)
