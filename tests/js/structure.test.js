// The rules of the source tree that a program can check: which way includes point, what kernels may know, how long a file is, and that the
// ABI's list of names is the ABI.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')

/** All files under a folder, as paths from the root. @param {string} folder @param {RegExp} name @returns {string[]} */
function filesOf(folder, name) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`
    if (entry.isDirectory()) return entry.name === 'node_modules' || entry.name === 'vectors' ? [] : filesOf(path, name)
    return name.test(entry.name) ? [path] : []
  }).sort()
}

/** @param {string} path */
const read = (path) => readFileSync(join(root, path), 'utf8')

/** C without its comments and string literals. @param {string} text */
const codeOf = (text) => text.replace(/\/\*[^]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g, ' ')

// From ground to roof: a file includes files of its own folder and of those before it.
const LAYERS = ['base', 'format', 'kernels', 'model', 'text', 'generate', 'quantize']

test('includes in src/ point to the same folder or to one before it', () => {
  const wrong = []
  for (const file of filesOf('src', /\.[ch]$/)) {
    const from = file.split('/')[1]
    for (const [, target] of read(file).matchAll(/^[ \t]*#[ \t]*include[ \t]*"([^"]+)"/gm)) {
      const path = relative(root, join(root, dirname(file), target)).replaceAll('\\', '/'), to = path.split('/')[1]
      if (!path.startsWith('src/')) wrong.push(`${file} includes ${target}, which is outside of src/`)
      else if (file !== 'src/nibble.h') {
        assert.ok(LAYERS.includes(from), `${file}: the folder ${from} is not in the list of this test`)
        if (!LAYERS.includes(to) || LAYERS.indexOf(to) > LAYERS.indexOf(from)) wrong.push(`${file} includes ${target}`)
      }
    }
  }
  assert.deepEqual(wrong, [])
})

test('code outside of src/ reaches the library through src/, and js/ through nothing of it', () => {
  for (const file of filesOf('wasm', /\.[ch]$/)) assert.doesNotMatch(read(file), /#[ \t]*include[ \t]*"(?!\.\.\/src\/)/, file)
  for (const file of filesOf('js', /\.js$/)) assert.doesNotMatch(read(file), /from '\.\.\/(src|tests|demo)\//, file)
})

test('kernels do not know models', () => {
  // The contract of attention counts heads, with the names that dimensions have everywhere.
  const allowed = new Set(['n_heads', 'n_kv_heads', 'head_dim'])
  const found = []
  for (const file of filesOf('src/kernels', /\.[ch]$/)) {
    for (const [name] of codeOf(read(file)).matchAll(/[A-Za-z_]\w*/g)) {
      if (!allowed.has(name) && name.toLowerCase().split('_').some((part) => /^(layer|head|token)s?$/.test(part))) found.push(`${file}: ${name}`)
    }
  }
  assert.deepEqual([...new Set(found)], [])
})

test('a file of more than 500 lines says at its top why', () => {
  const long = ['src', 'js', 'wasm', 'tests', '.ci'].flatMap((folder) => filesOf(folder, /\.(c|h|js|mjs|py|css|html)$/)).filter((file) => {
    const lines = read(file).split('\n')
    return lines.length > 501 && !/\b500 lines\b/.test(lines.slice(0, 12).join('\n'))
  })
  assert.deepEqual(long, [])
})

test('exports.txt and exports_quantize.txt name functions that exist, each once, and all of the glue', () => {
  const listed = (/** @type {string} */ file) => read(file).split('\n').map((line) => line.trim()).filter((line) => /^[a-z]/.test(line))
  /** Names of functions defined in a file: at the start of a line, with a body. @param {string} file */
  const defined = (file) => [...codeOf(read(file)).matchAll(/^(?!static\b)[A-Za-z_][\w \t*]*?\b(nbw?_\w+)\([^;{}]*\)\s*\{/gm)].map((m) => m[1])
  const library = new Set(filesOf('src', /\.c$/).flatMap(defined)), c = ['malloc', 'free']
  const chat = listed('wasm/exports.txt'), quantize = listed('wasm/exports_quantize.txt'), names = [...chat, ...quantize]
  assert.deepEqual(names.filter((name, i) => names.indexOf(name) !== i), [])
  for (const [file, list] of /** @type {[string, string[]][]} */ ([['wasm/glue.c', chat], ['wasm/glue_quantize.c', quantize]])) {
    const glue = defined(file)
    assert.ok(glue.length > 3 && library.size > 50, 'the search for definitions finds them')
    assert.deepEqual(list.filter((name) => !c.includes(name) && !glue.includes(name) && !library.has(name)), [])
    assert.deepEqual(glue.filter((name) => !list.includes(name)), [])
  }
})
