/**
 * Who may ask, and what: the checks of a request before it costs anything, and its body within limits.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { HttpError } from './errors.js'

/** Most bytes of a body, and most brackets within brackets in it. */
export const MOST_BYTES = 4 << 20
export const MOST_DEPTH = 64

/** @param {string} host */
export const isLoopback = (host) => /^(localhost|127(\.\d{1,3}){3}|::1)$/i.test(host)

/** The name in a Host header, without port and brackets. @param {string} header */
const nameOf = (header) => header.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1').toLowerCase()

/**
 * A web page can point a name of its own at this machine and would then be of the same origin as this server (DNS rebinding). It can do so with
 * names only: addresses are what they say.
 * @param {string | undefined} header @param {string} bound  what the server listens on
 */
export function checkHost(header, bound) {
  const name = nameOf(header ?? '')
  const known = isLoopback(bound) ? isLoopback(name) : isIP(name) !== 0 || [bound, 'localhost', hostname(), `${hostname()}.local`].some((own) => own.toLowerCase() === name)
  if (!known) throw new HttpError(421, `this server does not answer to the name '${name}'`, { code: 'wrong_host' })
}

/** @param {string} text */
const digest = (text) => createHash('sha256').update(text).digest()

/** @param {string | undefined} header  Authorization @param {string} key */
export function checkKey(header, key) {
  const given = /^Bearer +(.*)$/i.exec(header ?? '')?.[1]
  if (given === undefined || !timingSafeEqual(digest(given), digest(key))) {
    throw new HttpError(401, given === undefined ? 'this server wants its API key: Authorization: Bearer KEY' : 'the API key is wrong', { code: 'invalid_api_key', headers: { 'www-authenticate': 'Bearer' } })
  }
}

/** Refuses what is nested too deep, before JSON.parse and all that walks its result. @param {string} text */
function checkDepth(text) {
  let depth = 0
  for (let i = 0, quoted = false; i < text.length; i++) {
    const c = text[i]
    if (quoted && c === '\\') i++
    else if (c === '"') quoted = !quoted
    else if (!quoted && (c === '[' || c === '{') && ++depth > MOST_DEPTH) throw new HttpError(400, `the body is nested deeper than ${MOST_DEPTH} levels`)
    else if (!quoted && (c === ']' || c === '}')) depth--
  }
}

/**
 * The JSON object that a request brings.
 * @param {import('node:http').IncomingMessage} request
 * @returns {Promise<Record<string, any>>}
 */
export async function readBody(request) {
  const { headers } = request
  if (!/^application\/json *(;|$)/i.test(headers['content-type'] ?? '')) throw new HttpError(415, 'the body must be JSON: content-type: application/json')
  if (!/^(identity)?$/i.test(headers['content-encoding'] ?? '')) throw new HttpError(415, 'the body must not be compressed')
  const tooLarge = () => new HttpError(413, `the body is larger than ${MOST_BYTES} bytes`)
  if (Number(headers['content-length']) > MOST_BYTES) throw tooLarge()
  /** @type {Buffer[]} */
  const chunks = []
  let bytes = 0
  await new Promise((resolve, reject) => {
    request.on('data', (chunk) => {
      bytes += chunk.length
      if (bytes <= MOST_BYTES) chunks.push(chunk)
      else reject(tooLarge())
    })
    request.once('end', resolve).once('close', () => reject(new HttpError(400, 'the request ended before its body'))).once('error', reject)
  })
  /** @type {unknown} */
  let body
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
    checkDepth(text)
    body = JSON.parse(text)
  } catch (error) {
    if (error instanceof HttpError) throw error
    throw new HttpError(400, `the body is not JSON: ${/** @type {Error} */ (error).message}`)
  }
  if (body === null || typeof body !== 'object' || Array.isArray(body)) throw new HttpError(400, 'the body must be a JSON object')
  return body
}
