/**
 * `nibble serve`: OpenAI's interface over HTTP, for programs on this machine. One model answers one request at a time; the others wait in line.
 */
import http from 'node:http'
import { CALLS } from './api.js'
import { asHttpError, errorBody, HttpError } from './errors.js'
import { checkHost, checkKey, readBody } from './request.js'

/** Milliseconds that a client may take for its headers and for its whole request, and that a request lingers behind a refusal. */
const HEADERS = 10_000, REQUEST = 60_000, LINGER = 500
const MOST_CONNECTIONS = 512

/**
 * @typedef {object} ServerOptions
 * @property {string} [id]  what clients call the model
 * @property {string} [host]  @property {number} [port]  0: any that is free
 * @property {string} [apiKey]  that clients must send
 * @property {string[]} [origins]  whose pages may ask, or '*'
 * @property {number} [queue]  requests that may wait while one is answered
 * @property {number} [patience]  milliseconds that a client may take to read on
 * @property {(error: unknown) => void} [onFault]  told of errors that are nobody's but the server's
 */

/** @param {http.ServerResponse} response @param {number} status @param {object} body @param {Record<string, string>} [headers] */
function sendJson(response, status, body, headers = {}) {
  const text = JSON.stringify(body)
  response.writeHead(status, { ...headers, 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(text) })
  response.end(response.req.method === 'HEAD' ? undefined : text)
}

/** @param {import('node:http').IncomingMessage} request @param {http.ServerResponse} response @param {HttpError} error */
function refuse(request, response, error) {
  if (response.destroyed || response.writableEnded) return
  if (!request.complete) { // its rest is thrown away for a while, so that the client comes to read the answer
    request.resume()
    response.once('finish', () => void setTimeout(() => request.complete || request.socket.destroy(), LINGER).unref())
  }
  sendJson(response, error.status, errorBody(error), error.headers)
}

/**
 * The chunks of a stream as server-sent events. A client that stops reading loses its connection: others wait for the model.
 * @param {http.ServerResponse} response @param {AsyncGenerator<any, void, void>} chunks @param {import('./api.js').Body} body @param {string} id @param {number} patience
 */
async function sendStream(response, chunks, body, id, patience) {
  const withUsage = body.stream_options?.include_usage === true
  const write = async (/** @type {string} */ data) => {
    if (response.write(`data: ${data}\n\n`) || response.destroyed) return
    await new Promise((resolve) => {
      const timer = setTimeout(() => response.destroy(), patience)
      const go = () => {
        clearTimeout(timer)
        response.off('drain', go).off('close', go)
        resolve(undefined)
      }
      response.on('drain', go).on('close', go)
    })
  }
  let begun = false
  try {
    for await (const { usage, ...chunk } of chunks) {
      if (!begun) response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' })
      begun = true
      // OpenAI's last chunk has the usage and no choices, and all have the field where it was asked for.
      await write(JSON.stringify({ ...chunk, model: id, ...(withUsage && { usage: chunk.choices.length > 0 ? null : usage }) }))
      if (response.destroyed) return
    }
    response.end('data: [DONE]\n\n')
  } catch (error) {
    if (!begun) throw error
    response.end(`data: ${JSON.stringify(errorBody(asHttpError(error, body)))}\n\n`)
  }
}

/**
 * Serves a model until close(). The model stays the caller's.
 * @param {import('../model.js').Model} model
 * @param {ServerOptions} [options]
 * @returns {Promise<{url: string, port: number, close: () => Promise<void>}>}
 */
export async function serveModel(model, { id = model.info.name, host = '127.0.0.1', port = 0, apiKey, origins = [], queue = 32, patience = 30_000, onFault = () => {} } = {}) {
  const described = {
    id, object: 'model', created: Math.floor(Date.now() / 1000), owned_by: 'nibble',
    context_length: model.contextLength, architecture: model.info.architecture, parameters: model.info.parameters,
  }
  /** Requests that the model works for or that wait for it. @type {Set<AbortController>} */
  const asked = new Set()
  let closing = false

  const findModel = (/** @type {unknown} */ name) => {
    if (name !== id) throw new HttpError(404, `there is no model '${name}' here; this server has '${id}'`, { param: 'model', code: 'model_not_found' })
    return described
  }
  /** @type {Record<string, () => object>} */
  const documents = {
    '/health': () => {
      if (model.engine.dead) throw new HttpError(503, 'the engine has stopped; start the server again')
      return { status: 'ok' }
    },
    '/v1/models': () => ({ object: 'list', data: [described] }),
  }

  /** @param {http.IncomingMessage} request @param {http.ServerResponse} response @param {import('./api.js').Call} call @param {import('./api.js').Body} body */
  async function answer(request, response, call, body) {
    if (body.model !== undefined && body.model !== null) findModel(body.model)
    if (closing) throw new HttpError(503, 'the server is shutting down')
    if (asked.size > queue) throw new HttpError(429, `${asked.size} requests are under way or wait; try again later`, { code: 'queue_full', headers: { 'retry-after': '1' } })
    const controller = new AbortController()
    const gone = () => controller.abort()
    asked.add(controller)
    response.once('close', gone) // also when all was sent: there is nothing left to abort then
    try {
      const result = await call(model, body, controller.signal)
      if (Symbol.asyncIterator in result) await sendStream(response, /** @type {any} */ (result), body, id, patience)
      else sendJson(response, 200, { ...result, model: id })
    } finally {
      asked.delete(controller)
    }
  }

  /** @param {http.IncomingMessage} request @param {http.ServerResponse} response */
  async function handle(request, response) {
    /** @type {import('./api.js').Body} */
    let body = {}
    try {
      response.setHeader('x-content-type-options', 'nosniff')
      response.setHeader('cache-control', 'no-store')
      const { method, headers } = request
      const path = (request.url ?? '/').replace(/[?#].*$/, '')
      if (apiKey === undefined) checkHost(headers.host, host) // a page does not know the key
      if (headers.origin !== undefined) {
        response.setHeader('vary', 'origin')
        if (!origins.includes('*') && !origins.includes(headers.origin)) {
          throw new HttpError(403, `pages of ${headers.origin} may not use this server; start it with --cors ${headers.origin}`, { code: 'origin_not_allowed' })
        }
        response.setHeader('access-control-allow-origin', headers.origin)
      }
      const call = Object.hasOwn(CALLS, path) ? CALLS[path] : undefined
      const named = /^\/v1\/models\/(.+)$/.exec(path)?.[1]
      const document = Object.hasOwn(documents, path) ? documents[path] : named === undefined ? undefined : () => findModel(decode(named))
      if (!call && !document) throw new HttpError(404, `there is no ${method} ${path} here`, { code: 'unknown_url' })
      const methods = call ? ['POST'] : ['GET', 'HEAD']
      if (method === 'OPTIONS' && headers.origin !== undefined) {
        const wanted = headers['access-control-request-headers']
        response.writeHead(204, { 'access-control-allow-methods': methods.join(', '), ...(wanted && { 'access-control-allow-headers': wanted }), 'access-control-max-age': '600' }).end()
        return
      }
      if (apiKey !== undefined && path !== '/health') checkKey(headers.authorization, apiKey)
      if (!methods.includes(method ?? '')) throw new HttpError(405, `${path} takes ${methods.join(' and ')}, not ${method}`, { code: 'method_not_allowed', headers: { allow: methods.join(', ') } })
      if (document) return sendJson(response, 200, document())
      body = await readBody(request)
      await answer(request, response, /** @type {import('./api.js').Call} */ (call), body)
    } catch (error) {
      const told = asHttpError(error, body)
      if (told.status === 500) onFault(error)
      refuse(request, response, told)
    }
  }

  const server = http.createServer({ headersTimeout: HEADERS, requestTimeout: REQUEST, connectionsCheckingInterval: 2000, maxHeaderSize: 16 << 10 }, (request, response) => void handle(request, response))
  server.maxConnections = MOST_CONNECTIONS
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, host, () => resolve(server.off('error', reject))))
  const { port: actual } = /** @type {import('node:net').AddressInfo} */ (server.address())
  return {
    port: actual,
    url: `http://${host.includes(':') ? `[${host}]` : host}:${actual}`,
    async close() {
      closing = true
      const closed = new Promise((resolve) => server.close(resolve))
      for (const controller of asked) controller.abort() // each is told so
      server.closeIdleConnections()
      const timer = setTimeout(() => server.closeAllConnections(), LINGER)
      await closed
      clearTimeout(timer)
    },
  }
}

/** @param {string} text  of a path */
function decode(text) {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
