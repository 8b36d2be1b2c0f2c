/**
 * Markdown as nodes of the page. marked's lexer tells what a text consists of; the nodes are made here, by createElement and text nodes alone:
 * HTML stays text, images and links become their text and address, and no attribute holds anything of the text.
 *
 * A text that comes in pieces is read again from its last unfinished block on, never as a whole.
 */
import { Lexer } from 'marked'
import { button, element } from './nodes.js'

/** @typedef {import('marked').Token} Token */

/** Characters of an unfinished block that are read again with every piece; what is longer is cut. Hostile texts take time beyond proportion. */
const MOST = 4000
/** Lists and quotes in each other; what is deeper stays as it was written. */
const DEEPEST = 12

const ENTITIES = /** @type {Record<string, string>} */ ({ amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'", nbsp: '\u00a0' })
const plain = (/** @type {string} */ text) => text.replace(/&(amp|lt|gt|quot|#39|nbsp);/g, (_, name) => ENTITIES[name])

/** A link or an image: what it is called, and where it leads. @param {any} token @param {number} depth */
function reference({ type, raw, text, href, tokens }, depth) {
  if (raw === text || raw === `<${text}>`) return text
  if (raw.endsWith(']')) return raw // its address stands elsewhere, perhaps in what is still to come
  const label = type === 'image' ? [`[Image: ${text}]`] : inline(tokens, depth)
  return element('span', '', ...label, element('span', 'address', ` (${href})`))
}

/** @param {Token[] | undefined} tokens @param {number} depth @returns {(Node | string)[]} */
function inline(tokens, depth) {
  return (tokens ?? []).map((/** @type {any} */ token) => {
    if (depth > DEEPEST) return token.raw
    switch (token.type) {
      case 'strong': case 'em': case 'del': return element(token.type, '', ...inline(token.tokens, depth + 1))
      case 'codespan': return element('code', '', token.text)
      case 'br': return document.createElement('br')
      case 'link': case 'image': return reference(token, depth + 1)
      case 'escape': return token.text
      case 'checkbox': return token.checked ? '☑ ' : '☐ '
      case 'text': return token.tokens ? element('span', '', ...inline(token.tokens, depth + 1)) : plain(token.text)
      default: return token.raw // HTML, and what is not known
    }
  })
}

/** @param {string} language @param {Node | string} text */
function codeBlock(language, text) {
  const code = element('code', '', text), pre = element('pre', '', code), label = language.trim().slice(0, 30)
  Object.assign(pre, { tabIndex: 0, role: 'region', ariaLabel: label ? `Code: ${label}` : 'Code' })
  const copy = button('Copy', 'copy-code', () => {
    void navigator.clipboard.writeText(code.textContent ?? '').then(() => {
      copy.textContent = 'Copied'
      setTimeout(() => { copy.textContent = 'Copy' }, 2000)
    }, () => { copy.textContent = 'Not allowed' })
  })
  return { block: element('div', 'code', element('div', 'code-bar', element('span', 'language', label), copy), pre), code }
}

/** @param {any} table @param {number} depth */
function tableOf({ header, rows }, depth) {
  const row = (/** @type {any[]} */ cells, /** @type {string} */ tag) => element('tr', '', ...cells.map(({ tokens, align }) => element(tag, align ?? '', ...inline(tokens, depth))))
  const place = element('div', 'table', element('table', '', element('thead', '', row(header, 'th')), element('tbody', '', ...rows.map((/** @type {any[]} */ cells) => row(cells, 'td')))))
  return Object.assign(place, { tabIndex: 0, role: 'region', ariaLabel: 'Table' })
}

/** @param {Token[]} tokens @param {number} depth @returns {(Node | string)[]} */
function blocks(tokens, depth) {
  return tokens.map((/** @type {any} */ token) => {
    if (depth > DEEPEST) return element('p', '', token.raw)
    switch (token.type) {
      case 'space': return token.raw // invisible, but copied along
      case 'paragraph': return element('p', '', ...inline(token.tokens, depth))
      case 'text': return element('span', '', ...inline(token.tokens ?? [{ type: 'text', text: token.text }], depth)) // of a tight list
      // One level: answers are not what the page's outline is made of.
      case 'heading': return element('h3', `level-${token.depth}`, ...inline(token.tokens, depth))
      case 'hr': return document.createElement('hr')
      case 'code': return codeBlock(token.lang ?? '', token.text).block
      case 'blockquote': return element('blockquote', '', ...blocks(token.tokens, depth + 1))
      case 'checkbox': return token.checked ? '☑ ' : '☐ '
      case 'list': {
        const list = element(token.ordered ? 'ol' : 'ul', token.loose ? 'loose' : '', ...token.items.map((/** @type {any} */ item) => element('li', '', ...blocks(item.tokens, depth + 1))))
        if (token.ordered && Number(token.start) !== 1) /** @type {HTMLOListElement} */ (list).start = Number(token.start)
        return list
      }
      case 'table': return tableOf(token, depth)
      default: return element('p', '', token.raw.trimEnd()) // HTML, and what is not known
    }
  })
}

const FENCE = /^ {0,3}(`{3,}|~{3,})([^\n`]*)\n/

export class MarkdownView {
  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place
    /** What may still change its meaning. */
    this.tail = ''
    /** Nodes of the tail. @type {ChildNode[]} */
    this.open = []
    /** The fenced block that is not closed yet. @type {{text: Text, rest: Text, end: RegExp} | undefined} */
    this.fenced = undefined
  }

  /** @param {string} text */
  append(text) {
    this.tail += text.replace(/\r\n?/g, '\n')
    for (const node of this.open) node.remove()
    this.open = []
    while (this.tail) if (!(this.fenced ? this.readCode() : this.readBlocks())) break
  }

  /** @param {(Node | string)[]} nodes */
  keep(nodes) {
    this.place.append(...nodes)
  }

  /** Lines of code, to the closing fence. Returns whether there is more to read. */
  readCode() {
    const { text, rest, end } = /** @type {NonNullable<typeof this.fenced>} */ (this.fenced)
    const close = end.exec(this.tail), last = close ? close.index : this.tail.lastIndexOf('\n') + 1
    text.appendData(this.tail.slice(0, last))
    this.tail = this.tail.slice(close ? last + close[0].length : last)
    rest.data = close || end.test(`${this.tail}\n`) ? '' : this.tail // which may be the fence
    if (!close) return false
    text.data = text.data.replace(/\n$/, '')
    this.fenced = undefined
    return true
  }

  /** Blocks that nothing can change any more are kept, the last one is shown. Returns whether there is more to read. */
  readBlocks() {
    const fence = FENCE.exec(this.tail)
    if (fence) {
      const text = document.createTextNode(''), rest = document.createTextNode(''), { block, code } = codeBlock(fence[2], text)
      code.append(rest)
      this.fenced = { text, rest, end: new RegExp(`^ {0,3}${fence[1][0]}{${fence[1].length},}[ \\t]*(?=\\n)`, 'm') }
      this.keep([block])
      this.tail = this.tail.slice(fence[0].length)
      return true
    }
    const part = this.tail.slice(0, MOST), tokens = this.lex(part)
    const last = tokens.findLastIndex((/** @type {Token} */ token) => token.type !== 'space'), unread = tokens.slice(Math.max(last, 0)).map((token) => token.raw).join('')
    // The first line behind a block tells whether it is over: `2` may become `2. more of the list`.
    if (last > 0 && unread.includes('\n') && part.endsWith(unread)) {
      this.keep(blocks(tokens.slice(0, last), 0))
      this.tail = this.tail.slice(part.length - unread.length)
      return true
    }
    if (part.length < this.tail.length) { // one block longer than that
      const line = part.lastIndexOf('\n') + 1, cut = line || part.length
      this.keep(line ? blocks(this.lex(part.slice(0, line)), 0) : [element('p', '', part)])
      this.tail = this.tail.slice(cut)
      return true
    }
    this.open = blocks(tokens, 0).map((node) => (typeof node === 'string' ? document.createTextNode(node) : /** @type {ChildNode} */ (node)))
    this.keep(this.open)
    return false
  }

  /** @param {string} text @returns {Token[]} */
  lex(text) {
    try {
      return new Lexer({ gfm: true }).lex(text)
    } catch { // nested deeper than the stack: as it was written
      return [/** @type {any} */ ({ type: 'html', raw: text })]
    }
  }
}
