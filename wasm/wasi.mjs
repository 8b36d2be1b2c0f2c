// Runs a WASI command (a C test built for WebAssembly) in Node, with the whole file system readable: node wasm/wasi.mjs FILE.wasm [ARG …]
import { readFile } from 'node:fs/promises'
import { WASI } from 'node:wasi'

process.removeAllListeners('warning') // Node calls its WASI experimental on every start
const [file, ...args] = process.argv.slice(2)
// The exit ends the process there and then: the exception that returns from it otherwise crashes Node 20 in long runs whose memory grew.
const wasi = new WASI({ version: 'preview1', args: [file, ...args], env: process.env, preopens: { '/': '/' }, returnOnExit: false })
const imports = { ...wasi.getImportObject(), env: { emscripten_notify_memory_growth() {} } }
const { instance } = await WebAssembly.instantiate(await readFile(file), imports)
process.exitCode = wasi.start(instance)
