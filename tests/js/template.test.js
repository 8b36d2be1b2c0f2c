/**
 * Chat templates: equal to Python's Jinja2 (tests/vectors/make_templates.py), within limits, and apart from user text.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isNibbleError } from '../../js/errors.js'
import { cutSegments } from '../../js/guard.js'
import { NAMED_TEMPLATES } from '../../js/named-templates.js'
import { compileTemplate } from '../../js/template.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const read = (name) => JSON.parse(readFileSync(join(root, 'tests/vectors', name), 'utf8'))
const cases = read('template_cases.json')
const expected = read('templates.json')
const shipped = join(process.env.NIBBLE_SHARED ?? join(root, '../shared'), 'data/templates')
const now = () => new Date(expected.now)

/** The text, or null where the template refuses or fails; any other error fails the test. */
function render(source, context) {
  try {
    return compileTemplate(source, { now }).render(context)
  } catch (error) {
    if (isNibbleError(error) && error.code === 'E_TEMPLATE') return null
    throw error
  }
}

const failsWith = (source, message, context = { messages: [] }) =>
  assert.throws(() => compileTemplate(source).render(context), (error) => {
    assert.ok(isNibbleError(error), error.stack)
    assert.equal(error.code, 'E_TEMPLATE')
    assert.match(error.message, message)
    return true
  })

// Equal to Python

for (const [name, { template, context }] of Object.entries(cases.own)) {
  test(`${name} is what Python makes of it`, () => assert.equal(render(template, context ?? {}), expected.own[name]))
}

for (const [name, results] of Object.entries(expected.shipped)) {
  const path = join(shipped, name)
  test(`${name} gives what Python gives, byte for byte`, { skip: !existsSync(path) && `${path} is not there` }, () => {
    const source = readFileSync(path, 'utf8')
    for (const [key, want] of Object.entries(results)) {
      const text = render(source, cases.conversations[key])
      const got = text === null ? null : [Buffer.byteLength(text), createHash('sha256').update(text).digest('hex')]
      assert.deepEqual(got, want, `${key}: ${text}`)
    }
  })
}

test('nearly every shipped template renders the conversation of the reference', () => {
  const rendered = Object.values(expected.shipped).filter((results) => results.system_three_turns)
  // The rest are for tools alone and refuse to be rendered without, in Python as well.
  assert.deepEqual(Object.keys(expected.shipped).filter((name) => !expected.shipped[name].system_three_turns).map((name) => name.replace(/.*-/, '')),
    ['tool_use.jinja', 'tool_use.jinja', 'tool_use.jinja'])
  assert.ok(rendered.length >= 38)
})

// Limits and attacks

const many = (text, n = 60_000) => text.repeat(n)
const grow = (what, by) => `{% set ns = namespace(s=${what}) %}{% for i in range(100) %}{% set ns.s = ${by} %}{% endfor %}`
const attacks = {
  'a source that is too long': [many('x', 300_000), /characters, the limit is/],
  'nested brackets': [`{{ ${many('(')}1${many(')')} }}`, /nests deeper/],
  'brackets that are never closed': [`{{ ${many('(')}`, /no end/],
  'nested lists': [`{{ ${many('[')}${many(']')} }}`, /nests deeper/],
  'nested dicts': [`{{ ${many('{1:', 40_000)}1${many('}', 40_000)} }}`, /nests deeper/],
  'a row of nots': [`{{ ${many('not ')}1 }}`, /nests deeper/],
  'a row of signs': [`{{ ${many('- ')}1 }}`, /nests deeper/],
  'a row of conditions': [`{{ ${many('1 if 1 else ', 20_000)}1 }}`, /nests deeper/],
  'nested blocks': [`${many('{% if 1 %}', 10_000)}${many('{% endif %}', 10_000)}`, /nests deeper/],
  'nested captures': [`${many('{% set x %}', 10_000)}${many('{% endset %}', 10_000)}`, /nests deeper/],
  'a long sum': [`{{ 1${many('+1')} }}`, /deeper than 800/],
  'a long path': [`{{ a${many('.a')} }}`, /deeper than 800/],
  'a row of calls': [`{{ a${many('()')} }}`, /deeper than 800/],
  'a row of filters': [`{{ 'a'${many('|upper', 30_000)} }}`, /deeper than 800/],
  'a macro that calls itself': ['{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}', /recurses deeper/],
  'a macro that calls itself from a loop': ['{% macro m(n) %}{% for x in [1] %}{{ "a" ~ ("b" ~ m(n + 1)) }}{% endfor %}{% endmacro %}{{ m(1) }}', /recurses deeper/],
  'a call block that calls itself': ['{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}', /recurses deeper/],
  'a huge range': ['{% for i in range(1000000000) %}{% endfor %}', /range\(\) is asked for/],
  'loops in loops': ['{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}', /steps/],
  'a huge product': ['{{ "x" * 1000000000 }}', /characters/],
  'a text that doubles': [grow('"x"', 'ns.s ~ ns.s'), /characters/],
  'a list that doubles': [grow('[1]', 'ns.s + ns.s'), /items/],
  'a list product': ['{{ [1] * 1000000000 }}', /items/],
  'a list with itself in it, many times over': [`${grow('[1]', '[ns.s, ns.s]')}{{ ns.s }}`, /nest|steps|characters/],
  'JSON of shared parts': [`{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson }}`, /steps|characters/],
  'equality of shared parts': ['{% set a = namespace(s=[1], t=[1]) %}{% for i in range(60) %}{% set a.s = [a.s, a.s] %}{% set a.t = [a.t, a.t] %}{% endfor %}{{ a.s == a.t }}', /steps/],
  'a value nested deeply': ['{% set ns = namespace(s=[1]) %}{% for i in range(50000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}', /nests or recurses deeper/],
  'a long output': ['{% for i in range(100000) %}{{ "x" * 1000 }}{% endfor %}', /characters/],
  'replace that multiplies': ['{% set a = "x" * 100000 %}{{ a | replace("x", a) }}', /characters/],
  'join that multiplies': ['{{ range(100000) | join("x" * 100000) }}', /characters/],
  'indent that multiplies': ['{{ ("\\n" * 90000) | indent("x" * 10000, true, true) }}', /characters|steps/],
  'work on a long text, again and again': ['{% set a = "x" * 1000000 %}{% for i in range(100000) %}{% set b = a | upper %}{% endfor %}', /steps/],
  'work on a long list, again and again': ['{% set a = range(100000) %}{% for i in range(100000) %}{% set b = a[::-1] %}{% endfor %}', /steps/],
  'ranges in a loop': ['{% for i in range(100000) %}{% set x = range(100000) %}{% endfor %}', /steps/],
  'a search that takes the product of two lengths': ['{% set a = "a" * 1000000 %}{% set b = "b" ~ "a" * 400000 %}{{ b in a }}', /steps/],
  'JSON of a long text, again and again': ['{% set a = "x" * 1000000 %}{% for i in range(100000) %}{% set b = [a] | tojson %}{% endfor %}', /steps/],
  'a text cut into many': ['{{ ("a" * 8000000).split("a") }}', /steps/],
  'a text of many words': ['{{ ("a " * 4000000).split() }}', /steps/],
  'a text of many lines': ['{{ ("\\n" * 8000000) | indent }}', /steps/],
  'a text of many quotes': ["{{ ('\"' * 8000000) | tojson }}", /steps/],
  'a text that is nearly a number, again and again': ['{% set a = "1" * 1000000 ~ "x" %}{% for i in range(100000) %}{% set b = a | int %}{% endfor %}', /steps/],
  'a call with many arguments': ['{% macro m() %}{% endmacro %}{{ m(*range(100000)) }}', /at '\*'/],
  'a number without end': ['{% set ns = namespace(n=10) %}{% for i in range(400) %}{% set ns.n = ns.n * 10 %}{% endfor %}', /too large/],
  'a fraction without end': ['{% set ns = namespace(n=10.0) %}{% for i in range(400) %}{% set ns.n = ns.n * 10 %}{% endfor %}', /too large/],
  'a break outside of a loop': ['{% break %}', /outside of a loop/],
}
for (const [name, [source, message]] of Object.entries(attacks)) test(`limits: ${name}`, () => failsWith(source, message))

test('values of the caller may not nest without limit', () => {
  let content = 'x'
  for (let i = 0; i < 10_000; i++) content = [content]
  failsWith('{{ messages }}', /nests or recurses deeper/, { messages: content })
})

test('a conversation of two million characters, as long as any context, is far from the limits', () => {
  const messages = Array.from({ length: 400 }, (_, i) => ({ role: i % 2 ? 'assistant' : 'user', content: '<think>x</think>word \u{1f99c} '.repeat(190) }))
  messages.push({ role: 'user', content: 'y'.repeat(600_000) })
  const source = "{% for m in messages %}{% set c = m.content %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1].strip() %}{% endif %}{{ m.role ~ m.content | trim ~ c | tojson }}{% if c[0] == 'y' and c.startswith('y') %}!{% endif %}{% endfor %}"
  assert.ok(compileTemplate(source).render({ messages }).length > 2_000_000)
})

test('a template that refuses says why', () => failsWith("{{ raise_exception('roles must alternate') }}", /refuses these messages: roles must alternate/))
test('an error says what is missing', () => failsWith('{{ messages.nope.more }}', /'nope', which is undefined/))

const unsupported = {
  "{% include 'x' %}": /{% include %}/, '{% with a = 1 %}{{ a }}{% endwith %}': /{% with %}/, '{% raw %}{% endraw %}': /{% raw %}/,
  '{% for x in [1] recursive %}{% endfor %}': /'recursive'/, '{% macro m() %}{{ varargs }}{% endmacro %}': /'varargs'/,
  '{{ 2 ** 3 }}': /'\*\*'/, '{{ 1 < 2 < 3 }}': /'<'/, "{{ '%s' % 'a' }}": /% does not go with a value of type str/, "{{ 'a' 'b' }}": /at 'b'/, "{{ '\\0' }}": /escape \\0/,
  '{{ range(*[1]) }}': /at '\*'/, '{{ range(**{}) }}': /at '\*\*'/, '{{ dict(a=1) }}': /'dict', which/,
  "{{ 'a'.format(1) }}": /'format', which/, "{{ 'a b'.rsplit() }}": /'rsplit', which/, "{{ 'a'.isalpha() }}": /'isalpha', which/, '{{ [1].index(1) }}': /'index', which/, '{{ {}.copy() }}': /'copy', which/,
  "{{ 'a b'.split(none, 1) }}": /maxsplit/, "{{ 'a'.replace('', 'b') }}": /empty string/, "{{ 'a\nb'.splitlines(true) }}": /splitlines\(\) takes 0/,
  '{{ 1.5 | round }}': /filter 'round'/, '{{ [1] | sum }}': /filter 'sum'/, "{{ '%s' | format(1) }}": /filter 'format'/, "{{ [1] | max(attribute='a') }}": /max\(\) takes no argument 'attribute'/,
  "{{ 'a' is upper }}": /test 'upper'/, '{{ 1 is sameas 1 }}': /test 'sameas'/, "{{ strftime_now('%j') }}": /%j/,
}
for (const [source, message] of Object.entries(unsupported)) test(`what Jinja has and chat templates do not is named: ${source}`, () => failsWith(source, message))

const inherited = ['constructor', '__proto__', '__class__', '__defineGetter__', 'toString', 'hasOwnProperty', 'valueOf', 'prototype', 'call', 'apply', 'mro']
for (const name of inherited) {
  test(`what JavaScript objects inherit is not there: ${name}`, () => {
    const values = ["''", '1', '1.5', 'true', 'none', '[]', '()', '{}', 'range', 'namespace()', "''.strip", 'messages', 'messages[0]']
    const source = [`{{ ${name} is defined }}`, ...values.flatMap((v) => [`{{ (${v}).${name} is defined }}`, `{{ (${v})['${name}'] is defined }}`])].join('')
    assert.equal(render(source, { messages: [{ role: 'user', content: 'x' }] }), 'False'.repeat(1 + 2 * values.length))
    for (const use of [`{{ 'a' | ${name} }}`, `{{ 'a' is ${name} }}`, `{{ ['a'] | map('${name}') | list }}`, `{{ ['a'] | select('${name}') | list }}`]) failsWith(use, /there is no (filter|test)/)
  })
}

test('values with names of inherited fields are data', () => {
  const messages = JSON.parse('[{"role": "user", "content": "x", "__proto__": {"a": 1}, "constructor": "c"}]')
  assert.equal(render("{{ messages[0]['__proto__'].a }}{{ messages[0].constructor }}{{ messages[0].toString is defined }}", { messages }), '1cFalse')
})

test('functions and class instances of the caller give their data alone', () => {
  const messages = [{ role: 'user', content: 'x', f: () => 'called' }, new Date(0)]
  assert.equal(render('{{ messages[0].f is defined }}{{ messages[1] }}', { messages }), 'False{}')
})

// Names

test('a template is found by its name, and an unknown name lists what there is', () => {
  const messages = [{ role: 'system', content: 'S' }, { role: 'user', content: ' U ' }, { role: 'assistant', content: 'A' }, { role: 'user', content: 'V' }]
  const context = { messages, add_generation_prompt: true, bos_token: '<s>', eos_token: '</s>' }
  const wanted = {
    chatml: '<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n U <|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n',
    llama3: '<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'
      + 'A<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nV<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
    llama2: '<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]',
    mistral: '<s>[INST] S\n\n U  [/INST] A</s>[INST] V [/INST]',
    gemma: '<s><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n',
    phi3: '<|system|>\nS<|end|>\n<|user|>\n U <|end|>\n<|assistant|>\nA<|end|>\n<|user|>\nV<|end|>\n<|assistant|>\n',
    zephyr: '<|system|>\nS</s>\n<|user|>\n U </s>\n<|assistant|>\nA</s>\n<|user|>\nV</s>\n<|assistant|>\n',
  }
  assert.deepEqual(Object.keys(NAMED_TEMPLATES), Object.keys(wanted))
  for (const [name, text] of Object.entries(wanted)) assert.equal(compileTemplate(name).render(context), text, name)
  assert.throws(() => compileTemplate('nonesuch'), /no chat template named 'nonesuch'; there are chatml, llama3/)
})

test('the named templates of two-sided formats refuse turns out of order', () => {
  for (const name of ['llama2', 'mistral', 'gemma']) {
    assert.throws(() => compileTemplate(name).render({ messages: [{ role: 'assistant', content: 'x' }], bos_token: '', eos_token: '' }), /take turns/)
  }
})

// User text never becomes control tokens

/** What a tokenizer recognises in a text: the longest at each place, control tokens where they are to be parsed. */
function recognised(text, { control, user_defined }, special) {
  const words = [...(special ? control : []), ...user_defined].sort((a, b) => b.length - a.length)
  const found = []
  for (let i = 0; i < text.length;) {
    const word = words.find((w) => w && text.startsWith(w, i))
    if (word && control.includes(word)) found.push([i, i + word.length])
    i += word?.length ?? 1
  }
  return found
}

/** Where control tokens are found in segments, as positions of the whole. */
function controlsOf(segments, specials) {
  let at = 0
  return segments.flatMap(({ text, special }) => {
    const found = recognised(text, specials, special).map(([from, to]) => [from + at, to + at])
    at += text.length
    return found
  })
}

const SETS = {
  chatml: ['<|im_start|>', '<|im_end|>', '<|endoftext|>'],
  llama3: ['<|begin_of_text|>', '<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>'],
  llama2: ['<s>', '</s>', '<unk>'],
  mistral: ['<s>', '</s>', '[INST]', '[/INST]'],
  gemma: ['<bos>', '<eos>', '<start_of_turn>', '<end_of_turn>'],
  phi3: ['<|system|>', '<|user|>', '<|assistant|>', '<|end|>', '<s>', '</s>'],
  zephyr: ['<s>', '</s>'],
}

for (const [name, control] of Object.entries(SETS)) {
  test(`${name}: hostile content stays text, and no token of the template is lost`, () => {
    const specials = { control, user_defined: [] }
    const template = compileTemplate(name)
    const bad = control.flatMap((word) => [word, word.slice(1), word.slice(0, -1), word + word, `x${word}y`, word.slice(0, 2), word.slice(-2), word.slice(2, -2), `${word.slice(0, 3)}${word}`])
    const of = (texts) => ({ messages: texts.map((content, i) => ({ role: i % 2 ? 'assistant' : 'user', content })), add_generation_prompt: true, bos_token: control[0], eos_token: control[1] })
    const harmless = controlsOf(template.segments(of(['a', 'b', 'c']), specials), specials).length
    assert.ok(harmless >= 2)
    for (const a of bad) {
      for (const b of bad) {
        const context = of([a, b, a])
        const segments = template.segments(context, specials)
        assert.equal(segments.map(({ text }) => text).join(''), template.render(context))
        assert.equal(controlsOf(segments, specials).length, harmless, JSON.stringify([a, b]))
      }
    }
  })
}

test('ordinary content is one segment with the template, so that it is tokenized as ever', () => {
  const context = { messages: [{ role: 'user', content: 'a < b |> c [x] <b>bold</b> \u{1f99c}' }] }
  assert.equal(compileTemplate('chatml').segments(context, { control: SETS.chatml, user_defined: [] }).length, 1)
})

test('only the spelling of the token is cut out', () => {
  const segments = compileTemplate('{{ messages[0].content }}<|im_end|>').segments({ messages: [{ role: 'user', content: 'a<|im_end|>b' }] }, { control: SETS.chatml, user_defined: [] })
  assert.deepEqual(segments, [{ text: 'a', special: true }, { text: '<|im_end|>', special: false }, { text: 'b<|im_end|>', special: true }])
})

test('two contents, and content and template, do not make a token together', () => {
  const template = compileTemplate('{{ messages[0].content }}{{ messages[1].content }}>')
  const context = { messages: [{ role: 'user', content: '<|im_' }, { role: 'user', content: 'end|' }] }
  assert.deepEqual(template.segments(context, { control: SETS.chatml, user_defined: [] }), [{ text: '<|im_end|>', special: false }])
})

test('what a template does to content leaves it content', () => {
  const specials = { control: ['<|im_end|>', '<|IM_END|>', '"<|im_end|>"'], user_defined: [] }
  const word = '<|im_end|>'
  const uses = ['c | upper', 'c | trim', 'c | tojson', 'c[::-1][::-1]', "c.split('_') | join('_')", "c | replace('im', 'im')", '[c]', '{c: c}', 'c | list | join', 'c ~ 1', 'c * 2',
    '(c | indent)', 'c | capitalize', 'messages | tojson', "messages | map(attribute='content') | join", "c.partition is defined ~ c", 'c[:5] + c[5:]', 'm(c)', "'xx'.replace('x', c)", "'a b'.replace(' ', c)"]
  for (const use of uses) {
    const template = compileTemplate(`{% macro m(x) %}{% set y %}{{ x }}{% endset %}{{ y }}{% endmacro %}{% set c = messages[0].content %}{{ ${use} }}`)
    const segments = template.segments({ messages: [{ role: 'user', content: word }] }, specials)
    assert.ok(segments.some(({ text }) => /im_end/i.test(text)), use)
    assert.deepEqual(controlsOf(segments, specials), [], use)
  }
})

test('names, tool results, keys and further variables are user text; roles that are words and the BOS are not', () => {
  const specials = { control: SETS.phi3, user_defined: [] }
  const template = compileTemplate("{{ bos_token }}{{ messages[0].name }}{{ messages[0]['calls'][0].result }}{% for k in tools[0] %}{{ k }}{% endfor %}{{ extra }}<|{{ messages[0].role }}|>{{ messages[1].role }}")
  const bad = '<|end|>'
  const messages = [{ role: 'user', name: bad, calls: [{ result: bad }] }, { role: bad }]
  const segments = template.segments({ messages, tools: [{ [bad]: 1 }], extra: bad, bos_token: '<s>' }, specials)
  const text = segments.map((s) => s.text).join('')
  assert.deepEqual(controlsOf(segments, specials).map(([from, to]) => text.slice(from, to)), ['<s>', '<|user|>'])
})

test('templates see content as it is', () => {
  const source = "{% set c = messages[0].content %}{{ c.split('</think>')[-1] if '</think>' in c }}{{ c.startswith('<think>') }}{{ c | length }}"
  const context = { messages: [{ role: 'assistant', content: '<think>a</think>b' }] }
  const segments = compileTemplate(source).segments(context, { control: ['<think>', '</think>'], user_defined: [] })
  assert.deepEqual(segments, [{ text: 'bTrue17', special: true }])
})

test('user-defined tokens are recognised in any text and need no cut', () => {
  const segments = compileTemplate('{{ messages[0].content }}<|im_end|>').segments({ messages: [{ content: '<think>x</think>' }] }, { control: SETS.chatml, user_defined: ['<think>', '</think>'] })
  assert.equal(segments.length, 1)
})

/** xorshift32, so that a failure can be repeated. */
function* random(seed) {
  for (let x = seed; ;) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    yield x >>> 0
  }
}

test('of 20,000 random texts none makes a control token with user text, and none loses one without', () => {
  const numbers = random(2463534242)
  const below = (n) => numbers.next().value % n
  const word = (least, most) => Array.from({ length: least + below(most - least + 1) }, () => 'ab<'[below(3)]).join('')
  for (let round = 0; round < 20_000; round++) {
    const withDefined = round % 2 === 1
    const specials = { control: Array.from({ length: 1 + below(4) }, () => word(1, 4)), user_defined: withDefined ? [word(1, 3)] : [] }
    specials.user_defined = specials.user_defined.filter((w) => !specials.control.includes(w))
    const text = word(0, 24)
    const mask = Array.from(text, () => (below(3) ? '.' : 'u')).join('')
    const segments = cutSegments(text, mask, specials)
    const context = JSON.stringify({ specials, text, mask, segments })
    assert.equal(segments.map((s) => s.text).join(''), text, context)
    const found = controlsOf(segments, specials)
    for (const [from, to] of found) assert.ok(!mask.slice(from, to).includes('u'), context)
    // With user text made unreadable, the tokenizer finds the template's own tokens.
    if (!withDefined) assert.deepEqual(found, recognised(Array.from(text, (c, i) => (mask[i] === 'u' ? '\uffff' : c)).join(''), specials, true), context)
    if (!mask.includes('u')) assert.ok(segments.length <= 1, context)
  }
})
