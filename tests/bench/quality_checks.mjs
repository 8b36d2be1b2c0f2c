/** What the quantizer aims at, told of the rows of quality.mjs. */

/** @typedef {import('./quality.mjs').Row} Row */

/** Files whose sizes differ by less than that have the same types; their headers are not of the same length. */
const HEADER = 2048
/** Programs that round in other places may prefer another token where it is by less than that many nats. */
const SURE = 0.3

/** @param {Row[]} rows @returns {{passed: boolean, text: string}[]} */
export function checks(rows) {
  const ours = (/** @type {string} */ method, /** @type {string} */ type) => rows.find((r) => r.by === 'Nibble' && r.method === method && r.type === type)
  const theirs = (/** @type {string} */ type) => rows.find((r) => r.by === 'llama.cpp' && r.type === type)
  const types = [...new Set(rows.filter((r) => r.by === 'Nibble' && !/^mix|alone$/.test(r.type)).map((r) => r.type))]
  const f = (/** @type {number} */ x) => x.toFixed(5)
  /** @type {{passed: boolean, text: string}[]} */
  const list = []
  /** @param {Row | undefined} a @param {Row | undefined} b @param {string} text @param {boolean} [strict] */
  const below = (a, b, text, strict = true) => {
    if (a && b) list.push({ passed: strict ? a.kld < b.kld : a.kld <= b.kld, text: `${text}: ${f(a.kld)} and ${f(b.kld)} (${a.bytes} and ${b.bytes} bytes)` })
  }
  for (const type of types) {
    below(ours('gptq', type), ours('search, text', type), `${type}: gptq diverges less than the search with the same text`)
    below(ours('search, text', type) ?? ours('search', type), ours('rtn', type), `${type}: the search diverges less than rounding`)
    const native = theirs(type)
    if (!native) continue
    for (const method of ['search', 'gptq']) {
      const own = ours(method, type)
      if (!own) continue
      if (own.bytes > native.bytes + HEADER) list.push({ passed: false, text: `${type}: ${own.bytes} bytes, and llama.cpp's file has ${native.bytes}` })
      below(own, native, `${type}: ${method} diverges less than llama.cpp's file`)
    }
  }
  for (const method of ['search, text', 'gptq']) {
    below(ours(method, 'mix of 4.5 bits'), ours(method, 'Q4_K alone'), `a mix of 4.5 bits, ${method}, diverges less than Q4_K alone`)
    below(ours(method, 'mix of 4.5 bits'), ours(method, 'Q4_1 alone'), `a mix of 4.5 bits, ${method}, diverges no more than Q4_1 alone, the next larger type`, false)
    below(ours(method, "mix in IQ4_XS's bytes"), theirs('Q4_K_M'), `in the bytes of IQ4_XS a mix, ${method}, diverges no more than llama.cpp's Q4_K_M`, false)
  }
  const compared = rows.filter((r) => r.by === 'Nibble' && r.native)
  const other = compared.filter(({ native }) => native && ('why' in native || native.other.some(({ margin }) => margin >= SURE)))
  if (compared.length > 0) {
    const names = other.map((r) => `${r.type} ${r.method}`).join(', ')
    list.push({ passed: other.length === 0, text: `llama.cpp loads all ${compared.length} files and finds the same token the most probable wherever one leads by ${SURE} nats${names && `; not of ${names}`}` })
  }
  return list
}
