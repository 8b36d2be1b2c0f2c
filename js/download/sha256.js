/**
 * SHA-256 of what comes in pieces, for browsers: theirs takes whole buffers only.
 */

/** The first bits of the fractional parts of the roots of the first primes. @param {number} n @param {number} power */
function roots(n, power) {
  const out = new Int32Array(n)
  for (let prime = 2, i = 0; i < n; prime++) {
    let divisor = 2
    while (divisor * divisor <= prime && prime % divisor) divisor++
    if (divisor * divisor <= prime) continue
    const root = prime ** power
    out[i++] = Math.floor((root - Math.floor(root)) * 2 ** 32)
  }
  return out
}

const K = /* @__PURE__ */ roots(64, 1 / 3)

export class Sha256 {
  constructor() {
    this.state = roots(8, 1 / 2)
    this.words = new Int32Array(64)
    this.block = new Uint8Array(64)
    this.filled = 0
    this.length = 0
  }

  /** @param {Uint8Array} bytes */
  update(bytes) {
    this.length += bytes.length
    let at = 0
    if (this.filled > 0) {
      at = Math.min(64 - this.filled, bytes.length)
      this.block.set(bytes.subarray(0, at), this.filled)
      this.filled += at
      if (this.filled < 64) return this
      this.compress(this.block, 0)
    }
    for (; at + 64 <= bytes.length; at += 64) this.compress(bytes, at)
    this.block.set(bytes.subarray(at))
    this.filled = bytes.length - at
    return this
  }

  /** @param {Uint8Array} bytes @param {number} at */
  compress(bytes, at) {
    const { words: w, state: s } = this
    for (let i = 0; i < 16; i++, at += 4) w[i] = bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3]
    for (let i = 16; i < 64; i++) {
      const x = w[i - 15], y = w[i - 2]
      w[i] = w[i - 16] + w[i - 7] + ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3) + ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10) | 0
    }
    let a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7]
    for (let i = 0; i < 64; i++) {
      const t = h + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) + (e & f ^ ~e & g) + K[i] + w[i] | 0
      const u = ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) + (a & b ^ a & c ^ b & c) | 0
      h = g; g = f; f = e; e = d + t | 0
      d = c; c = b; b = a; a = t + u | 0
    }
    s[0] = s[0] + a | 0; s[1] = s[1] + b | 0; s[2] = s[2] + c | 0; s[3] = s[3] + d | 0
    s[4] = s[4] + e | 0; s[5] = s[5] + f | 0; s[6] = s[6] + g | 0; s[7] = s[7] + h | 0
  }

  /** Hexadecimal; nothing can be added any more. */
  digest() {
    const bits = this.length * 8, end = new Uint8Array((this.filled < 56 ? 64 : 128) - this.filled)
    end[0] = 0x80
    new DataView(end.buffer).setUint32(end.length - 8, Math.floor(bits / 2 ** 32))
    new DataView(end.buffer).setUint32(end.length - 4, bits >>> 0)
    this.update(end)
    return Array.from(this.state, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
  }
}

/** Of a whole buffer, by the system's own code, hexadecimal. @param {Uint8Array} bytes */
export async function digest(bytes) {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', /** @type {Uint8Array<ArrayBuffer>} */ (bytes)))
  return Array.from(hash, (b) => b.toString(16).padStart(2, '0')).join('')
}
