/**
 * Jinja source to tokens, as Python's Jinja2 has them with trim_blocks and lstrip_blocks on.
 */
import { fail } from './jinja-values.js'

/** @typedef {{kind: 'data' | 'name' | 'number' | 'string' | 'mark', value: string}} Token  mark: operators, brackets, and {{ }} {% %} */

const TOKEN = /\s*(?:([\p{L}_][\p{L}\p{N}_]*)|(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|("[^"\\]*(?:\\[^][^"\\]*)*"|'[^'\\]*(?:\\[^][^'\\]*)*')|(\/\/|\*\*|[<>=!]=|[-+*/%~<>=()[\]{}.,:|]))/uy
/** @type {Record<string, string>} */
const ESCAPES = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', v: '\v', a: '\x07', '\n': '', '\\': '\\', "'": "'", '"': '"' }

/** @param {string} quoted */
const unescape = (quoted) => quoted.slice(1, -1).replace(/\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|([^]))/g, (all, x, u, c) =>
  (c === undefined ? String.fromCharCode(parseInt(x ?? u, 16)) : /\d/.test(c) ? fail(`the escape ${all} is not supported, write \\x00 to \\xff`) : ESCAPES[c] ?? all))

/** @param {string} source @returns {Token[]} */
export function lex(source) {
  const text = source.replace(/\r\n?/g, '\n').replace(/\n$/, '')
  /** @type {Token[]} */
  const tokens = []
  let at = 0
  const put = (/** @type {Token['kind']} */ kind, /** @type {string} */ value) => tokens.push({ kind, value })
  /** Goes behind what is there. @param {RegExp} pattern */
  const take = (pattern) => {
    pattern.lastIndex = at
    const match = pattern.exec(text)
    if (match) at = pattern.lastIndex
    return match
  }
  for (;;) {
    const from = at
    const tag = take(/\{[{%#]/g)?.[0]
    let data = text.slice(from, tag ? at - 2 : undefined)
    const sign = tag && text[at]
    const line = data.lastIndexOf('\n') + 1
    const lineStart = line > 0 || from === 0 || text[from - 1] === '\n' // a tag may have taken the newline
    if (sign === '-') data = data.trimEnd()
    else if (tag && tag !== '{{' && sign !== '+' && lineStart && !/[^ \t]/.test(data.slice(line))) data = data.slice(0, line)
    if (data) put('data', data)
    if (!tag) return tokens
    if (sign === '-' || (sign === '+' && tag !== '{{')) at++
    if (tag === '{#') {
      const close = text.indexOf('#}', at)
      if (close < 0) fail('a comment has no end')
      at = Math.max(at, close - (/[-+]/.test(text[close - 1]) ? 1 : 0))
      take(/-#\}\s*|\+#\}|#\}\n?/y)
      continue
    }
    put('mark', tag)
    const close = tag === '{{' ? /\s*(?:-\}\}\s*|\}\})/y : /\s*(?:-%\}\s*|\+%\}|%\}\n?)/y
    for (let brackets = 0; brackets > 0 || !take(close);) {
      const rest = text.slice(at, at + 20).trim()
      const [, name, number, string, mark] = take(TOKEN) ?? fail(rest ? `there is something unexpected at '${rest}'` : `a ${tag} has no end`)
      if (name) put('name', name)
      else if (number) put('number', number)
      else if (string) put('string', unescape(string))
      else {
        put('mark', mark)
        if ('([{'.includes(mark)) brackets++
        if (')]}'.includes(mark)) brackets--
      }
    }
    put('mark', tag === '{{' ? '}}' : '%}')
  }
}
