// Runs a WASI command (a C test built for WebAssembly) in Node, with the whole file system readable: node wasm/wasi.mjs FILE.wasm [ARG …]
import { readFile } from 'node:fs/promises'
import { WASI } from 'node:wasi'

process.removeAllListeners('warning') // Node calls its WASI experimental on every start
const [file, ...args] = process.argv.slice(2)
const wasi = new WASI({ version: 'preview1', args: [file, ...args], env: process.env, preopens: { '/': '/' } })
const { wasi_snapshot_preview1 } = /** @type {any} */ (wasi.getImportObject())
// The exit ends the process there and then. Node 20's own way out, an exception through the module's frames, crashed after runs whose memory
// had grown often, and the library's (returnOnExit: false) raced with the compiler's threads.
wasi_snapshot_preview1.proc_exit = (/** @type {number} */ code) => process.exit(code)
const imports = { wasi_snapshot_preview1, env: { emscripten_notify_memory_growth() {} } }
const { instance } = await WebAssembly.instantiate(await readFile(file), imports)
wasi.start(instance)
