import { basename } from 'node:path'
import { NibbleError } from '../errors.js'
import { isLoopback } from '../serve/request.js'
import { serveModel } from '../serve/server.js'
import { EMBEDDED, loadModel, say } from './common.js'
import { MODEL_OPTIONS, UsageError } from './options.js'

/** What clients call a model: its file's name. @param {string} source */
const idOf = (source) => decodeURIComponent(basename(source.replace(/[?#].*$/, ''))).replace(/(-00001-of-\d{5})?\.gguf$/i, '')

/** @param {NodeJS.ErrnoException} error @param {string} host @param {number} port */
const cannotListen = (error, host, port) => new NibbleError('E_ARGUMENT', error.code === 'EADDRINUSE' ? `port ${port} is taken; choose another one, or --port 0 for any that is free`
  : `${host}:${port} cannot be listened on: ${error.message}`, { cause: error })

/** @type {import('./options.js').Command} */
export default {
  summary: "serves a model over HTTP on this machine, in OpenAI's shape",
  usage: '[MODEL] [options]',
  details: 'POST /v1/chat/completions, /v1/completions and /v1/embeddings, GET /v1/models and /health. Requests are answered one after the other. Ctrl-C ends it.\n' +
    'With --json, {"url", "model", …} is printed when the server is ready.',
  positionals: [0, 1],
  options: {
    ...MODEL_OPTIONS,
    port: { type: 'integer', value: 'N', help: '0: any that is free (default 8080)', default: 8080 },
    host: { type: 'string', value: 'ADDRESS', help: 'listen on this address instead of this machine alone', default: '127.0.0.1' },
    alias: { type: 'string', value: 'NAME', help: "what clients call the model (default: its file's name)" },
    'api-key': { type: 'string', value: 'KEY', help: 'clients must send this key (better in the environment: NIBBLE_API_KEY)' },
    cors: { type: 'string', value: 'ORIGIN', multiple: true, help: "let pages of this origin use the server; '*': of any" },
    queue: { type: 'integer', value: 'N', help: 'requests that may wait; more are told to come again (default 32)', default: 32 },
  },

  async run({ values, args: [source = EMBEDDED] }, signal) {
    const { host, port, queue, cors: origins = [] } = values
    if (port < 0 || port > 65535) throw new UsageError('--port takes a number from 0 to 65535')
    if (queue < 0) throw new UsageError('--queue takes a number from 0')
    for (const origin of origins) {
      if (origin !== '*' && !(URL.canParse(origin) && new URL(origin).origin === origin) && !/^[a-z-]+:\/\/[^/]+$/.test(origin)) throw new UsageError(`--cors takes an origin such as http://localhost:3000, not '${origin}'`)
    }
    const apiKey = values['api-key'] ?? (process.env.NIBBLE_API_KEY || undefined)
    const id = values.alias ?? idOf(source)
    const model = await loadModel(source, values, signal)
    let server
    try {
      server = await serveModel(model, { id, host, port, apiKey, origins, queue, onFault: (error) => say(`nibble serve: ${/** @type {Error} */ (error)?.stack ?? error}`) })
    } catch (error) {
      await model.dispose()
      throw cannotListen(/** @type {NodeJS.ErrnoException} */ (error), host, port)
    }
    const { url, close } = server
    const end = async () => {
      process.off('SIGTERM', end)
      await close()
      await model.dispose()
    }
    process.once('SIGTERM', end)
    if (signal.aborted) void end()
    else signal.addEventListener('abort', end, { once: true })
    if (!isLoopback(host)) say(`nibble serve: ${host} can be reached from other machines${apiKey === undefined ? '; anybody there may use the model: set --api-key' : ''}, and nothing is encrypted`)
    say(`${id} at ${url}/v1; Ctrl-C ends it`)
    return { url, port: server.port, model: id, n_ctx: model.contextLength, variant: model.info.variant, threads: model.info.threads }
  },
}
