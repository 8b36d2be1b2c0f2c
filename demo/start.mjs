/**
 * `npm start`: sets up and builds what is missing, then serves the page.
 *
 *     npm start -- [MODEL.gguf | --choose] [--port N] [--host H]
 *
 * The page opens the embedded model, or the file that is named, or with --choose asks for one. The last line is the page's address.
 */
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from '../wasm/build.mjs'
import { runMain, say, SetupError } from '../wasm/shell.mjs'
import { modelPaths, serve } from './server.mjs'

const USAGE = 'npm start -- [MODEL.gguf | --choose] [--port N] [--host H]'

function readArguments() {
  try {
    const { values, positionals } = parseArgs({ allowPositionals: true, options: { port: { type: 'string' }, host: { type: 'string' }, choose: { type: 'boolean' }, help: { type: 'boolean' } } })
    if (positionals.length > 1) throw new Error(`one model file at most, not ${positionals.length}`)
    if (positionals.length && values.choose) throw new Error('a model file or --choose, not both')
    const port = Number(values.port ?? 8080)
    if (!Number.isInteger(port) || port < 0 || port > 65535) throw new Error(`--port must be a number up to 65535, not ${values.port}`)
    return { port, host: values.host ?? '127.0.0.1', help: values.help, model: values.choose ? null : positionals[0] && resolve(process.env.INIT_CWD ?? '.', positionals[0]) }
  } catch (error) {
    const [sentence] = /** @type {Error} */ (error).message.split('. ') // Node's own go on for long
    throw new SetupError(`${sentence} (usage: ${USAGE})`)
  }
}

/** Refuses what cannot be a model before anything is built. @param {string} file @returns {number} its size */
function checkModel(file) {
  let size = 0
  let magic = ''
  try {
    const info = statSync(file)
    if (!info.isFile()) throw new SetupError(`${file} is a folder; name a .gguf file`)
    size = info.size
    const handle = openSync(file, 'r')
    const buffer = Buffer.alloc(4)
    readSync(handle, buffer)
    closeSync(handle)
    magic = buffer.toString('latin1')
  } catch (error) {
    if (error instanceof SetupError) throw error
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (error)
    throw new SetupError(code === 'ENOENT' ? `there is no file ${file}` : `${file} cannot be read: ${message}`)
  }
  if (magic !== 'GGUF') throw new SetupError(`${file} is not a GGUF file`)
  return size
}

await runMain(async () => {
  const { port, host, model, help } = readArguments()
  if (help) return console.log(`usage: ${USAGE}`)
  const files = model ? [...modelPaths(model).values()] : []
  const bytes = files.reduce((sum, file) => sum + checkModel(file), 0)
  await build()
  let server
  try {
    server = await serve({ port, host, model })
  } catch (error) {
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (error)
    throw new SetupError(code === 'EADDRINUSE' ? `port ${port} of ${host} and the ones after it are taken; choose another with --port`
      : code === 'EACCES' ? `port ${port} may not be used without root; choose one from 1024 on with --port`
      : code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' ? `${host} is no address of this machine`
      : `the server cannot start: ${message}`)
  }
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => void server.close().then(() => process.exit(0)))
  if (port && server.port !== port) say(`port ${port} is taken: using ${server.port}`)
  if (model) say(`serving ${basename(model)} (${(bytes / 1e6).toFixed(1)} MB), which the page opens by itself`)
  else if (model === undefined) say('the page opens the embedded model; for another one: npm start -- path/to/model.gguf')
  say('press Ctrl+C to stop; the page is at')
  console.log(server.url)
})
