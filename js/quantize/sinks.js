/**
 * Where files go: to a path under Node (node.js), or into memory, in tests and in pages, which hand them on as a Blob.
 */
import { NibbleError } from '../errors.js'
import { files } from './platform.js'

/**
 * @typedef {import('./gguf-writer.js').Sink & FileParts} FileSink  what of it remains when a run is interrupted, a later one goes on with
 * @typedef {object} FileParts
 * @property {string} path
 * @property {(position: number, length: number) => Promise<Uint8Array>} read  what was written; shorter where the file ends
 * @property {() => Promise<void>} suspend  closes the file and keeps it and its journal for a later run
 * @property {Journal} journal
 * @property {State} state
 *
 * @typedef {object} State  what else a later run needs: as many bytes as it takes
 * @property {(bytes: Uint8Array, position: number) => Promise<void>} write
 * @property {(position: number, length: number) => Promise<Uint8Array>} read  shorter where the file ends
 *
 * @typedef {object} Journal  lines of text
 * @property {() => Promise<string[]>} lines  of an earlier run
 * @property {() => Promise<void>} restart  forgets them, and what was written
 * @property {(line: string) => Promise<void>} append
 */

/** A file is not written over while it is read. @param {import('./checkpoint.js').Checkpoint} checkpoint @param {unknown} destination */
export async function checkDestination(checkpoint, destination) {
  if (typeof destination === 'string' && files && await (await files()).samePlace(checkpoint.name, destination)) {
    throw new NibbleError('E_ARGUMENT', `${destination} is the file that is read; name another one for the result`)
  }
}

/**
 * @param {import('./gguf-writer.js').Sink | string} destination  a path (Node), or a sink
 * @returns {Promise<import('./gguf-writer.js').Sink>}
 */
export async function openSink(destination) {
  if (typeof destination !== 'string') return destination
  if (!files) throw new NibbleError('E_ARGUMENT', 'a page writes no files; pass a sink, such as memorySink()')
  return (await files()).fileSink(destination)
}

/**
 * A sink in memory. The pieces that were written must touch each other, and none may overlap another, when it is committed.
 * @returns {import('./gguf-writer.js').Sink & {blob: () => Blob, bytes: () => Promise<Uint8Array>, read: (position: number, length: number) => Promise<Uint8Array>}}
 *   blob, bytes: after the commit
 */
export function memorySink() {
  /** @type {{position: number, bytes: Uint8Array<ArrayBuffer>}[]} */
  let pieces = []
  let done = false
  return {
    async write(bytes, position) {
      pieces.push({ position, bytes: bytes.slice() })
    },
    async read(position, length) {
      const out = new Uint8Array(length)
      let had = 0
      for (const piece of pieces) {
        const from = Math.max(position, piece.position), to = Math.min(position + length, piece.position + piece.bytes.length)
        if (from >= to) continue
        out.set(piece.bytes.subarray(from - piece.position, to - piece.position), from - position)
        had += to - from
      }
      if (had !== length) throw new NibbleError('E_ARGUMENT', `bytes ${position} to ${position + length} were not all written`)
      return out
    },
    async commit(size) {
      pieces.sort((a, b) => a.position - b.position)
      let at = 0
      for (const { position, bytes } of pieces) {
        if (position !== at) throw new NibbleError('E_INTERNAL', `the file has ${position > at ? 'a gap' : 'two contents'} at byte ${Math.min(at, position)}`)
        at += bytes.length
      }
      if (at !== size) throw new NibbleError('E_INTERNAL', `the file ends at byte ${at} of ${size}`)
      done = true
    },
    async abort() {
      pieces = []
    },
    blob() {
      if (!done) throw new NibbleError('E_ARGUMENT', 'the file is not complete')
      return new Blob(pieces.map((p) => p.bytes))
    },
    async bytes() {
      return new Uint8Array(await this.blob().arrayBuffer())
    },
  }
}
