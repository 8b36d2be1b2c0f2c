/**
 * What a server's answer says about the bytes that it brings. Content-Range decides, not the status: servers ignore ranges, answer with others than
 * were asked for, or encode what they send.
 */
import { NibbleError } from '../errors.js'

/**
 * @typedef {object} Answer
 * @property {'bytes' | 'unusable' | 'busy' | 'gone'} kind  unusable: ask again without a range; busy: ask again later; gone: there is no such range
 * @property {number} start  where the body begins in the file  @property {number | undefined} end  where it ends, exclusive  @property {number | undefined} size  of the file
 * @property {boolean} whole  the body is all of the file
 * @property {string | null} etag  strong ones only  @property {string | null} modified
 * @property {string | undefined} sha256  where the server tells the hash of the file
 * @property {number | undefined} wait  milliseconds that it asks for
 *
 * @typedef {Pick<import('./journal.js').Header, 'size' | 'etag' | 'modified'>} Pinned  what tells one version of a file from another
 */

/** What may go well the next time. */
export class Again extends Error {
  /** @param {string} message @param {number} [wait]  milliseconds  @param {boolean} [fair]  no failure: a server may send less than was asked for */
  constructor(message, wait, fair = false) {
    super(message)
    this.wait = wait
    this.fair = fair
  }
}

/** The server does not answer with the ranges that are asked for: the whole file must come in one stream. */
export class NoRanges extends Error {}

/** Answers after which it is worth while to ask again. */
const BUSY = new Set([408, 425, 429, 500, 502, 503, 504])

/** @param {string | null} text */
function count(text) {
  if (text === null || !/^\s*\d{1,15}\s*$/.test(text)) return undefined
  return Number(text)
}

/** @param {string | null} text  seconds or a date */
function retryAfter(text) {
  const seconds = count(text)
  if (seconds !== undefined) return seconds * 1000
  const date = text ? Date.parse(text) : NaN
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now())
}

/**
 * @param {Response} response @param {number | undefined} asked  where the range begins that was asked for
 * @param {string} name  for messages
 * @returns {Answer}
 */
export function judge(response, asked, name) {
  const { status, headers } = response
  const etag = headers.get('etag'), linked = /^"?([0-9a-f]{64})"?$/.exec(headers.get('x-linked-etag') ?? '')
  /** @type {Answer} */
  const answer = {
    kind: 'bytes', whole: false, start: 0, end: undefined, size: undefined, sha256: linked?.[1], wait: undefined,
    etag: etag !== null && /^"[^"]{1,1000}"$/.test(etag) ? etag : null,
    modified: headers.get('last-modified')?.slice(0, 256) || null,
  }
  if (BUSY.has(status)) return { ...answer, kind: 'busy', wait: retryAfter(headers.get('retry-after')) }
  const range = /^bytes (?:(\d{1,15})-(\d{1,15})|\*)\/(\d{1,15})$/i.exec(headers.get('content-range')?.trim() ?? '')
  if (status === 416 && asked !== undefined) return { ...answer, kind: 'gone', size: range?.[3] === undefined ? undefined : Number(range[3]) }
  if (!response.ok) throw new NibbleError('E_NETWORK', `${name} cannot be fetched: HTTP ${status} ${response.statusText}`.trim())
  // An encoding is of the whole answer: no place in it tells one in the file.
  const encoded = !/^(identity)?$/i.test(headers.get('content-encoding')?.trim() ?? '')
  if (range?.[1] !== undefined && !encoded) {
    const start = Number(range[1]), end = Number(range[2]) + 1, size = Number(range[3])
    if (start < end && end <= size && start === (asked ?? 0)) return { ...answer, start, end, size }
    return { ...answer, kind: 'unusable' }
  }
  // A part without a word of which one, or several parts in one body.
  if (status === 206 || /^multipart\/byteranges/i.test(headers.get('content-type') ?? '')) return { ...answer, kind: 'unusable' }
  const size = encoded ? undefined : count(headers.get('content-length'))
  return { ...answer, whole: true, end: size, size }
}

/**
 * Whether an answer is of the same file; undefined: it does not tell.
 * @param {Pinned} pinned @param {Answer} answer
 */
export function isSame(pinned, answer) {
  if (pinned.size !== null && answer.size !== undefined && answer.size !== pinned.size) return false
  if (pinned.etag && answer.etag) return pinned.etag === answer.etag
  if (pinned.modified && answer.modified) return pinned.modified === answer.modified
  return undefined
}
