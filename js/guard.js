/**
 * Keeps what people wrote from becoming control tokens: the rendered text is cut where a tokenizer would find one that is not wholly the template's.
 */

/**
 * @typedef {{text: string, special: boolean}} Segment  control tokens are to be recognised in it where special
 * @typedef {{control: string[], user_defined: string[]}} Specials  spellings; user-defined tokens are recognised in any text
 * @typedef {{next: Map<string, Trie>, kind: '' | 'control' | 'user_defined'}} Trie
 */

/** @param {Specials} specials */
function makeTrie(specials) {
  /** @type {Trie} */
  const root = { next: new Map(), kind: '' }
  for (const kind of /** @type {const} */ (['user_defined', 'control'])) {
    for (const word of specials[kind]) {
      let at = root
      for (const unit of word.split('')) {
        const child = at.next.get(unit) ?? { next: new Map(), kind: '' }
        at.next.set(unit, child)
        at = child
      }
      if (word) at.kind = kind
    }
  }
  return root
}

/** @type {WeakMap<Specials, Trie>} */
const tries = new WeakMap()

/**
 * Goes through the text as the tokenizer does: at each place the longest spelling wins. A control token that has user text in it must not be
 * found, so a segment without control tokens goes from where it begins to where it ends, or to where the next one of the template's own begins.
 * Each segment begins where the tokenizer would begin anew, so that it finds in it what was found here.
 * @param {string} text @param {string} mask  of the same length, 'u' for what is user text @param {Specials} specials
 */
export function cutSegments(text, mask, specials) {
  let trie = tries.get(specials)
  if (!trie) tries.set(specials, (trie = makeTrie(specials)))
  /** @type {Segment[]} */
  const segments = []
  let start = 0 // of the segment in work
  let quiet = 0 // up to here no control token may be recognised: [start, quiet) is such a segment while quiet > start
  const put = (/** @type {number} */ to, /** @type {boolean} */ special) => {
    if (to > start) segments.push({ text: text.slice(start, to), special })
    start = to
  }
  for (let i = 0; i < text.length;) {
    if (quiet > start && i >= quiet) put(i, false)
    // What the tokenizer would take here, which is the longest; and the longest that it may take.
    let longest = 0, allowed = 0, control = false
    for (let at = trie.next.get(text[i]), n = 1, own = true; at; at = at.next.get(text[i + n++])) {
      own &&= mask[i + n - 1] !== 'u'
      if (!at.kind) continue
      longest = n
      if (own || at.kind === 'user_defined') {
        allowed = n
        control = at.kind === 'control'
      }
    }
    const inQuiet = quiet > start
    if (allowed && control && inQuiet) {
      put(i, false)
      if (longest === allowed) quiet = start
    }
    if (longest > allowed) {
      if (!inQuiet) put(i, true)
      if (allowed && control) put(i + allowed, true)
      quiet = Math.max(quiet, i + longest)
    }
    i += allowed || 1
  }
  put(text.length, quiet <= start)
  return segments
}
