/**
 * What a run has done, so that one that was killed goes on where it stood. Each piece that was written has a line with its hash; a later run believes it
 * only if the file still holds those bytes.
 */
import { lookUp } from './pairs.js'

/**
 * @typedef {import('./checkpoint.js').Checkpoint} Checkpoint
 * @typedef {import('./encode.js').RowsResult & {seconds: number}} PieceResult
 * @typedef {{tensor: string, row: number, rows: number, sha256: string, details?: Record<string, number>} & PieceResult} Entry  details: of the method
 * @typedef {{layer: number, state: string, result: Record<string, number>}} LayerEntry  state: hash of what enters the next layer
 */

const VERSION = 1
const SAMPLE = 4096

/** @param {Uint8Array} bytes */
export async function sha256(bytes) {
  const digest = await crypto.subtle.digest('SHA-256', /** @type {Uint8Array<ArrayBuffer>} */ (bytes.buffer instanceof ArrayBuffer ? bytes : bytes.slice()))
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, '0')).join('')
}

/**
 * Tells one input and one set of options from another: metadata, the table of tensors, samples of every tensor, and what was asked for.
 * @param {Checkpoint} checkpoint @param {unknown} options  JSON
 */
export async function fingerprint(checkpoint, options) {
  const parts = [JSON.stringify({ VERSION, options, name: lookUp(checkpoint.pairs, 'general.name'), tensors: checkpoint.tensors })]
  for (const { key, kind, itemKind, count, data } of checkpoint.pairs) parts.push(JSON.stringify([key, kind, itemKind, count, await sha256(data)]))
  for (const tensor of checkpoint.tensors) {
    const n = Math.min(SAMPLE, tensor.bytes)
    const places = new Set([0, Math.floor((tensor.bytes - n) / 2), tensor.bytes - n])
    for (const at of places) parts.push(await sha256(await checkpoint.read(tensor, at, n)))
  }
  return sha256(new TextEncoder().encode(parts.join('\n')))
}

/**
 * @param {string} line
 * @returns {unknown}
 */
function parsed(line) {
  try {
    return JSON.parse(line)
  } catch {
    return undefined // of another program, or damaged: it counts for nothing
  }
}

/** @param {any} entry @returns {entry is LayerEntry} */
const isLayer = (entry) => Number.isInteger(entry?.layer) && typeof entry.state === 'string' && typeof entry.result === 'object'

/** @param {any} entry @returns {entry is Entry} */
const isEntry = (entry) => typeof entry?.tensor === 'string' && typeof entry.sha256 === 'string' &&
  ['row', 'rows', 'error', 'norm', 'weightedError', 'weightedNorm', 'seconds'].every((key) => typeof entry[key] === 'number')

export class Progress {
  /**
   * @param {import('./sinks.js').Journal | undefined} journal  undefined where nothing is kept
   * @param {string} print  fingerprint
   */
  constructor(journal, print) {
    this.journal = journal
    this.print = print
    /** @type {Map<string, Entry>} */
    this.entries = new Map()
    /** Layers that a calibrated run has done, the last one last. @type {LayerEntry[]} */
    this.layers = []
    /** Whether there was a journal of other work, which was thrown away. */
    this.other = false
  }

  /** Reads what an earlier run has done; begins anew where that was something else. */
  async open() {
    if (!this.journal) return
    const [head, ...rest] = (await this.journal.lines()).map(parsed)
    if (/** @type {any} */ (head)?.fingerprint === this.print) {
      for (const entry of rest) {
        if (isEntry(entry)) this.entries.set(`${entry.tensor}/${entry.row}`, entry)
        else if (isLayer(entry)) this.layers.push(entry)
      }
      return
    }
    this.other = head !== undefined
    await this.journal.restart()
    await this.journal.append(JSON.stringify({ fingerprint: this.print }))
  }

  /** What was done of a tensor from a row on. @param {string} tensor @param {number} row */
  entry(tensor, row) {
    return this.entries.get(`${tensor}/${row}`)
  }

  /** @param {string} tensor @param {number} row @param {number} rows @param {Uint8Array} blocks @param {PieceResult & {details?: Record<string, number>}} result */
  async done(tensor, row, rows, blocks, { error, norm, weightedError, weightedNorm, seconds, details }) {
    if (!this.journal) return
    await this.journal.append(JSON.stringify({ tensor, row, rows, sha256: await sha256(blocks), error, norm, weightedError, weightedNorm, seconds, details }))
  }

  /** @param {LayerEntry} entry */
  async layerDone(entry) {
    await this.journal?.append(JSON.stringify(entry))
  }
}
