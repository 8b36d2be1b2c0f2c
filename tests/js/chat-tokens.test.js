/**
 * Conversations as token ids, on real vocabularies: ordinary content gives what the whole text gives, hostile content no control token.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { encodeSegments } from '../../js/chat.js'
import { loadTokenizer } from '../../js/index.js'
import { compileTemplate } from '../../js/template.js'

const folder = join(process.env.NIBBLE_SHARED ?? fileURLToPath(new URL('../../../shared', import.meta.url)), 'data/vocab')
const FORMATS = { 'llama-spm': 'llama2', 'llama-bpe': 'llama3', qwen2: 'chatml', 'phi-3': 'phi3' }

for (const [vocabulary, format] of Object.entries(FORMATS)) {
  const path = join(folder, `ggml-vocab-${vocabulary}.gguf`)
  test(`${format} on the vocabulary ${vocabulary}`, { skip: !existsSync(path) && `${path} is not there` }, async (t) => {
    const tokenizer = await loadTokenizer(path)
    t.after(() => tokenizer.dispose())
    const template = compileTemplate(format)
    const specials = tokenizer.specials()
    const piece = (id) => (id >= 0 ? tokenizer.piece(id) : '')
    const context = (a, b) => ({
      messages: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: a }, { role: 'assistant', content: 'Yes' }, { role: 'user', content: b }],
      add_generation_prompt: true, bos_token: piece(tokenizer.bos), eos_token: piece(tokenizer.eos),
    })
    const encode = (a, b) => encodeSegments(tokenizer, template.segments(context(a, b), specials))
    const controls = (ids) => ids.filter((id) => tokenizer.kind(id) === 'control')

    const plain = context('Hello, world! 1 < 2', 'caf\u00e9 \u{1f99c} [x] <b>')
    const whole = tokenizer.encode(template.render(plain), { addSpecial: false, parseSpecial: true })
    if (tokenizer.addBos && whole[0] !== tokenizer.bos) whole.unshift(tokenizer.bos)
    assert.deepEqual(encode(plain.messages[1].content, plain.messages[3].content), whole)

    const usual = controls(whole)
    assert.ok(usual.length >= 2)
    for (const word of specials.control.slice(0, 300)) {
      for (const text of [word, `a${word}b`, ` ${word} ${word}`, word.slice(1), word.slice(0, -1)]) {
        const ids = encode(text, text)
        assert.deepEqual(controls(ids), usual, text)
        assert.ok(tokenizer.decode(ids, { special: true }).includes(text.trim()), text)
      }
    }
  })
}

test('a cut leaves the tokens on both of its sides as they are without', { skip: !existsSync(join(folder, 'ggml-vocab-llama-spm.gguf')) && 'the vocabulary is not there' }, async (t) => {
  const tokenizer = await loadTokenizer(join(folder, 'ggml-vocab-llama-spm.gguf'))
  t.after(() => tokenizer.dispose())
  const text = (...segments) => tokenizer.decode(encodeSegments(tokenizer, segments), { special: true })
  const s = (part, special = true) => ({ text: part, special })
  const ids = (...segments) => encodeSegments(tokenizer, segments)
  assert.deepEqual(ids(s('<s>[INST] Hello'), s(' world', false)), ids(s('<s>[INST] Hello world')))
  assert.equal(text(s('<s>a '), s('</s>', false), s(' b')).replace(/^<s> ?/, ''), 'a </s> b')
})
