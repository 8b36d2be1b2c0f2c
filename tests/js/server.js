/** A local server for tests: serves bytes in pieces, slowly, wrongly, or as asked. */
import http from 'node:http'

/**
 * @param {(request: http.IncomingMessage, response: http.ServerResponse) => void} handler
 * @returns {Promise<{url: string, close: () => Promise<void>}>}
 */
export async function serve(handler) {
  const server = http.createServer(handler)
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  return {
    url: `http://127.0.0.1:${port}/`,
    close: () => new Promise((resolve) => {
      server.closeAllConnections()
      server.close(() => resolve(undefined))
    }),
  }
}

/**
 * Writes bytes in pieces with pauses, at about `bytesPerSecond`. Stops when the client goes away; resolves to whether all was sent.
 * @param {http.ServerResponse} response @param {AsyncIterable<Uint8Array> | Iterable<Uint8Array>} pieces @param {number} bytesPerSecond
 */
export async function sendSlowly(response, pieces, bytesPerSecond) {
  const start = performance.now()
  let sent = 0
  for await (const piece of pieces) {
    if (response.destroyed) return false
    if (!response.write(piece)) {
      await new Promise((resolve) => {
        const go = () => {
          response.off('drain', go).off('close', go)
          resolve(undefined)
        }
        response.on('drain', go).on('close', go)
      })
    }
    sent += piece.length
    const ahead = sent / bytesPerSecond * 1000 - (performance.now() - start)
    if (ahead > 2) await new Promise((resolve) => setTimeout(resolve, ahead))
  }
  response.end()
  return true
}

/** @param {Uint8Array} bytes @param {number} size */
export function* pieces(bytes, size) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}
