/**
 * One at a time, in the order of asking.
 */
import { abortError } from './source.js'

export class Turns {
  constructor() {
    /** Who has the turn, then who waits for it. @type {{enter: () => void, refuse: (error: Error) => void}[]} */
    this.line = []
    /** @type {Error | undefined} */
    this.closed = undefined
  }

  /**
   * Waits for a turn; resolves to what ends it. An abort ends the wait, and also a turn, which somebody who reads no further would keep for
   * ever: who has one must look at the signal after every wait.
   * @param {AbortSignal} [signal]
   * @returns {Promise<() => void>}
   */
  take(signal) {
    return new Promise((resolve, reject) => {
      if (this.closed || signal?.aborted) return reject(this.closed ?? abortError(undefined, signal))
      const leave = () => {
        signal?.removeEventListener('abort', onAbort)
        const at = this.line.indexOf(one)
        if (at < 0) return
        this.line.splice(at, 1)
        if (at === 0) this.line[0]?.enter()
      }
      const onAbort = () => {
        leave()
        reject(abortError(undefined, signal))
      }
      const one = {
        enter: () => resolve(leave),
        refuse: (/** @type {Error} */ error) => {
          signal?.removeEventListener('abort', onAbort)
          reject(error)
        },
      }
      signal?.addEventListener('abort', onAbort)
      this.line.push(one)
      if (this.line.length === 1) one.enter()
    })
  }

  /** Nobody has a turn any more. @param {Error} error  for those who wait, and those who still come */
  close(error) {
    this.closed = error
    for (const one of this.line.splice(0)) one.refuse(error)
  }
}
