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
      this.compress(new DataView(this.block.buffer), 0)
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    for (; at + 64 <= bytes.length; at += 64) this.compress(view, at)
    this.block.set(bytes.subarray(at))
    this.filled = bytes.length - at
    return this
  }

  /** Four rounds at a time, so that the words need not change their places in each. @param {DataView} view @param {number} at */
  compress(view, at) {
    const { words: w, state: s } = this
    for (let i = 0; i < 16; i++) w[i] = view.getInt32(at + 4 * i)
    for (let i = 16; i < 64; i++) {
      const x = w[i - 15], y = w[i - 2]
      w[i] = w[i - 16] + w[i - 7] + ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3) + ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10) | 0
    }
    let a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7]
    for (let i = 0; i < 64; i += 4) {
      const t = h + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) + (g ^ e & (f ^ g)) + K[i] + w[i] | 0
      d = d + t | 0
      const A = t + ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) + (a & b ^ c & (a ^ b)) | 0
      const u = g + ((d >>> 6 | d << 26) ^ (d >>> 11 | d << 21) ^ (d >>> 25 | d << 7)) + (f ^ d & (e ^ f)) + K[i + 1] + w[i + 1] | 0
      c = c + u | 0
      const B = u + ((A >>> 2 | A << 30) ^ (A >>> 13 | A << 19) ^ (A >>> 22 | A << 10)) + (A & a ^ b & (A ^ a)) | 0
      const v = f + ((c >>> 6 | c << 26) ^ (c >>> 11 | c << 21) ^ (c >>> 25 | c << 7)) + (e ^ c & (d ^ e)) + K[i + 2] + w[i + 2] | 0
      b = b + v | 0
      const C = v + ((B >>> 2 | B << 30) ^ (B >>> 13 | B << 19) ^ (B >>> 22 | B << 10)) + (B & A ^ a & (B ^ A)) | 0
      const x = e + ((b >>> 6 | b << 26) ^ (b >>> 11 | b << 21) ^ (b >>> 25 | b << 7)) + (d ^ b & (c ^ d)) + K[i + 3] + w[i + 3] | 0
      e = a + x | 0
      h = d; g = c; f = b
      d = A; c = B; b = C
      a = x + ((C >>> 2 | C << 30) ^ (C >>> 13 | C << 19) ^ (C >>> 22 | C << 10)) + (C & B ^ A & (C ^ B)) | 0
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
