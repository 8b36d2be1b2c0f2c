// Sessions: a conversation costs what is new in it, goes on wherever it is restored, and whatever happens to a call leaves it usable.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { load } from '../../js/index.js'
import { supports } from '../../js/runtime.js'
import { tinyModel } from './tiny-model.js'
import { trapping } from './trapping-module.js'

/** @typedef {import('../../js/model.js').Model} Model @typedef {import('../../js/index.js').SessionGenerateOptions} Options */

const SHAPE = /** @type {any} */ ({ n_layers: 2, n_vocab: 384, type: 'Q4_0', n_ctx: 2048 })
const bytes = /** @type {Uint8Array} */ (tinyModel(SHAPE))
const SAMPLED = { max_tokens: 12, seed: 5, temperature: 1.1, ignore_eos: true }
const SYSTEM = 'You are the little one.'
const VARIANTS = /** @type {const} */ (['simd128', 'relaxed']).filter(supports)

/** @type {Model} */ let model
before(async () => { model = await load(bytes) })
after(() => model.dispose())

/** @param {string} code @param {RegExp} [message] */
const fails = (code, message = /./) => (/** @type {any} */ error) => {
  assert.equal(error.code, code, error.message)
  assert.match(error.message, message)
  return true
}

/** @param {import('../../js/index.js').ChatCompletion} r */
const said = (r) => r.choices[0].message.content

/** Text that the model says when nothing else may be said, one token a word. @param {Model} of @param {string} word */
const only = (of, word) => ({ logit_bias: { [of.tokenize(word)[0]]: 1000 }, temperature: 0 })

describe('a conversation', () => {
  test('is answered as chat.completions answers it, turn by turn', async () => {
    const session = model.session({ system: SYSTEM })
    const messages = [{ role: 'system', content: SYSTEM }]
    for (const [i, text] of ['Hello world', 'She said that', 'and once more'].entries()) {
      messages.push({ role: 'user', content: text })
      const want = await model.chat.completions.create({ messages, ...SAMPLED, seed: i })
      await session.append(text)
      const got = await session.generate({ ...SAMPLED, seed: i })
      assert.equal(said(got), said(want))
      assert.equal(got.usage.prompt_tokens, want.usage.prompt_tokens)
      messages.push({ role: 'assistant', content: said(got) })
      assert.deepEqual(session.messages, messages)
    }
    await session.dispose()
  })
  test('costs nothing that was evaluated before, whatever is asked of the model in between', async () => {
    const session = model.session({ system: SYSTEM, messages: [{ role: 'user', content: 'the word and the day '.repeat(40) }] })
    const first = await session.generate({ ...only(model, 'a'), max_tokens: 1 })
    assert.deepEqual([first.usage.prompt_tokens_details.cached_tokens, first.timings.prompt_n], [0, first.usage.prompt_tokens])
    await model.completions.create({ prompt: 'Once upon a time', max_tokens: 4 })
    await session.append('Hello')
    const { usage, timings } = await session.generate({ ...only(model, 'a'), max_tokens: 1 })
    const ahead = model.tokenize('<|im_start|>assistant\n', { parseSpecial: true }).length
    assert.deepEqual([timings.prompt_n, usage.prompt_tokens_details.cached_tokens], [ahead, usage.prompt_tokens - ahead], 'append() has evaluated what it added')
    await session.dispose()
  })
  test('is measured before it grows', async () => {
    const session = model.session()
    assert.deepEqual(await session.measure(), { tokens: 0, total: 0, left: 2048 })
    const { tokens, total, left } = await session.measure('Hello world')
    await session.append('Hello world')
    const { usage } = await session.generate({ ...only(model, 'a'), max_tokens: 3 })
    assert.deepEqual([tokens, total, left], [usage.prompt_tokens, usage.prompt_tokens, 2048 - usage.prompt_tokens])
    assert.equal(session.length, session.tokens.length)
    assert.equal(model.detokenize(session.tokens, { special: true }), '<|im_start|>user\nHello world<|im_end|>\n<|im_start|>assistant\naaa')
    const next = await session.measure('x'), whole = await model.chat.completions.encode([...session.messages, { role: 'user', content: 'x' }])
    assert.equal(next.total, whole.length)
    assert.ok(next.tokens < whole.length - usage.prompt_tokens + 1 && next.tokens > 0)
    await session.dispose()
  })
  test('is answered anew, or goes another way, from an earlier message', async () => {
    const session = model.session({ messages: [{ role: 'user', content: 'Hello' }] })
    const first = said(await session.generate(SAMPLED))
    const other = said(await session.generate({ ...SAMPLED, seed: 6 }).finally(() => session.truncate(1)))
    assert.notEqual(first, other)
    assert.equal(session.messages.length, 1)
    assert.equal(said(await session.generate(SAMPLED)), first)
    await session.dispose()
  })
  test('does not fit: nothing changes, and an answer ends where the context does', async () => {
    const session = model.session({ contextLength: 40 })
    assert.equal(session.contextLength, 40)
    await session.append('Hello')
    const { length, messages } = session
    await assert.rejects(session.append('word '.repeat(40)), fails('E_CONTEXT', /holds 40; begin another with the messages that matter/))
    assert.deepEqual([session.length, session.messages], [length, messages])
    const r = await session.generate({ ...SAMPLED, max_tokens: 100 })
    assert.deepEqual([r.choices[0].finish_reason, session.length], ['length', 40])
    for (const stream of [false, true]) await assert.rejects(session.generate(/** @type {any} */ ({ ...SAMPLED, stream })), fails('E_CONTEXT'))
    await session.truncate(1)
    assert.ok(said(await session.generate(SAMPLED)))
    await session.dispose()
  })
})

test('the second turn of a chat of 1,000 tokens evaluates only what is new', async (t) => {
  const messages = [{ role: 'user', content: 'once upon a time there was a little word and '.repeat(60) }]
  const options = { ...only(model, 'a'), max_tokens: 1 }
  const one = await model.chat.completions.create({ messages, ...options })
  assert.ok(one.usage.prompt_tokens > 1000, `${one.usage.prompt_tokens}`)
  messages.push({ role: 'assistant', content: said(one) }, { role: 'user', content: 'Hello' })
  const two = await model.chat.completions.create({ messages, ...options })
  t.diagnostic(`first turn ${one.usage.prompt_tokens} tokens, second ${two.usage.prompt_tokens}, of which ${two.timings.prompt_n} were evaluated`)
  assert.equal(two.usage.prompt_tokens_details.cached_tokens, one.usage.prompt_tokens)
  assert.equal(two.timings.prompt_n, two.usage.prompt_tokens - one.usage.prompt_tokens)
  // Asked again, nothing but the last token, whose logits are needed, and the one before it.
  const again = await model.chat.completions.create({ messages, ...options })
  assert.equal(again.timings.prompt_n, 2)
  const text = await model.completions.create({ prompt: 'Hello', max_tokens: 1 })
  assert.equal(text.usage?.prompt_tokens_details.cached_tokens, 0)
})

describe('clones, and sessions side by side', () => {
  test('a clone goes on as its original does, and neither knows of the other', async () => {
    const session = model.session({ system: SYSTEM })
    await session.append('Hello world')
    const clone = await session.clone()
    assert.deepEqual([clone.messages, clone.tokens, clone.contextLength], [session.messages, session.tokens, session.contextLength])
    const a = await session.generate(SAMPLED)
    await clone.append('and another')
    const b = await clone.generate(SAMPLED)
    assert.notEqual(said(a), said(b))
    assert.equal(clone.messages.length, 4)
    assert.equal(session.messages.length, 3)
    const third = await session.clone()
    await session.dispose()
    await third.truncate(2)
    assert.equal(said(await third.generate(SAMPLED)), said(a))
    await Promise.all([clone.dispose(), third.dispose()])
  })
  test('calls at the same time wait for each other, and give what they give alone', async () => {
    const alone = async (/** @type {string} */ text) => {
      const session = model.session()
      await session.append(text)
      const r = said(await session.generate(SAMPLED))
      await session.dispose()
      return r
    }
    const want = [await alone('Hello'), await alone('She said'), said(await model.chat.completions.create({ messages: [{ role: 'user', content: 'they play' }], ...SAMPLED }))]
    const a = model.session(), b = model.session()
    // Not awaited one by one: a session keeps the order of its calls.
    const appended = [a.append('Hello'), b.append('She said')]
    const got = await Promise.all([a.generate(SAMPLED), b.generate(SAMPLED), model.chat.completions.create({ messages: [{ role: 'user', content: 'they play' }], ...SAMPLED })])
    await Promise.all(appended)
    assert.deepEqual(got.map(said), want)
    await Promise.all([a.dispose(), b.dispose()])
  })
  test('where memory is short, E_NOMEM says so, and what there is goes on', async () => {
    const large = await load(bytes, { threads: 1 })
    /** @type {import('../../js/session.js').Session[]} */
    const sessions = []
    await assert.rejects(async () => {
      for (let i = 0; i < 64; i++) sessions.push(large.session({ contextLength: 2 ** 20 }))
    }, fails('E_NOMEM'))
    assert.ok(sessions.length >= 1)
    await sessions[0].append('Hello')
    await assert.rejects(sessions[0].clone(), fails('E_NOMEM'))
    assert.ok(said(await sessions[0].generate(SAMPLED)))
    await sessions.pop()?.dispose()
    const small = large.session()
    await small.append('Hello')
    assert.ok(said(await small.generate(SAMPLED)))
    await large.dispose()
  })
  test('what was disposed of, or forgotten, is used again', async () => {
    const many = await load(bytes, { threads: 1 })
    const grown = async () => {
      for (let i = 0; i < 20; i++) {
        const session = many.session({ messages: [{ role: 'user', content: 'Hello' }] })
        await session.generate({ max_tokens: 2 })
        await (await session.clone()).dispose()
        await session.dispose()
      }
      return many.info.memory().wasm_bytes
    }
    const after20 = await grown()
    assert.equal(await grown(), after20)
    assert.equal(many.sessions.size, 0)
    await many.dispose()
  })
})

describe('saved', () => {
  test('it goes on with the same tokens: in other variants, on other numbers of threads, in other contexts', async () => {
    const session = model.session({ system: SYSTEM })
    await session.append('Hello world')
    await session.generate(SAMPLED)
    await session.append('and then')
    const saved = await session.save()
    assert.ok(saved instanceof Uint8Array)
    const want = [said(await session.generate(SAMPLED)), [...session.tokens]], ahead = model.tokenize('<|im_start|>assistant\n', { parseSpecial: true }).length
    for (const variant of VARIANTS) {
      for (const [threads, contextLength] of [[1, 2048], [3, 300], [2, 160]]) {
        const other = await load(bytes, { variant, threads })
        const restored = other.session({ contextLength, system: 'nothing of this stays' })
        await restored.append('nor of this')
        await restored.restore(saved)
        assert.equal(restored.length, session.length - SAMPLED.max_tokens - ahead)
        const r = await restored.generate(SAMPLED)
        assert.deepEqual([said(r), [...restored.tokens]], want, `${variant}, ${threads} threads, ${contextLength}`)
        assert.equal(r.timings.prompt_n, ahead + 1, 'the last token is evaluated again, for its logits')
        assert.deepEqual(restored.messages, session.messages)
        await other.dispose()
      }
    }
    await session.dispose()
  })
  test('what is damaged, of another model or too long is refused, and changes nothing', async () => {
    const session = model.session()
    await session.append('Hello world')
    const saved = await session.save()
    const target = model.session({ system: SYSTEM })
    await target.append('She said')
    const before = await target.save()
    const flipped = saved.slice()
    flipped[flipped.length >> 1] ^= 16
    const version = saved.slice()
    version[8]++
    for (const [damaged, code] of /** @type {[Uint8Array, string][]} */ ([
      [new Uint8Array(0), 'E_TRUNCATED'], [saved.subarray(0, 50), 'E_TRUNCATED'], [saved.subarray(0, -1), 'E_TRUNCATED'], [flipped, 'E_INTEGRITY'],
      [version, 'E_UNSUPPORTED'], [bytes.subarray(0, 500), 'E_FORMAT'], [new Uint8Array([...saved, 0]), 'E_FORMAT'],
    ])) await assert.rejects(target.restore(damaged), fails(code))
    await assert.rejects(target.restore(/** @type {any} */ ('bytes')), fails('E_ARGUMENT'))
    // A note that no session writes, in a state that is right by itself.
    for (const note of ['', '{', 'null', '{}', '{"messages":5}', '{"messages":[5]}', '{"messages":[{"role":"user","content":5}]}', '{"messages":[{"role":5}]}']) {
      await assert.rejects(target.restore(session.kept.save(new TextEncoder().encode(note))), fails('E_FORMAT', /messages/), note)
    }
    assert.deepEqual(await target.save(), before)
    const other = await load(/** @type {Uint8Array} */ (tinyModel({ ...SHAPE, seed: 2 })))
    await assert.rejects(other.session().restore(saved), fails('E_UNSUPPORTED', /another model/))
    await assert.rejects(model.session({ contextLength: 8 }).restore(saved), fails('E_CONTEXT', /holds 8/))
    await target.restore(saved.buffer)
    assert.deepEqual(target.messages, session.messages)
    await Promise.all([session.dispose(), target.dispose(), other.dispose()])
  })
})

describe('an answer that is cut off', () => {
  /** @param {(session: import('../../js/session.js').Session) => Promise<string>} cut  returns what was read */
  const cutOff = async (cut) => {
    const session = model.session()
    await session.append('Hello world')
    const whole = said(await (await session.clone()).generate({ ...SAMPLED, max_tokens: 200 }))
    const read = await cut(session)
    const { role, content } = /** @type {any} */ (session.messages.at(-1))
    assert.equal(role, 'assistant')
    assert.equal(content, read)
    assert.ok(whole.startsWith(content) && content.length > 0 && content.length < whole.length)
    await session.append('Go on')
    const fresh = model.session({ messages: [...session.messages] })
    assert.equal(said(await session.generate(SAMPLED)), said(await fresh.generate(SAMPLED)))
    await Promise.all([session.dispose(), fresh.dispose()])
  }
  test('by the signal stays, as far as it went', () => cutOff(async (session) => {
    const controller = new AbortController()
    let text = '', n = 0
    await assert.rejects(async () => {
      for await (const { choices } of await session.generate({ ...SAMPLED, max_tokens: 200, stream: true, signal: controller.signal })) {
        text += choices[0].delta.content
        if (++n === 20) controller.abort()
      }
    }, fails('E_ABORTED'))
    return text
  }))
  test('by leaving the loop, too', () => cutOff(async (session) => {
    let text = '', n = 0
    for await (const { choices } of await session.generate({ ...SAMPLED, max_tokens: 200, stream: true })) {
      text += choices[0].delta.content
      if (++n === 20) break
    }
    return text
  }))
  test('before its first word is none; an append that is cancelled adds nothing', async () => {
    const session = model.session(), controller = new AbortController()
    const holds = await model.completions.create({ prompt: 'x', ignore_eos: true, stream: true })
    await holds.next()
    const waiting = session.append('Hello', { signal: controller.signal })
    setImmediate(() => controller.abort(new Error('enough')))
    await assert.rejects(waiting, fails('E_ABORTED'))
    await holds.return()
    assert.deepEqual(session.messages, [])
    await session.append('Hello')
    await assert.rejects(session.generate({ ...SAMPLED, signal: AbortSignal.abort() }), fails('E_ABORTED'))
    assert.equal(session.messages.length, 1)
    assert.ok(said(await session.generate(SAMPLED)))
    await session.dispose()
  })
  test('by dispose() ends with E_DISPOSED, for whoever waits', async () => {
    const session = model.session({ messages: [{ role: 'user', content: 'Hello' }] })
    const stream = await session.generate({ ...SAMPLED, max_tokens: 500, stream: true })
    await stream.next()
    const waiting = [session.append('x'), session.generate(SAMPLED), session.save()].map((p) => assert.rejects(p, fails('E_DISPOSED', /session/)))
    await session.dispose()
    await Promise.all(waiting)
    await assert.rejects(stream.next(), fails('E_DISPOSED'))
    await assert.rejects(session.append('x'), fails('E_DISPOSED'))
    await assert.rejects(session.measure('x'), fails('E_DISPOSED'))
    await session.dispose()
    assert.equal((await model.completions.create({ prompt: 'Once', max_tokens: 2, ignore_eos: true })).choices[0].tokens.length, 2)
  })
})

test('logprobs, stop and seed are those of chat.completions', async () => {
  const messages = [{ role: 'user', content: 'Hello' }]
  const options = { ...SAMPLED, logprobs: true, top_logprobs: 2, seed: 2n ** 60n, stop: [' zzz'], stream_options: { include_usage: true } }
  const session = model.session({ messages })
  /** @param {AsyncGenerator<any>} stream */
  const all = async (stream) => {
    const chunks = []
    for await (const { id, created, timings, ...chunk } of stream) chunks.push({ ...chunk, usage: chunk.usage && { ...chunk.usage, prompt_tokens_details: undefined } })
    return chunks
  }
  assert.deepEqual(await all(await session.generate({ ...options, stream: true })), await all(await model.chat.completions.create({ ...options, messages, stream: true })))
  await session.dispose()
})

test('what means nothing is refused by name', async () => {
  for (const options of /** @type {any[]} */ ([{ sytem: 'x' }, { system: 5 }, { messages: [{ role: 'user' }] }, { contextLength: 0 }, { contextLength: 2 ** 21 }, 'system'])) {
    assert.throws(() => model.session(options), fails('E_ARGUMENT'), JSON.stringify(options))
  }
  const session = model.session({ messages: [{ role: 'user', content: 'x' }] })
  for (const [options, code] of /** @type {[any, string][]} */ ([
    [{ temprature: 1 }, 'E_ARGUMENT'], [{ messages: [] }, 'E_ARGUMENT'], [{ n: 2 }, 'E_UNSUPPORTED'], [{ tools: [] }, 'E_UNSUPPORTED'], [{ context_overflow: 'slide' }, 'E_UNSUPPORTED'],
    [{ top_p: 2 }, 'E_ARGUMENT'], [{ stop: [''] }, 'E_ARGUMENT'], [{ stream_options: { include_usage: 1 } }, 'E_ARGUMENT'], [{ stream_options: 5 }, 'E_ARGUMENT'],
  ])) {
    for (const stream of [false, true]) await assert.rejects(session.generate({ ...options, stream }), fails(code), JSON.stringify(options))
  }
  await assert.rejects(session.append(/** @type {any} */ ({ content: 'x' })), fails('E_ARGUMENT', /role/))
  await assert.rejects(session.truncate(-1), fails('E_ARGUMENT'))
  assert.equal(session.messages.length, 1)
  await session.dispose()
  await assert.rejects(model.session().generate(), fails('E_ARGUMENT', /at least one/))
  const plain = await load(/** @type {Uint8Array} */ (tinyModel({ ...SHAPE, chatTemplate: '' })))
  assert.throws(() => plain.session(), fails('E_TEMPLATE', /use completions/))
  await plain.dispose()
})

test('a trap in the engine rejects all that waits, and the next load works', async () => {
  const file = readFileSync(new URL('../../dist/nibble-simd128.wasm', import.meta.url))
  for (const name of ['nbw_generation_step', 'nbw_session_eval', 'nb_sampler_free']) {
    const wasm = await WebAssembly.compile(trapping(file, name))
    const broken = await load(bytes, { variant: 'simd128', wasm, threads: 1 })
    const session = broken.session({ messages: [{ role: 'user', content: 'Hello' }] }), other = broken.session()
    const pending = [
      session.generate(SAMPLED), session.append('x'), session.save(), other.append('x').then(() => other.generate(SAMPLED)), broken.completions.create({ prompt: 'x', max_tokens: 4 }),
      broken.logits([5, 6]), broken.chat.completions.create({ messages: [{ role: 'user', content: 'x' }], stream: true }).then(async (stream) => { for await (const _ of stream); }),
    ]
    const failed = await Promise.allSettled(pending)
    // Nothing hangs; what had been done before the trap has its result.
    const codes = failed.map((r) => (r.status === 'rejected' ? r.reason.code : 'done'))
    assert.ok(codes.includes('E_INTERNAL') && codes.every((code) => code === 'E_INTERNAL' || code === 'done'), `${name}: ${codes}`)
    await assert.rejects(broken.completions.create({ prompt: 'x' }), fails('E_INTERNAL', new RegExp(`stopped in ${name}; load the model again`)))
    assert.throws(() => broken.tokenize('x'), fails('E_INTERNAL'))
    await broken.dispose()
    const next = await load(bytes, { variant: 'simd128', threads: 1 })
    assert.equal((await next.completions.create({ prompt: 'x', max_tokens: 4, ignore_eos: true })).usage?.completion_tokens, 4)
    await next.dispose()
  }
})
