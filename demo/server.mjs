/**
 * The web server of `npm start` and of the browser tests: the built page in dist/web, a model file beside it, and the headers that keep the
 * page private. It lists every file it may give at its start and knows no others.
 */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import http from 'node:http'
import { basename, dirname, extname, join } from 'node:path'
import { pipeline } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { TYPES, headersFor } from './headers.js'

export { headersFor }

/**
 * Where a model file is served, and the parts that belong to it.
 * @param {string} file
 * @returns {Map<string, string>} path of the URL -> path of the file; the first is the one to open
 */
export function modelPaths(file) {
  const split = /-(\d{5})-of-(\d{5})\.gguf$/i.exec(file)
  if (!split) return new Map([['/model.gguf', file]])
  const end = `-of-${split[2]}.gguf`
  const stem = basename(file).slice(0, -split[0].length)
  const number = (/** @type {number} */ i) => String(i + 1).padStart(5, '0')
  return new Map(Array.from({ length: Number(split[2]) }, (_, i) => [`/model-${number(i)}${end}`, join(dirname(file), `${stem}-${number(i)}${end}`)]))
}

/**
 * The one range of bytes that a request asks for; null for the whole, undefined for one outside of the file.
 * @param {string | undefined} header @param {number} size
 * @returns {{start: number, end: number} | null | undefined}
 */
function parseRange(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '')
  if (!match || (match[1] === '' && match[2] === '')) return null // none, several, or another unit: the whole file is a right answer
  const start = match[1] === '' ? Math.max(0, size - Number(match[2])) : Number(match[1])
  const end = match[1] === '' || match[2] === '' ? size - 1 : Math.min(Number(match[2]), size - 1)
  return start <= end && start < size ? { start, end } : undefined
}

/**
 * Whether the browser has this already; then that is the answer. @param {http.IncomingMessage} request @param {http.ServerResponse} response @param {string} etag
 */
function unchanged(request, response, etag) {
  response.setHeader('etag', etag)
  const held = (request.headers['if-none-match'] ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, ''))
  if (!held.includes(etag) && held[0] !== '*') return false
  response.writeHead(304).end()
  return true
}

/**
 * Sends a file, or a part of it. @param {http.IncomingMessage} request @param {http.ServerResponse} response @param {string} file
 */
function sendFile(request, response, file) {
  let info
  try {
    info = statSync(file)
  } catch {
    response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' }).end('The file is gone.\n')
    return
  }
  const { size, mtimeMs } = info
  const etag = `"${size.toString(36)}-${Math.floor(mtimeMs).toString(36)}"`
  response.setHeader('content-type', TYPES[extname(file)] ?? 'application/octet-stream')
  response.setHeader('accept-ranges', 'bytes')
  if (extname(file) === '.gguf') response.setHeader('cache-control', 'no-store') // gigabytes do not belong into the browser's cache
  if (unchanged(request, response, etag)) return
  const ifRange = request.headers['if-range']
  const range = ifRange && ifRange !== etag ? null : parseRange(request.headers.range, size)
  if (range === undefined) {
    response.writeHead(416, { 'content-range': `bytes */${size}` }).end()
    return
  }
  const { start, end } = range ?? { start: 0, end: size - 1 }
  response.setHeader('content-length', end - start + 1)
  if (range) response.setHeader('content-range', `bytes ${start}-${end}/${size}`)
  response.writeHead(range ? 206 : 200)
  if (request.method === 'HEAD' || size === 0) response.end()
  else pipeline(createReadStream(file, { start, end }), response, () => {}) // a client that goes away ends it
}

/** @typedef {(request: http.IncomingMessage, response: http.ServerResponse) => void} Handler */

/**
 * @param {object} [options]
 * @param {string} [options.host]
 * @param {number} [options.port]  0: any; where it is taken, one of the next free ones
 * @param {string | null} [options.model]  a file for the page to open by itself, rather than the embedded model; null: the page asks for one
 * @param {Record<string, Handler>} [options.routes]  more paths, for tests
 * @param {string} [options.folder]  the built page
 * @returns {Promise<{url: string, port: number, close: () => Promise<void>}>}
 */
export async function serve({ host = '127.0.0.1', port = 0, model, routes = {}, folder = fileURLToPath(new URL('../dist/web', import.meta.url)) } = {}) {
  if (!existsSync(join(folder, 'index.html'))) throw new Error(`${folder} holds no page; run \`npm run build\` first`)
  const files = new Map(readdirSync(folder).map((name) => [`/${name}`, join(folder, name)]))
  const models = model ? modelPaths(model) : new Map()
  for (const [path, file] of models) files.set(path, file)
  const [opened] = models.keys()
  const local = /^(127\.0\.0\.1|localhost|::1)$/.test(host)

  const server = http.createServer((request, response) => {
    const path = (request.url ?? '/').replace(/[?#].*$/, '')
    for (const [name, value] of Object.entries(headersFor(path))) response.setHeader(name, value)
    const refuse = (/** @type {number} */ status, /** @type {string} */ text) => response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`)
    // A name that is not this machine's means that some page has pointed its own name here, to read what is served.
    if (local && !/^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/.test(request.headers.host ?? '')) return refuse(421, 'This server answers to the names of this machine only.')
    if (Object.hasOwn(routes, path)) return routes[path](request, response)
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.setHeader('allow', 'GET, HEAD')
      return refuse(405, 'Only GET and HEAD.')
    }
    if (path === '/' || path === '/index.html') {
      let page
      try {
        page = readFileSync(join(folder, 'index.html'), 'utf8')
      } catch {
        return refuse(404, 'The page is gone; it comes back with the end of a build.')
      }
      if (model !== undefined) page = page.replace(/<meta name="nibble-model" content="[^"]*">/, `<meta name="nibble-model" content="${opened?.slice(1) ?? ''}" data-kept="no">`)
      if (unchanged(request, response, `"${createHash('sha256').update(page).digest('base64url')}"`)) return
      response.writeHead(200, { 'content-type': TYPES['.html'], 'content-length': Buffer.byteLength(page) })
      return response.end(request.method === 'HEAD' ? undefined : page)
    }
    const file = files.get(path)
    if (!file) return refuse(404, 'There is no such file.')
    return sendFile(request, response, file)
  })

  for (let at = port; ; at++) {
    try {
      await new Promise((resolve, reject) => server.once('error', reject).listen(at, host, () => resolve(server.off('error', reject))))
      break
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EADDRINUSE' || at === 0 || at >= Math.min(port + 50, 65535)) throw error
    }
  }
  const { port: actual } = /** @type {import('node:net').AddressInfo} */ (server.address())
  return {
    port: actual,
    url: `http://${host.includes(':') ? `[${host}]` : host}:${actual}/`,
    close: () => new Promise((resolve) => {
      server.closeAllConnections()
      server.close(() => resolve())
    }),
  }
}
