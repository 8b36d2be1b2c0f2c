/**
 * Jinja source to tokens, as Python's Jinja2 has them with trim_blocks and lstrip_blocks on.
 */
import { fail } from './jinja-values.js'

/** @typedef {{kind: 'data' | 'name' | 'number' | 'string' | 'mark', value: string}} Token  mark: operators, brackets, and {{ }} {% %} */

const TOKEN = /\s*(?:([\p{L}_][\p{L}\p{N}_]*)|(\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)|("[^"\\]*(?:\\[^][^"\\]*)*"|'[^'\\]*(?:\\[^][^'\\]*)*')|(\/\/|\*\*|[<>=!]=|[-+*/%~<>=()[\]{}.,:|]))/uy
/** @type {Record<string, string>} */
const ESCAPES = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', v: '\v', a: '\x07', '\n': '' }

/** @param {string} quoted */
const unescape = (quoted) => quoted.slice(1, -1).replace(/\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|([0-7]{1,3})|([^]))/g, (all, x, u, o, c) =>
  c === undefined ? String.fromCharCode(parseInt(x ?? u ?? o, o ? 8 : 16)) : ESCAPES[c] ?? (/[\\'"]/.test(c) ? c : all))

/** @param {string} source @returns {Token[]} */
export function lex(source) {
  const text = source.replace(/\r\n?/g, '\n').replace(/\n$/, '')
  /** @type {Token[]} */
  const tokens = []
  let at = 0
  let lineStart = true // the data that follows begins a line, even where a tag took the newline
  /** Goes behind what ends a tag. @param {RegExp} pattern */
  const end = (pattern) => {
    pattern.lastIndex = at
    const match = pattern.exec(text)
    if (!match) return undefined
    at = pattern.lastIndex
    lineStart = match[0].endsWith('\n')
    return match
  }
  for (const opening = /\{[{%#]/g; ;) {
    opening.lastIndex = at
    const tag = opening.exec(text)?.[0]
    const to = tag ? opening.lastIndex - 2 : text.length
    let data = text.slice(at, to)
    at = to + 2
    const sign = tag ? text[at] : ''
    const line = data.lastIndexOf('\n') + 1
    if (sign === '-') data = data.trimEnd()
    else if (tag && tag !== '{{' && sign !== '+' && (line > 0 || lineStart) && !/[^ \t]/.test(data.slice(line))) data = data.slice(0, line)
    if (data) tokens.push({ kind: 'data', value: data })
    if (!tag) return tokens
    if (sign === '-' || (sign === '+' && tag !== '{{')) at++
    if (tag === '{#') {
      const close = text.indexOf('#}', at)
      if (close < 0) fail('a comment has no end')
      at = text[close - 1] === '-' || text[close - 1] === '+' ? Math.max(at, close - 1) : close
      end(/-#\}\s*|\+#\}|#\}\n?/y)
      continue
    }
    tokens.push({ kind: 'mark', value: tag })
    const close = tag === '{{' ? /\s*(?:-\}\}\s*|\}\})/y : /\s*(?:-%\}\s*|\+%\}|%\}\n?)/y
    for (let brackets = 0; brackets > 0 || !end(close);) {
      TOKEN.lastIndex = at
      const match = TOKEN.exec(text)
      if (!match) {
        const rest = text.slice(at, at + 20).trim()
        return fail(rest ? `there is something unexpected at '${rest}'` : `a ${tag} has no end`)
      }
      at = TOKEN.lastIndex
      const [, name, number, string, mark] = match
      if (name) tokens.push({ kind: 'name', value: name })
      else if (number) {
        // a.0.1 has indices, not a fraction.
        const value = tokens[tokens.length - 1].value === '.' ? number.replace(/\D[^]*/, '') : number
        at -= number.length - value.length
        tokens.push({ kind: 'number', value: value.replace(/_/g, '') })
      } else if (string) tokens.push({ kind: 'string', value: unescape(string) })
      else {
        tokens.push({ kind: 'mark', value: mark })
        if ('([{'.includes(mark)) brackets++
        if (')]}'.includes(mark)) brackets--
      }
    }
    tokens.push({ kind: 'mark', value: tag === '{{' ? '}}' : '%}' })
  }
}
