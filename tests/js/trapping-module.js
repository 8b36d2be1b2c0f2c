/**
 * An engine with a bug: its module, in which one exported function is a trap. For tests of what happens then.
 */

/** @param {Uint8Array} bytes */
function reader(bytes) {
  const r = {
    at: 0,
    byte: () => bytes[r.at++],
    u32() { // LEB128
      let value = 0
      for (let shift = 0; ; shift += 7) {
        const b = r.byte()
        value += (b & 127) * 2 ** shift
        if (b < 128) return value
      }
    },
    skip(/** @type {number} */ n) {
      r.at += n
    },
    name() {
      const n = r.u32()
      r.skip(n)
      return new TextDecoder().decode(bytes.subarray(r.at - n, r.at))
    },
  }
  return r
}

/**
 * The same module, but for the body of one function.
 * @param {Uint8Array} module
 * @param {string} name  of the export
 */
export function trapping(module, name) {
  const bytes = module.slice(), r = reader(bytes)
  let imported = 0, index = -1
  for (r.at = 8; r.at < bytes.length;) {
    const section = r.byte(), size = r.u32(), end = r.at + size
    if (section === 2) {
      for (let n = r.u32(); n > 0; n--) {
        r.name()
        r.name()
        const kind = r.byte()
        if (kind === 2) {
          const limits = r.byte()
          r.u32()
          if (limits & 1) r.u32()
        } else if (kind === 0) {
          imported++
          r.u32()
        } else throw new Error(`an import of kind ${kind}`)
      }
    } else if (section === 7) {
      for (let n = r.u32(); n > 0; n--) {
        const found = r.name() === name, kind = r.byte(), at = r.u32()
        if (found && kind === 0) index = at
      }
    } else if (section === 10) {
      if (index < imported) throw new Error(`there is no function ${name}`)
      r.u32()
      for (let i = imported; i < index; i++) r.skip(r.u32())
      const length = r.u32()
      bytes.fill(1, r.at, r.at + length) // nop
      bytes[r.at] = 0 // no locals
      bytes[r.at + 1] = 0 // unreachable: what follows may have any type
      bytes[r.at + length - 1] = 0x0b // end
    }
    r.at = end
  }
  return bytes
}
