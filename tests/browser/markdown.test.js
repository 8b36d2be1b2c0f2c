// Markdown of answers as nodes: what it shows, that it is harmless, and that it may come in pieces.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { openPage, until } from './browser.js'

const { outputFiles: [bundle] } = await build({
  entryPoints: [fileURLToPath(new URL('../../demo/markdown.js', import.meta.url))], bundle: true, format: 'esm', write: false, target: 'es2022', logLevel: 'warning',
})

/** A page with nothing but the program of answers. */
async function openBare() {
  const opened = await openPage({
    path: 'empty',
    routes: {
      '/markdown.js'(_, response) {
        response.setHeader('content-type', 'text/javascript')
        response.end(bundle.contents)
      },
    },
  })
  /**
   * What becomes of a text.
   * @param {string} text @param {number} [piece]  characters that come at a time; all at once by default
   */
  const render = (text, piece = Infinity) => opened.page.evaluate(async ([text, piece]) => {
    const { MarkdownView } = await import(/** @type {any} */ ('/markdown.js'))
    const place = document.createElement('div'), view = new MarkdownView(place)
    for (let at = 0; at < text.length; at += piece) view.append(text.slice(at, at + piece))
    if (text && piece === Infinity && place.childNodes.length === 0) view.append(text)
    document.body.replaceChildren(place)
    return { html: place.innerHTML.replace(/<button.*?<\/button>/g, ''), text: place.textContent ?? '' }
  }, /** @type {const} */ ([text, Math.min(piece, text.length || 1)]))
  return { ...opened, render }
}

const SAMPLE = `# Title

A *poem* with **weight**, ~~errors~~ and \`code <b>\`.
Its second line &amp; an &lt;escape&gt; \\*not this\\*.

## Lists

1. one
2. two
   - deeper
   - deeper still

     with a paragraph

- [x] done
- [ ] to do

> A quote
> of two lines

| a | b |
|:--|--:|
| 1 | **2** |

\`\`\`js
const a = '<i>' // comment

\`\` not the end
\`\`\`

    indented

~~~
other fence
~~~

Setext
------

***

The [end](https://example.org/a?b=1), https://example.org/auto and [ref].

[ref]: https://example.org/ref
`

describe('what is shown', () => {
  test('headings, lists, quotes, tables, code', async () => {
    const { page, render, complaints, close } = await openBare()
    await render(SAMPLE)
    const count = (/** @type {string} */ selector) => page.locator(`body > div ${selector}`).count()
    for (const [selector, n] of /** @type {[string, number][]} */ ([['h3.level-1', 1], ['h3.level-2', 2], ['em', 1], ['strong', 2], ['del', 1], ['ol > li', 2], ['ul > li', 4], ['blockquote', 1], ['table td.right', 1], ['.code', 3], ['hr', 1]])) {
      assert.equal(await count(selector), n, selector)
    }
    assert.equal(await page.locator('.code pre').first().textContent(), "const a = '<i>' // comment\n\n`` not the end")
    assert.equal(await page.locator('.language').first().textContent(), 'js')
    assert.equal(await page.locator('p > code').first().textContent(), 'code <b>')
    const text = await page.locator('body > div').textContent() ?? ''
    for (const part of ['second line & an <escape> *not this*', '☑ done', '☐ to do', 'end (https://example.org/a?b=1), https://example.org/auto and']) assert.ok(text.includes(part), part)
    assert.deepEqual(complaints, [])
    await close()
  })
  test('plain text stays as it was, with its line breaks', async () => {
    const { render, close } = await openBare()
    const text = 'The sea is wide,\nthe sea is deep.\n\nIt sings,\n  and so do I...\n\n"Hello", she said'
    assert.equal((await render(text)).text, text)
    await close()
  })
  test('code is copied without its fence', async () => {
    const { page, context, render, close } = await openBare()
    await context.grantPermissions(['clipboard-read', 'clipboard-write'])
    await render('```py\nprint(1)\n\nprint(2)\n```\nrest')
    await page.click('.copy-code')
    await until(async () => await page.evaluate(() => navigator.clipboard.readText()) === 'print(1)\n\nprint(2)', 'the code in the clipboard')
    assert.equal(await page.innerText('.copy-code'), 'Copied')
    await close()
  })
})

describe('what comes in pieces', () => {
  test('is the same as what comes at once', async () => {
    const { render, close } = await openBare()
    const texts = [SAMPLE, SAMPLE.replace(/\n/g, '\r\n').replaceAll('\r', ''), 'a\n\n```\nnever closed\n``', '````\n```\ninner\n```\n````\nafter', '- a\n- b\n\n  c\n\n\nd', '1. a\n\n   ```js\n   x\n   ```\n2. b\n\nend',
      'a\n===\nb\n---\n', '| a |\n|---|\n| 1 |\n\nafter\n\n| no table', '\n\n\nlate', '[x]: y\n\n[x] and [x][x]', '[x] and ![x]\n\n[x]: y', 'a  \nb\\\nc', '> a\n\n> b\n\nc', '<p>a\n\nb</p>\n\n*c*']
    for (const text of texts) {
      const whole = (await render(text)).html
      for (const piece of [1, 2, 7]) assert.equal((await render(text, piece)).html, whole, JSON.stringify(text.slice(0, 40)))
    }
    await close()
  })
  test('leaves the blocks before the last one alone', async () => {
    const { page, close } = await openBare()
    const same = await page.evaluate(async () => {
      const { MarkdownView } = await import(/** @type {any} */ ('/markdown.js'))
      const place = document.createElement('div'), view = new MarkdownView(place)
      view.append('first paragraph\n\n```\ncode\n')
      const [first, code] = place.children
      for (let i = 0; i < 1000; i++) view.append(`line ${i}\n`)
      view.append('```\n\nlast\n')
      return { first: place.children[0] === first, code: place.children[1] === code, lines: code.querySelector('pre')?.textContent?.split('\n').length, tail: view.tail }
    })
    assert.deepEqual(same, { first: true, code: true, lines: 1001, tail: 'last\n' })
    await close()
  })
})

const HOSTILE = [
  '<script>globalThis.harm = 1</script>', '<img src=x onerror="globalThis.harm = 1">', '<IMG SRC=javascript:alert(1)>', '<svg onload="globalThis.harm = 1"><script>globalThis.harm = 1</script></svg>',
  '<iframe src="https://example.org/"></iframe>', '<style>body { display: none }</style>', '<a href="javascript:globalThis.harm=1">x</a>', '<form action="https://example.org"><input></form>',
  'text <b onmouseover=alert(1)>bold</b> <!-- comment --> <![CDATA[x]]> <?php x ?>', '<details open ontoggle="globalThis.harm = 1">', '<link rel=stylesheet href="https://example.org/x.css">',
  '<meta http-equiv=refresh content="0;url=https://example.org/">', '<base href="https://example.org/">', '<object data="https://example.org/"></object>', '<template><img src=x></template>',
  '[x](javascript:globalThis.harm=1)', '[x](data:text/html,<script>1</script>)', '[x](vbscript:x "title")', '![x](https://example.org/canary.png)', '![x](data:image/png;base64,AAAA "t")', '[![x](https://example.org/a.png)](https://example.org/b)',
  '<https://example.org/auto>', '<javascript:globalThis.harm=1>', 'https://example.org/bare www.example.org a@example.org', '[x]: javascript:globalThis.harm=1\n\n[x]', '```" onload="alert(1)\ncode\n```', '```<img src=x onerror=alert(1)>\n<script>1</script>\n```',
  '| <img src=x onerror=alert(1)> | b |\n|:-:|---|\n| [x](javascript:1) | <b>c</b> |', '# <img src=x onerror=alert(1)>', '- <script>1</script>\n  - ![x](https://example.org/li.png)', '> <iframe></iframe>', '&lt;script&gt;&#x3c;script&#62;', '`<script>`', '__proto__ [__proto__]: x\n\n[__proto__] [constructor]',
]

describe('hostile text', () => {
  test('becomes text: no other elements, no attributes of its own, nothing asked of anybody', async () => {
    const { page, requests, complaints, url, close } = await openPage()
    const turns = HOSTILE.flatMap((content) => [{ role: 'user', content }, { role: 'assistant', content }])
    const conversations = [{ id: 'hostile', title: '<img src=x onerror="globalThis.harm = 1">', created: 1, updated: 2, system: '', turns }]
    await page.setInputFiles('#import', { name: 'hostile.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify({ format: 'nibble-conversations', version: 1, conversations })) })
    await page.keyboard.press('Escape')
    await page.click('#conversations .open')
    await page.waitForFunction((n) => document.querySelectorAll('.message').length === n, turns.length)
    const found = await page.evaluate(() => {
      const elements = [...document.querySelectorAll('.body *')]
      return {
        tags: [...new Set(elements.map((e) => e.localName))].sort(),
        attributes: [...new Set(elements.flatMap((e) => [...e.attributes].map(({ name, value }) => (['class', 'aria-label'].includes(name) ? name : `${name}=${value}`))))].sort(),
        classes: [...new Set(elements.flatMap((e) => [...e.classList]))].sort(),
        harm: /** @type {any} */ (globalThis).harm,
        users: [...document.querySelectorAll('.user .body')].map((e) => e.textContent),
      }
    })
    const { harm, users, ...kinds } = found
    assert.equal(harm, undefined)
    assert.deepEqual(users, HOSTILE)
    assert.deepEqual(kinds, {
      tags: ['blockquote', 'button', 'code', 'div', 'h3', 'li', 'p', 'pre', 'span', 'strong', 'table', 'tbody', 'td', 'th', 'thead', 'tr', 'ul'],
      attributes: ['aria-label', 'class', 'role=region', 'tabindex=0', 'type=button'],
      classes: ['address', 'center', 'code', 'code-bar', 'copy-code', 'language', 'level-1', 'table'],
    })
    const shown = await page.locator('.assistant .body').allTextContents()
    assert.equal(shown[0], HOSTILE[0])
    assert.equal(shown[1], HOSTILE[1])
    assert.equal(shown[15], 'x (javascript:globalThis.harm=1)')
    assert.equal(shown[18], '[Image: x] (https://example.org/canary.png)')
    assert.deepEqual(requests.filter((request) => !request.startsWith(url)), [])
    assert.deepEqual(complaints, [])
    await close()
  })
  test('nested without end, or one endless line, it is shown, whole', async () => {
    const { page, render, complaints, close } = await openBare()
    for (const unit of ['>', '> ', '- ', '* * ', '[', '![](', '*a_ ', '_a', '**a', '`a', '<', '1. a\n', '|', 'a', ' a', '\\', '&lt', '```\n', '#', '[a]:', 'a@', '~', '<!--', '| a ']) {
      const { text } = await render(unit.repeat(9_000 / unit.length), 997)
      assert.ok(text.length > 100 || /^(>|- |\* \* |1\. a|```)/.test(unit), `${JSON.stringify(unit)}: ${text.length}`)
    }
    const deep = Array.from({ length: 60 }, (_, i) => `${' '.repeat(i * 2)}- level ${i}\n`).join('')
    assert.match((await render(deep)).text, /level 59/)
    const depth = await page.evaluate(() => {
      let n = 0
      for (let e = document.querySelector('li:not(:has(li))'); e; e = e.parentElement) n++
      return n
    })
    assert.ok(depth < 40, `${depth}`)
    assert.deepEqual(complaints, [])
    await close()
  })
})
