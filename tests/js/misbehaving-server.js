/**
 * A server that does wrong what servers do wrong. /NAME/file.gguf is served as the behaviour of that name says, until heal(): from then on, well.
 */
import { gzipSync } from 'node:zlib'

/**
 * @typedef {import('node:http').IncomingMessage} Request  @typedef {import('node:http').ServerResponse} Response
 * @typedef {{start: number, end: number}} Range  end is exclusive
 * @typedef {object} Case  a request to a file: how many there were before, and what it asks for
 * @property {Request} request  @property {Response} response  @property {number} n  @property {Range | null} range  @property {Uint8Array} bytes
 *
 * @typedef {object} Behaviour
 * @property {(it: Case) => void} serve
 * @property {string[]} gives  what may come of a load: 'right', or codes of errors; 'other': the file that the server has by then, whole
 * @property {string[]} [resumed]  the same, where a part was here before
 * @property {boolean} [integrity]  the load says which hash it wants
 */

export const ETAG = '"the-file"'
const MODIFIED = 'Thu, 01 Jan 2026 00:00:00 GMT'
const STRONG = { etag: ETAG, 'last-modified': MODIFIED }

/** @param {Request} request @param {number} size @returns {Range | null} */
function rangeOf(request, size) {
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  return match && { start: Number(match[1]), end: Math.min(match[2] ? Number(match[2]) + 1 : size, size) }
}

/** @param {Range} range @param {number | string} size */
const contentRange = ({ start, end }, size) => `bytes ${start}-${end - 1}/${size}`

/** As it should be. @param {Case} it @param {Record<string, string>} [validators] */
function good({ response, request, range, bytes }, validators = STRONG) {
  const ifRange = request.headers['if-range']
  if (!range || (ifRange && ifRange !== validators.etag)) return response.writeHead(200, { ...validators, 'accept-ranges': 'bytes', 'content-length': bytes.length }).end(bytes)
  if (range.start >= bytes.length) return response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end()
  response.writeHead(206, { ...validators, 'content-range': contentRange(range, bytes.length), 'content-length': range.end - range.start }).end(bytes.subarray(range.start, range.end))
}

/** Without ranges. @param {Case} it @param {Record<string, string>} [validators] */
const whole = (it, validators) => good({ ...it, range: null, request: /** @type {any} */ ({ headers: {} }) }, validators)

/** The headers of a right answer and a part of its body. @param {Case} it @param {number} share @param {(response: Response) => void} then @param {boolean} [chunked] */
function part({ response, range, bytes }, share, then, chunked = false) {
  const { start, end } = range ?? { start: 0, end: bytes.length }
  response.writeHead(range ? 206 : 200, { ...STRONG, ...(range && { 'content-range': contentRange(range, bytes.length) }), ...(!chunked && { 'content-length': end - start }) })
  response.write(bytes.subarray(start, start + Math.floor((end - start) * share)), () => setTimeout(() => then(response), 5))
}

/** @param {Response} response */
const cut = (response) => response.destroy()

/** @param {Uint8Array} bytes */
export function flipped(bytes) {
  const other = bytes.slice()
  for (let i = 70_000; i < other.length; i += 100_000) other[i] ^= 4
  return other
}

/** @param {Uint8Array} bytes */
const zeroed = (bytes) => bytes.slice().fill(0, bytes.length >> 1)

/** @type {Record<string, Behaviour>} */
export const BEHAVIOURS = {
  'nothing wrong': { serve: good, gives: ['right'] },
  'only a date': { serve: (it) => good(it, { 'last-modified': MODIFIED }), gives: ['right'] },
  'a weak ETag alone': { serve: (it) => good(it, { etag: 'W/"weak"' }), gives: ['right'] },
  'no ETag and no date': { serve: (it) => good(it, {}), gives: ['right'] },
  'bodies cut, each': { serve: (it) => part(it, 0.4, cut), gives: ['E_NETWORK', 'right'] },
  'bodies cut, the first three': { serve: (it) => (it.n < 3 ? part(it, 0.4, cut) : good(it)), gives: ['right'] },
  'chunked bodies cut': { serve: (it) => part(it, 0.4, cut, true), gives: ['E_NETWORK', 'right'] },
  'chunked bodies that end early': { serve: (it) => (it.n < 3 ? part(it, 0.4, (response) => response.end(), true) : good(it)), gives: ['right'] },
  'the whole, cut each time': { serve: (it) => part({ ...it, range: null }, 0.6, cut), gives: ['E_NETWORK'] },
  'the whole, cut once': { serve: (it) => (it.n < 1 ? part({ ...it, range: null }, 0.6, cut) : whole(it)), gives: ['right'] },
  'the whole of unknown length ends early': { serve: (it) => part({ ...it, range: null }, 0.6, (response) => response.end(), true), gives: ['E_TRUNCATED'], resumed: ['E_NETWORK'] },
  'ranges ignored': { serve: (it) => whole(it), gives: ['right'] },
  'ranges ignored, and neither ETag nor date': { serve: (it) => whole(it, {}), gives: ['right'] },
  'another range than asked for': {
    serve: (it) => (it.range ? good({ ...it, range: { start: it.range.start + 1, end: it.range.end } }) : good(it)), gives: ['right'],
  },
  'a range that nobody asked for': { serve: (it) => good({ ...it, range: { start: 17, end: 1000 } }), gives: ['E_NETWORK'] },
  'status 206 without a range': {
    serve: (it) => (it.range ? it.response.writeHead(206, { ...STRONG, 'content-length': it.range.end - it.range.start }).end(it.bytes.subarray(it.range.start, it.range.end)) : good(it)), gives: ['right'],
  },
  'status 200 with a range': {
    serve: (it) => (it.range
      ? it.response.writeHead(200, { ...STRONG, 'content-range': contentRange(it.range, it.bytes.length), 'content-length': it.range.end - it.range.start }).end(it.bytes.subarray(it.range.start, it.range.end))
      : good(it)), gives: ['right'],
  },
  'a total that changes': {
    serve: (it) => (it.range
      ? it.response.writeHead(206, { ...STRONG, 'content-range': contentRange(it.range, it.bytes.length + it.n), 'content-length': it.range.end - it.range.start }).end(it.bytes.subarray(it.range.start, it.range.end))
      : good(it)), gives: ['E_CHANGED'], resumed: ['E_CHANGED'],
  },
  'a total that is not told': {
    serve: (it) => (it.range
      ? it.response.writeHead(206, { ...STRONG, 'content-range': contentRange(it.range, '*'), 'content-length': it.range.end - it.range.start }).end(it.bytes.subarray(it.range.start, it.range.end))
      : good(it)), gives: ['right'],
  },
  'shorter ranges than asked for': { serve: (it) => good({ ...it, range: it.range && { start: it.range.start, end: Math.min(it.range.end, it.range.start + 20_000) } }), gives: ['right'] },
  'longer ranges than asked for': { serve: (it) => good({ ...it, range: it.range && { start: it.range.start, end: it.bytes.length } }), gives: ['right'] },
  'several parts in one body': {
    serve: (it) => (it.range
      ? it.response.writeHead(206, { ...STRONG, 'content-type': 'multipart/byteranges; boundary=x' }).end(`--x\r\nContent-Range: ${contentRange(it.range, it.bytes.length)}\r\n\r\nabc\r\n--x--\r\n`)
      : good(it)), gives: ['right'],
  },
  'an ETag of its own for each answer': { serve: (it) => good(it, { etag: `"v${it.n}"` }), gives: ['E_CHANGED'] },
  'another file after three answers': { serve: (it) => (it.n < 3 ? good(it) : good({ ...it, bytes: flipped(it.bytes) }, { etag: '"v2"' })), gives: ['E_CHANGED'] },
  'another file after a cut, without ETag or date': {
    serve: (it) => (it.n < 1 ? part({ ...it, range: null }, 0.6, cut) : it.response.writeHead(200, { 'content-length': it.bytes.length }).end(flipped(it.bytes))), gives: ['E_CHANGED', 'other'],
  },
  'a shorter file after three answers': { serve: (it) => (it.n < 3 ? good(it) : good({ ...it, bytes: it.bytes.subarray(0, 200_000) })), gives: ['E_CHANGED'] },
  'gzip': {
    serve: ({ response, bytes }) => {
      const body = gzipSync(bytes, { level: 1 })
      response.writeHead(200, { ...STRONG, 'content-encoding': 'gzip', 'content-length': body.length }).end(body)
    }, gives: ['right'], resumed: ['right', 'E_NETWORK'],
  },
  'gzip, cut': {
    serve: ({ response, bytes }) => {
      const body = gzipSync(bytes, { level: 1 })
      response.writeHead(200, { ...STRONG, 'content-encoding': 'gzip', 'content-length': body.length })
      response.write(body.subarray(0, body.length >> 1), () => setTimeout(cut, 5, response))
    }, gives: ['E_NETWORK', 'E_TRUNCATED'],
  },
  '416 to every range': { serve: (it) => (it.range ? it.response.writeHead(416, { 'content-range': `bytes */${it.bytes.length}` }).end() : good(it)), gives: ['right'] },
  '416 to everything': { serve: (it) => it.response.writeHead(416).end(), gives: ['E_NETWORK'] },
  '429, then well': { serve: (it) => (it.n < 2 ? it.response.writeHead(429, { 'retry-after': '0' }).end() : good(it)), gives: ['right'] },
  '429 for an hour': { serve: ({ response }) => response.writeHead(429, { 'retry-after': '3600' }).end(), gives: ['E_NETWORK'] },
  '503 until a date': { serve: (it) => (it.n < 1 ? it.response.writeHead(503, { 'retry-after': new Date(Date.now()).toUTCString() }).end() : good(it)), gives: ['right'] },
  '500 every other time': { serve: (it) => (it.n % 2 === 0 ? it.response.writeHead(500).end('oh') : good(it)), gives: ['right', 'E_NETWORK'] },
  '500 always': { serve: ({ response }) => response.writeHead(500).end('oh'), gives: ['E_NETWORK'] },
  '404': { serve: ({ response }) => response.writeHead(404).end('no'), gives: ['E_NETWORK'] },
  '403 after three answers': { serve: (it) => (it.n < 3 ? good(it) : it.response.writeHead(403).end()), gives: ['E_NETWORK'] },
  'a stall in each body': { serve: (it) => part(it, 0.3, () => {}), gives: ['E_NETWORK', 'right'] },
  'a stall once': { serve: (it) => (it.n === 1 ? part(it, 0.3, () => {}) : good(it)), gives: ['right'] },
  'no answer': { serve: () => {}, gives: ['E_NETWORK'] },
  'connections closed at once': { serve: ({ request }) => request.socket.destroy(), gives: ['E_NETWORK'] },
  'flipped bits': { serve: (it) => good({ ...it, bytes: flipped(it.bytes) }), gives: ['E_INTEGRITY', 'E_FORMAT'], integrity: true },
  'zeros from the middle on': { serve: (it) => good({ ...it, bytes: zeroed(it.bytes) }), gives: ['E_INTEGRITY', 'E_FORMAT'], integrity: true },
  'flipped bits, and the hash of the file told': {
    serve: (it) => good({ ...it, bytes: flipped(it.bytes) }, { ...STRONG, 'x-linked-etag': `"${hashOfFile}"` }), gives: ['E_INTEGRITY', 'E_FORMAT'],
  },
  'a redirect': { serve: (it) => (it.request.url?.includes('moved') ? good(it) : it.response.writeHead(302, { location: `${it.request.url}?moved` }).end()), gives: ['right'] },
  'redirects without an end': { serve: (it) => it.response.writeHead(302, { location: `${it.request.url?.replace(/\?.*/, '')}?${it.n}` }).end(), gives: ['E_NETWORK'] },
  'a web page': { serve: ({ response }) => response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>log in</title>'), gives: ['E_NETWORK'] },
  'a web page that claims to be bytes': { serve: ({ response }) => response.writeHead(200, { 'content-type': 'application/octet-stream' }).end('<!doctype html><title>log in</title>'), gives: ['E_FORMAT'], resumed: ['E_CHANGED', 'E_FORMAT', 'E_NETWORK'] },
  'an empty body': { serve: ({ response }) => response.writeHead(200, { 'content-length': 0 }).end(), gives: ['E_TRUNCATED', 'E_FORMAT'], resumed: ['E_CHANGED'] },
  'empty ranges': { serve: (it) => (it.range ? it.response.writeHead(206, { ...STRONG, 'content-range': contentRange(it.range, it.bytes.length), 'content-length': 0 }).end() : good(it)), gives: ['E_NETWORK'] },
  'more bytes than announced': {
    serve: (it) => {
      const { start, end } = it.range ?? { start: 0, end: it.bytes.length }
      it.response.writeHead(206, { ...STRONG, 'content-range': contentRange({ start, end }, it.bytes.length) })
      it.response.write(it.bytes.subarray(start, end))
      it.response.end('more than that')
    }, gives: ['right'],
  },
  'a length that is too small': { serve: ({ response, bytes }) => response.writeHead(200, { 'content-length': 300_000 }).end(bytes.subarray(0, 300_000)), gives: ['E_TRUNCATED'], resumed: ['E_CHANGED'] },
  'a length that is too large': {
    serve: ({ response, bytes }) => {
      response.writeHead(200, { ...STRONG, 'content-length': bytes.length + 1000 })
      response.write(bytes, () => setTimeout(cut, 5, response))
    }, gives: ['E_NETWORK', 'E_FORMAT', 'right'], resumed: ['E_CHANGED'],
  },
}

/** Of the right bytes; one file is served at a time. */
let hashOfFile = ''

/**
 * @param {Uint8Array} bytes @param {string} sha256
 * @returns {{handler: (request: Request, response: Response) => void, heal: (name: string) => void, served: Map<string, number>}}  served: requests by path
 */
export function misbehave(bytes, sha256) {
  hashOfFile = sha256
  /** @type {Map<string, number>} */
  const served = new Map()
  /** @type {Set<string>} */
  const healed = new Set()
  return {
    served,
    heal: (name) => void healed.add(name),
    handler(request, response) {
      const [, path] = /^\/(?:bad\/)?([^?]+?)(?:\/file\.gguf)?(?:\?.*)?$/.exec(request.url ?? '') ?? []
      const name = decodeURIComponent(path ?? ''), n = served.get(name) ?? 0
      served.set(name, n + 1)
      const it = { request, response, n, range: rangeOf(request, bytes.length), bytes }
      // A file has a name for each case in which it is asked for: what comes behind # is no part of the behaviour's.
      const behaviour = BEHAVIOURS[name.replace(/~.*$/, '')]
      if (healed.has(name) || !behaviour) good(it)
      else behaviour.serve(it)
    },
  }
}
