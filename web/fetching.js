/**
 * The engine's worker asks the one that fetches, over a port: for compiled modules, and for files, chunk by chunk. A chunk is asked for while the one before
 * it is worked on, and no more than that is on its way. What is kept already is not sent: the file crosses, and is read here.
 */
import { keptPart } from '../js/download/kept.js'
import { asPart, partOf } from '../js/source.js'
import { unpackError } from './protocol.js'

/** @typedef {import('../js/download/kept.js').Kept} Kept */

export class Fetching {
  /** @param {MessagePort} port */
  constructor(port) {
    this.port = port
    this.last = 0
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.requests = new Map()
    port.onmessage = ({ data }) => {
      const request = this.requests.get(data.id)
      this.requests.delete(data.id)
      if ('error' in data) request?.reject(unpackError(data.error))
      else request?.resolve(data.result)
    }
  }

  /** @param {string} op @param {unknown[]} args @returns {Promise<any>} */
  ask(op, ...args) {
    const id = ++this.last
    this.port.postMessage({ id, op, args })
    return new Promise((resolve, reject) => this.requests.set(id, { resolve, reject }))
  }

  /** @param {string} name @param {string | URL} [from] @returns {Promise<WebAssembly.Module>} */
  compile(name, from) {
    return this.ask('compile', name, from)
  }

  /** @param {string} url @returns {import('../js/source.js').Opener} */
  source(url) {
    return {
      open: async (index, { cache, headers, integrity, headerOnly }) => {
        const { part, kept, file, ...fields } = await this.ask('open', partOf(url, index), index, { cache, headers, integrity, headerOnly })
        return asPart(kept ? this.kept(part, kept, file, fields.name) : this.fetched(part, fields))
      },
    }
  }

  /** @param {number} part @param {{name: string, size: number | undefined, from: 'network' | 'cache'}} fields @returns {import('../js/download/kept.js').KeptPart} */
  fetched(part, fields) {
    const ahead = () => {
      const asked = this.ask('next', part)
      asked.catch(() => {}) // told when it is taken
      return asked
    }
    let coming = ahead()
    /** @type {import('../js/download/kept.js').KeptPart} */
    const chunks = {
      ...fields, kept: undefined, warning: undefined,
      async next() {
        const { bytes, ...more } = await coming
        Object.assign(chunks, more)
        if (bytes) coming = ahead()
        return bytes
      },
      accept: () => this.ask('accept', part),
      close: (why) => this.ask('close', part, /** @type {any} */ (why)?.code),
    }
    return chunks
  }

  /** @param {number} part @param {Kept} kept @param {File} file @param {string} name */
  kept(part, kept, file, name) {
    return keptPart(kept, {
      name,
      read: async (position, length) => new Uint8Array(await file.slice(position, position + length).arrayBuffer()),
      mend: async (i) => {
        const { bytes, file: mended } = await this.ask('mend', part, i)
        file = mended // the old one is outdated by the write
        return bytes
      },
      close: () => this.ask('close', part),
    })
  }
}
