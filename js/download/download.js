/**
 * One file on its way from a server to its reader, teed into the store: fetched by ranges, several at a time where the server allows it, checked, handed out in
 * order. A chunk is kept before it is handed out: after a sudden end of the process each stream has lost one chunk, and what was on its way, together less than
 * 8 MiB; after one of the machine, 4 MiB more. Works wherever fetch does; storage and fetch are given.
 */
import { NibbleError, isNibbleError } from '../errors.js'
import { abortError, readerInto } from '../source.js'
import { Entry, removeEntry, storageError } from './entry.js'
import { Again, NoRanges, isSame, judge } from './http.js'
import { chunksOf, nameOf } from './journal.js'
import { Sha256, digest } from './sha256.js'

/**
 * @typedef {object} Limits
 * @property {number} chunk  bytes that are hashed and written together
 * @property {number} segment  chunks asked for in one request
 * @property {number} streams  requests at a time
 * @property {number} tries  for one chunk  @property {number} delay  milliseconds before the second one; doubles with each
 * @property {number} patience  milliseconds that a server may ask us to wait  @property {number} stall  milliseconds without a byte after which a connection is given up
 *
 * @typedef {object} DownloadOptions
 * @property {URL} url  @property {string} name  for messages
 * @property {typeof globalThis.fetch} fetch  @property {HeadersInit} [headers]
 * @property {boolean} conditional  whether If-Range may be sent: to other origins, browsers would have to ask first
 * @property {string | undefined} wanted  the SHA-256 it must have, hexadecimal
 * @property {AbortSignal} [signal]
 * @property {Limits} limits
 * @property {() => Hash} [makeHash]  SHA-256, where the system has one that is faster
 * @property {(warning: NibbleError) => void} warn
 *
 * @typedef {{update: (bytes: Uint8Array) => unknown, digest: () => string}} Hash
 * @typedef {import('./http.js').Pinned} Pinned
 * @typedef {{response: Response, answer: import('./http.js').Answer, controller: AbortController}} Opened
 * @typedef {{at: number, to: number, filled: number, buffer: Uint8Array | undefined}} Segment  chunks from `at` to before `to`; of the first one some bytes may be here
 */

/** @type {Limits} */
export const LIMITS = { chunk: 1 << 20, segment: 8, streams: 3, tries: 6, delay: 500, patience: 60_000, stall: 30_000 }

/** Errors that say that the bytes are none of a model, or not the right ones: nothing of them may stay. */
const POISONED = new Set(['E_FORMAT', 'E_TRUNCATED', 'E_INTEGRITY', 'E_CHANGED'])

export class Download {
  /** @param {DownloadOptions} options */
  constructor(options) {
    this.options = options
    this.limits = options.limits
    this.chunk = options.limits.chunk
    /** @type {Pinned} */
    this.pinned = { size: null, etag: null, modified: null }
    /** @type {number | undefined} */
    this.size = undefined
    this.wanted = options.wanted
    /** @type {Entry | undefined} */
    this.entry = undefined
    this.keeping = false
    this.ranged = true
    this.answered = false
    /** The chunk that is handed out next, and the hashes of those before it. */
    this.at = 0
    /** @type {(string | undefined)[]} */
    this.handed = []
    /** Here, but not handed out yet. @type {Map<number, {bytes: Uint8Array, hash: string}>} */
    this.ready = new Map()
    /** @type {Set<Segment>} */
    this.segments = new Set()
    /** @type {Set<Promise<void>>} */
    this.tasks = new Set()
    /** @type {Set<AbortController>} */
    this.controllers = new Set()
    /** @type {unknown} */
    this.error = undefined
    this.closed = false
    this.alone = false
    /** @type {Hash} */
    this.whole = options.makeHash?.() ?? new Sha256()
    /** Of the whole file, once it was handed out. @type {string | undefined} */
    this.sha256 = undefined
    /** Where the last chunk came from. @type {'network' | 'cache'} */
    this.from = 'network'
    /** @type {(() => void)[]} */
    this.waiting = []
    this.onAbort = () => this.fail(abortError(undefined, options.signal))
    options.signal?.addEventListener('abort', this.onAbort, { once: true })
  }

  // ---- what the reader sees -------------------------------------------------------------------------------------------------------

  /**
   * Begins, or goes on with what an earlier run has left.
   * @param {import('./entry.js').Store | undefined} store @param {string} key @param {import('./entry.js').Found | undefined} partial
   */
  async begin(store, key, partial) {
    const { url } = this.options
    if (this.options.signal?.aborted) throw abortError(undefined, this.options.signal)
    if (store && partial) {
      const { size, etag, modified, chunk, hashes } = partial.journal
      if (size === null || !(etag || modified || this.wanted)) { // nothing tells whether it is the same file
        await removeEntry(store, partial.id)
        partial = undefined
      } else {
        Object.assign(this, { size, chunk, pinned: { size, etag, modified } })
        const first = Array.from({ length: chunksOf(size, chunk) }, (_, i) => i).find((i) => hashes[i] === undefined)
        try {
          const opened = first === undefined ? undefined : await this.first(this.segmentAt(first, (i) => hashes[i] === undefined))
          await this.keep(() => Entry.resume(store, /** @type {import('./entry.js').Found} */ (partial)))
          return this.start(opened)
        } catch (error) {
          if (isNibbleError(error) && error.code === 'E_CHANGED') await removeEntry(store, partial.id)
          throw error
        }
      }
    }
    const opened = await this.first({ at: 0, to: this.limits.segment, filled: 0, buffer: undefined })
    const { answer } = opened
    this.size = answer.size
    this.pinned = { size: answer.size ?? null, etag: answer.etag, modified: answer.modified }
    if (this.size !== undefined) opened.segment.to = Math.min(opened.segment.to, chunksOf(this.size, this.chunk))
    if (store) {
      const header = { key, url: url.href, name: nameOf(url), size: answer.size ?? null, chunk: this.chunk, etag: answer.etag, modified: answer.modified, created: Date.now() }
      await this.keep(() => Entry.create(store, header))
    }
    this.start(opened)
  }

  /** Fetches one chunk of a file that is known. @param {import('./journal.js').Journal} journal @param {number} i */
  async only({ size, etag, modified, chunk, hashes }, i) {
    Object.assign(this, { size, chunk, at: i, handed: hashes.slice(0, i), pinned: { size, etag, modified } })
    this.wanted ??= 'given by the hash of the chunk'
    this.start(await this.first({ at: i, to: i + 1, filled: 0, buffer: undefined }), true)
    return /** @type {Uint8Array} */ (await this.next())
  }

  /** The next chunk, or undefined at the end. @returns {Promise<Uint8Array | undefined>} */
  async next() {
    for (;;) {
      if (this.error) throw this.error
      const i = this.at
      if (this.size !== undefined && i >= chunksOf(this.size, this.chunk)) return this.finish()
      let found = this.ready.get(i)
      /** @type {'network' | 'cache'} */
      let from = 'network'
      if (!found && this.ranged && this.onDisk(i)) {
        found = await this.fromDisk(i)
        if (!this.ranged || this.error) continue
        from = 'cache'
      }
      if (found) {
        this.ready.delete(i)
        this.handed[i] = found.hash
        this.at++
        this.from = from
        this.whole.update(found.bytes)
        this.pump()
        this.wake()
        return found.bytes
      }
      this.pump()
      if (!this.error) await this.news()
    }
  }

  /** Its reader found the bytes to be what it wanted: they may stay. */
  async accept() {
    const { entry } = this
    if (!entry || !this.keeping || this.sha256 === undefined) return
    await this.keep(async () => {
      await entry.complete(/** @type {number} */ (this.size), /** @type {string} */ (this.sha256))
      return entry
    })
  }

  /** @param {unknown} [why]  what it ended with, where it failed */
  async close(why) {
    this.closed = true
    this.options.signal?.removeEventListener('abort', this.onAbort)
    for (const controller of this.controllers) controller.abort()
    this.wake()
    await Promise.allSettled(this.tasks)
    this.ready.clear()
    const { entry } = this
    if (!entry) return
    this.entry = undefined
    await entry.close()
    const reason = why ?? this.error
    const empty = !entry.journal.complete && entry.journal.hashes.every((hash) => hash === undefined)
    const endless = entry.journal.size === null // nothing can go on with it
    if (empty || endless || (isNibbleError(reason) && POISONED.has(reason.code) && !entry.journal.complete)) await removeEntry(entry.store, entry.id).catch(() => {})
  }

  // ---- inside ---------------------------------------------------------------------------------------------------------------------

  wake() {
    for (const go of this.waiting.splice(0)) go()
  }

  /** @returns {Promise<void>} */
  news() {
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  /** @param {unknown} error */
  fail(error) {
    this.error ??= error
    for (const controller of this.controllers) controller.abort()
    this.wake()
  }

  /** @param {number} i */
  onDisk(i) {
    return this.entry?.journal.hashes[i] !== undefined
  }

  /** Work of the store. Where it fails the download goes on without. @param {() => Promise<Entry>} work */
  async keep(work) {
    try {
      this.entry = await work()
      this.keeping = true
    } catch (error) {
      this.keeping = false
      this.options.warn(storageError(error, this.options.name))
    }
  }

  /** @param {number} i */
  async fromDisk(i) {
    const entry = /** @type {Entry} */ (this.entry), hash = /** @type {string} */ (entry.journal.hashes[i])
    const bytes = await entry.read(i, this.lengthOf(i)).catch(() => undefined)
    if (bytes?.length === this.lengthOf(i) && await digest(bytes) === hash) return { bytes, hash }
    await entry.drop(i).catch(() => {}) // damaged: it is fetched again
    return undefined
  }

  /** @param {number} i */
  lengthOf(i) {
    return Math.min(this.chunk, /** @type {number} */ (this.size) - i * this.chunk)
  }

  /** The end of the file was handed out. @returns {undefined} */
  finish() {
    this.sha256 ??= this.whole.digest()
    if (this.wanted === undefined || this.wanted === this.sha256) return undefined
    const error = new NibbleError('E_INTEGRITY', `${this.options.name} has the SHA-256 ${this.sha256} instead of ${this.wanted}; it is damaged or another file`)
    this.fail(error)
    throw error
  }

  /** The chunks from here on that one request may bring. @param {number} first @param {(i: number) => boolean} isMissing @returns {Segment} */
  segmentAt(first, isMissing) {
    const { segment } = this.limits, end = Math.min((Math.floor(first / segment) + 1) * segment, chunksOf(/** @type {number} */ (this.size), this.chunk))
    let to = first + 1
    while (to < end && isMissing(to)) to++
    return { at: first, to, filled: 0, buffer: undefined }
  }

  /** The first answer, which tells whether there are ranges. @param {Segment} segment @returns {Promise<Opened & {segment: Segment}>} */
  async first(segment) {
    for (let tries = 0; ;) {
      try {
        return { ...await this.ask(segment, true), segment }
      } catch (error) {
        if (error instanceof NoRanges) {
          this.ranged = false
          segment = { at: 0, to: Infinity, filled: 0, buffer: undefined }
        } else await this.pause(error, ++tries)
      }
    }
  }

  /** @param {(Opened & {segment: Segment}) | undefined} opened @param {boolean} [alone]  nothing else is to be fetched */
  start(opened, alone = false) {
    this.alone = alone
    if (!opened) return
    if (!this.ranged) opened.segment = { at: 0, to: Infinity, filled: 0, buffer: undefined }
    this.run(opened.segment, opened)
    this.pump()
  }

  /** Starts what may be fetched at the same time. */
  pump() {
    if (this.closed || this.error || (this.alone && this.ranged)) return
    if (!this.ranged) {
      let next = this.at
      while (this.ready.has(next)) next++
      if (this.tasks.size === 0 && next * this.chunk < (this.size ?? Infinity)) this.run({ at: 0, to: Infinity, filled: 0, buffer: undefined })
      return
    }
    const n = chunksOf(/** @type {number} */ (this.size), this.chunk), { streams, segment } = this.limits
    const isMissing = (/** @type {number} */ i) => !this.ready.has(i) && !this.onDisk(i) && ![...this.segments].some(({ at, to }) => at <= i && i < to)
    // Without a word of the server's on which version it sends, what comes in several answers may be of several.
    const most = this.pinned.etag || this.pinned.modified || this.wanted ? streams : 1
    for (let i = this.at; i < Math.min(n, this.at + streams * segment) && this.segments.size < most; i++) {
      if (isMissing(i)) this.run(this.segmentAt(i, isMissing))
    }
  }

  /** Fetches a segment to its end. @param {Segment} segment @param {Opened} [opened] */
  run(segment, opened) {
    this.segments.add(segment)
    const task = this.fetchSegment(segment, opened).catch((error) => {
      if (!(error instanceof NoRanges)) return this.fail(error)
      this.ranged = false
      for (const controller of this.controllers) controller.abort()
    }).finally(() => {
      this.segments.delete(segment)
      this.tasks.delete(task)
      this.pump()
      this.wake()
    })
    this.tasks.add(task)
  }

  /** @param {Segment} segment @param {Opened} [opened] */
  async fetchSegment(segment, opened) {
    const ranged = this.ranged
    let reached = segment.at
    for (let tries = 0; ;) {
      try {
        opened ??= await this.ask(segment)
        await this.consume(segment, opened)
        return
      } catch (error) {
        if (this.closed || this.error || ranged !== this.ranged) return // it was told to stop
        if (segment.at > reached) tries = 0
        reached = Math.max(reached, segment.at)
        opened = undefined
        if (!(error instanceof Again && error.fair && this.ranged)) await this.pause(error, ++tries)
      }
    }
  }

  /** Waits before another try, or throws what there is none for. @param {unknown} error @param {number} tries */
  async pause(error, tries) {
    if (!(error instanceof Again)) throw error
    const { tries: most, delay, patience } = this.limits, { name, signal } = this.options
    const wait = Math.max(error.wait ?? 0, Math.min(delay * 2 ** (tries - 1), 8000))
    if (tries >= most) throw new NibbleError('E_NETWORK', `${name} cannot be fetched: ${error.message}; tried ${tries} times, try again later`, { cause: error })
    if (wait > patience) throw new NibbleError('E_NETWORK', `${name} cannot be fetched now: ${error.message}, and the server asks to wait for ${Math.ceil(wait / 1000)} seconds`, { cause: error })
    const end = Date.now() + wait
    while (Date.now() < end && !this.closed && !this.error && !signal?.aborted) await new Promise((resolve) => setTimeout(resolve, Math.min(100, end - Date.now())))
    if (signal?.aborted) throw abortError(undefined, signal)
  }

  /**
   * Something of a connection, which must not take long. @template T
   * @param {Promise<T>} work @param {AbortController} controller @returns {Promise<T>}
   */
  async timed(work, controller) {
    const { signal } = this.options
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer
    let onAbort = () => {}
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => {
        reject(new Again(`nothing came for ${Math.ceil(this.limits.stall / 1000)} seconds`))
        controller.abort()
      }, this.limits.stall)
      onAbort = () => reject(new Again('the connection was given up')) // a fetch of the caller's may not look at the signal
      controller.signal.addEventListener('abort', onAbort, { once: true })
    })
    try {
      return /** @type {T} */ (await Promise.race([work, late]))
    } catch (error) {
      if (signal?.aborted) throw abortError(error, signal)
      if (error instanceof Again || isNibbleError(error)) throw error
      const { message, cause } = /** @type {Error} */ (error)
      throw new Again(cause instanceof Error && cause.message ? `${message} (${cause.message})` : message)
    } finally {
      clearTimeout(timer)
      controller.signal.removeEventListener('abort', onAbort)
    }
  }

  /**
   * Asks for a segment, or for the whole file where there are no ranges.
   * @param {Segment} segment @param {boolean} [first] @returns {Promise<Opened>}
   */
  async ask(segment, first = false) {
    const { url, name, signal, fetch, conditional } = this.options, { ranged, pinned } = this
    const controller = new AbortController()
    const onAbort = () => controller.abort(signal?.reason)
    if (signal?.aborted) throw abortError(undefined, signal)
    signal?.addEventListener('abort', onAbort, { once: true })
    this.controllers.add(controller)
    const forget = () => {
      signal?.removeEventListener('abort', onAbort)
      this.controllers.delete(controller)
      controller.abort()
    }
    try {
      const headers = new Headers(this.options.headers)
      const start = segment.at * this.chunk + segment.filled
      if (ranged) {
        const end = Math.min(segment.to * this.chunk, this.size ?? Infinity)
        headers.set('range', `bytes=${start}-${end - 1}`)
        if (conditional && pinned.etag) headers.set('if-range', pinned.etag)
      }
      const response = await this.timed(fetch(url, { signal: controller.signal, headers, cache: 'no-store' }), controller).catch((error) => {
        // Other origins may allow no range, which browsers ask for before they send one; and these refuse answers to a range that are encoded.
        if (error instanceof Again && ranged && !this.answered && first && this.size === undefined) throw new NoRanges()
        throw error
      })
      this.answered = true
      if (/^text\/html\b/i.test(response.headers.get('content-type') ?? '') && response.ok) throw new NibbleError('E_NETWORK', `${name} is answered with a web page instead of a model; open the address in a browser to see what it says`)
      const answer = judge(response, ranged ? start : undefined, name)
      if (answer.kind === 'busy') throw new Again(`HTTP ${response.status} ${response.statusText}`.trim(), answer.wait)
      const same = isSame(pinned, answer)
      if (same === false) throw new NibbleError('E_CHANGED', `${name} is not the file that the download began with; load it again to get the new one from its start`)
      if (answer.kind !== 'bytes') {
        if (ranged) throw new NoRanges()
        throw new NibbleError('E_NETWORK', `${name} cannot be fetched: the server sends parts of it that nobody asked for`)
      }
      if (answer.whole) {
        if (ranged && !first) throw new NoRanges()
        this.ranged = false
      } else if (ranged && same === undefined && !this.wanted && !answer.sha256) {
        // Nothing would tell whether the next range is of the same file. A whole file is held against the chunks that are here.
        if (!first || pinned.size !== null || !(answer.etag || answer.modified)) throw new NoRanges()
      }
      if (this.wanted === undefined) this.wanted = answer.sha256
      return { response, answer, controller: Object.assign(controller, { forget }) }
    } catch (error) {
      forget()
      throw error
    }
  }

  /** Takes a body apart. @param {Segment} segment @param {Opened} opened */
  async consume(segment, { response, answer, controller }) {
    const { start, end } = answer
    const { chunk } = this
    /** @type {{read: () => Promise<any>, cancel: (reason?: unknown) => Promise<void>} | undefined} */
    let reader
    try {
      if (!this.ranged) Object.assign(segment, { at: 0, filled: 0, buffer: undefined })
      reader = response.body ? readerInto(response.body) ?? response.body.getReader() : undefined
      const last = this.ranged ? Math.min(segment.to * chunk, /** @type {number} */ (this.size)) : Infinity
      let position = start
      for (;;) {
        const limit = Math.min(last, end ?? Infinity, this.size ?? Infinity)
        if (position >= limit) break
        const result = reader ? await this.timed(reader.read(), controller) : { done: true }
        if (result.done) {
          if (end !== undefined) throw new Again(`it ended after ${position - start} of ${end - start} bytes`)
          if (this.size !== undefined) throw new Again(`it ended after ${position} of ${this.size} bytes`)
          if (segment.filled > 0) await this.deliver(segment, segment.filled)
          this.size = position
          this.pinned.size = position
          break
        }
        /** @type {Uint8Array} */
        let bytes = result.value
        bytes = bytes.subarray(0, Math.max(0, limit - position)) // more than was announced
        while (bytes.length > 0) {
          const room = this.size === undefined ? chunk : this.lengthOf(segment.at)
          segment.buffer ??= new Uint8Array(room)
          const n = Math.min(bytes.length, room - segment.filled)
          segment.buffer.set(bytes.subarray(0, n), segment.filled)
          segment.filled += n
          position += n
          bytes = bytes.subarray(n)
          if (segment.filled === room) await this.deliver(segment, room)
          if (this.closed || this.error) return
        }
      }
      if (position < (this.ranged ? last : this.size ?? 0)) throw new Again('the server sent less than was asked for', 0, position > start)
      // The end of the body leaves the connection to the next request.
      if (reader && position === end) await Promise.race([reader.read().catch(() => {}), new Promise((resolve) => setTimeout(resolve, 50))])
    } finally {
      await reader?.cancel().catch(() => {})
      const { forget } = /** @type {any} */ (controller)
      forget()
    }
  }

  /** A chunk has come. @param {Segment} segment @param {number} length */
  async deliver(segment, length) {
    const i = segment.at, bytes = /** @type {Uint8Array} */ (segment.buffer).subarray(0, length)
    const hash = await digest(bytes)
    segment.buffer = undefined
    segment.filled = 0
    if (i < this.at) {
      if (this.handed[i] !== hash) throw new NibbleError('E_CHANGED', `${this.options.name} is not the file that the download began with; load it again to get the new one from its start`)
      segment.at++
      return
    }
    if (this.entry && this.keeping && this.entry.journal.hashes[i] !== hash) {
      const { entry } = this
      await this.keep(() => entry.put(i, bytes, hash).then(() => entry))
    }
    this.ready.set(i, { bytes, hash })
    segment.at++ // not before: somebody else would fetch it
    this.wake()
    while (!this.ranged && i + 1 >= this.at + this.limits.segment && !this.closed && !this.error) await this.news()
  }
}
