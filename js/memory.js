/**
 * The linear memory of one WebAssembly instance. Views of it live here alone and are made afresh for every access, because any
 * call into the library may grow the memory and detach older views.
 */

const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder('utf-8', { ignoreBOM: true }) // U+FEFF is a character like others

export class Heap {
  /** @param {WebAssembly.Memory} memory */
  constructor(memory) {
    this.memory = memory
  }

  /** Bytes the instance holds now; WebAssembly memory never shrinks, so this is also its peak. */
  get byteLength() {
    return this.memory.buffer.byteLength
  }

  /**
   * A view, valid until the next call into the library.
   * @param {number} ptr
   * @param {number} n bytes
   */
  bytes(ptr, n) {
    return new Uint8Array(this.memory.buffer, ptr, n)
  }

  /** @param {number} ptr @param {number} n */
  i32(ptr, n) {
    return new Int32Array(this.memory.buffer, ptr, n)
  }

  /** @param {number} ptr @param {number} n */
  u32(ptr, n) {
    return new Uint32Array(this.memory.buffer, ptr, n)
  }

  /** @param {number} ptr @param {number} n */
  f32(ptr, n) {
    return new Float32Array(this.memory.buffer, ptr, n)
  }

  /** @param {number} ptr @param {number} n */
  f64(ptr, n) {
    return new Float64Array(this.memory.buffer, ptr, n)
  }

  /** A string of n bytes of UTF-8. @param {number} ptr @param {number} n */
  string(ptr, n) {
    // The slice also takes the bytes out of shared memory, which TextDecoder refuses in some browsers.
    return decodeUtf8(this.bytes(ptr, n).slice())
  }

  /** A zero-terminated string; null for a null pointer. @param {number} ptr @returns {string | null} */
  cstring(ptr) {
    if (!ptr) return null
    const all = new Uint8Array(this.memory.buffer)
    return this.string(ptr, all.indexOf(0, ptr) - ptr)
  }
}

/**
 * UTF-8 of a text. Lone surrogates become U+FFFD, as in every web API.
 * @param {string} text
 */
export const encodeUtf8 = (text) => utf8.encode(text)

/** Text of UTF-8; what is no character becomes U+FFFD. @param {Uint8Array} bytes */
export const decodeUtf8 = (bytes) => fromUtf8.decode(bytes)
