// The command line as people and programs call it: output, JSON, exit status, what it says when something is wrong.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { load } from '../../js/index.js'
import { shared } from './shared.js'
import { serve } from './server.js'
import { tinyModel } from './tiny-model.js'

const CLI = fileURLToPath(new URL('../../js/cli.js', import.meta.url))
const TEXT = fileURLToPath(new URL('../vectors/text.txt', import.meta.url))

/** @type {string} */ let folder
/** @type {string} */ let MODEL
/** @type {string} */ let VOCAB
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nibble-cli-'))
  MODEL = join(folder, 'tiny.gguf')
  VOCAB = join(folder, 'spm.gguf')
  await writeFile(MODEL, /** @type {Uint8Array} */ (tinyModel({ n_layers: 1, n_vocab: 384, type: 'Q8_0' })))
  await writeFile(VOCAB, /** @type {Uint8Array} */ (tinyModel({ n_layers: 1, vocab: 'spm' })))
})
after(() => rm(folder, { recursive: true }))

/**
 * @param {string[]} args @param {{input?: string}} [options]
 * @returns {Promise<{status: number | null, stdout: string, stderr: string}>}
 */
function nibble(args, { input = '' } = {}) {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [CLI, ...args], { maxBuffer: 1 << 26 }, (error, stdout, stderr) =>
      resolve({ status: error ? /** @type {any} */ (error).code : 0, stdout, stderr }))
    child.stdin?.end(input)
  })
}

/** The one object that --json prints, which is all there is on standard output. @param {string[]} args */
async function json(args) {
  const r = await nibble([...args, '--json'])
  assert.equal(r.status, 0, r.stderr)
  assert.equal(r.stdout.trim().split('\n').length, 1)
  return JSON.parse(r.stdout)
}

/** @param {string[]} args @param {number} status @param {RegExp} message */
async function fails(args, status, message) {
  const r = await nibble(args)
  assert.equal(r.status, status, r.stdout + r.stderr)
  assert.match(r.stderr, message)
  assert.doesNotMatch(r.stderr, /\n {4}at /, 'a sentence, no stack')
  return r
}

describe('run', () => {
  test('prints the text alone on standard output, figures on standard error', async () => {
    const r = await nibble(['run', MODEL, 'Hello', '--max-tokens', '8', '--temperature', '0', '--ignore-eos'])
    const j = await json(['run', MODEL, 'Hello', '--max-tokens', '8', '--temperature', '0', '--ignore-eos'])
    assert.equal(r.status, 0)
    assert.equal(r.stdout, `${j.text}\n`)
    assert.match(r.stderr, /^\[length; \d+ prompt tokens at [\d.]+\/s, 8 generated at [\d.]+\/s, [\d.]+ MB of memory; seed \d+\]\n$/)
    assert.equal((await nibble(['run', MODEL, 'Hello', '--max-tokens', '8', '-q'])).stderr, '')
  })
  test('--json has the names of the contract', async () => {
    const j = await json(['run', MODEL, 'Hello', '--max-tokens', '5', '--seed', '7', '--ignore-eos'])
    assert.deepEqual(Object.keys(j).sort(), ['finish_reason', 'memory', 'prompt_tokens', 'seed', 'text', 'timings', 'tokens', 'variant'])
    assert.equal(j.tokens.length, 5)
    assert.equal(j.finish_reason, 'length')
    assert.equal(j.seed, 7)
    for (const key of ['load_s', 'prefill_tps', 'decode_tps']) assert.ok(j.timings[key] > 0, key)
    assert.ok(j.memory.wasm_bytes > 1e6)
  })
  test('a seed gives the same text, as it does in the library', async () => {
    const args = ['run', MODEL, 'Once', '--max-tokens', '12', '--seed', '42', '--temperature', '1.5', '--ignore-eos']
    const [a, b] = [await json(args), await json(args)]
    assert.equal(a.text, b.text)
    const model = await load(MODEL)
    const r = await model.completions.create({ prompt: 'Once', max_tokens: 12, seed: 42, temperature: 1.5, ignore_eos: true })
    await model.dispose()
    assert.deepEqual(r.choices[0].tokens, a.tokens)
    assert.notEqual((await json([...args.slice(0, 5), '--seed', '43', ...args.slice(7)])).text, a.text)
  })
  test('every option of sampling reaches the library', async () => {
    const args = ['run', MODEL, 'x', '--max-tokens', '6', '--ignore-eos', '--top-k', '5', '--top-p', '0.9', '--min-p', '0.01', '--typical-p', '0.9', '--repeat-penalty', '1.1',
      '--repeat-last-n', '-1', '--frequency-penalty', '0.1', '--presence-penalty', '-0.1', '--seed', '1']
    await json(args)
    assert.deepEqual((await json(['run', MODEL, 'x', '--max-tokens', '3', '--ignore-eos', '--logit-bias', '33=1000', '--logit-bias', '34=-inf'])).tokens, [33, 33, 33])
    const stopped = await json(['run', MODEL, 'x', '--max-tokens', '9', '--ignore-eos', '--logit-bias', '33=1000', '--stop', '!!'])
    assert.deepEqual([stopped.text, stopped.finish_reason], ['', 'stop'])
  })
  test('the prompt comes from a file, from standard input, or as a message', async () => {
    const file = join(folder, 'prompt.txt')
    await writeFile(file, 'Hello')
    const options = ['--max-tokens', '4', '--temperature', '0', '--ignore-eos', '-q']
    const direct = (await nibble(['run', MODEL, 'Hello', ...options])).stdout
    assert.equal((await nibble(['run', MODEL, '--file', file, ...options])).stdout, direct)
    assert.equal((await nibble(['run', MODEL, '--file', '-', ...options], { input: 'Hello' })).stdout, direct)
    const chat = await json(['run', MODEL, 'Hello', '--chat', '--system', 'be brief', '--max-tokens', '2'])
    const plain = await json(['run', MODEL, 'Hello', '--max-tokens', '2'])
    assert.ok(chat.prompt_tokens > plain.prompt_tokens + 10)
  })
  test('a model behind a URL', async () => {
    const bytes = readFileSync(MODEL)
    const server = await serve((_, response) => response.writeHead(200, { 'content-length': bytes.length }).end(bytes))
    const j = await json(['run', server.url, 'Hello', '--max-tokens', '2'])
    await server.close()
    assert.equal(j.tokens.length, 2)
  })
  test('Ctrl-C ends it with status 130', { skip: process.platform === 'win32' && 'no signals' }, async () => {
    const child = spawn(process.execPath, [CLI, 'run', MODEL, 'Hello', '--ignore-eos', '--context-overflow', 'slide'], { stdio: ['ignore', 'pipe', 'pipe'] })
    child.stdout.once('data', () => child.kill('SIGINT'))
    child.stdout.resume()
    assert.equal(await new Promise((resolve) => child.on('close', resolve)), 130)
  })
})

describe('chat', () => {
  test('answers each line of input, and keeps the conversation', async () => {
    const r = await nibble(['chat', MODEL, '--max-tokens', '4', '--temperature', '0', '--json'], { input: 'Hello\n\nAgain\n' })
    assert.equal(r.status, 0, r.stderr)
    const { messages } = JSON.parse(r.stdout)
    assert.deepEqual(messages.map((/** @type {any} */ m) => m.role), ['user', 'assistant', 'user', 'assistant'])
    const model = await load(MODEL)
    const c = await model.chat.completions.create({ messages: messages.slice(0, 3), max_tokens: 4, temperature: 0 })
    await model.dispose()
    assert.equal(c.choices[0].message.content, messages[3].content)
  })
  test('commands', async () => {
    const input = ['One', '/reset', '/system be brief', 'Two', '/retry', '/stats', '/help', '/nonsense', '/exit', 'Three', ''].join('\n')
    const r = await nibble(['chat', MODEL, '--max-tokens', '2', '--temperature', '0', '--json'], { input })
    const { messages } = JSON.parse(r.stdout)
    assert.deepEqual(messages.map((/** @type {any} */ m) => m.role), ['user', 'assistant'])
    assert.equal(messages[0].content, 'Two')
    assert.match(r.stderr, /generated at/)
    assert.match(r.stderr, /there is no \/nonsense/)
  })
  test('a model without a chat template', async () => {
    await writeFile(join(folder, 'plain.gguf'), /** @type {Uint8Array} */ (tinyModel({ n_layers: 1, n_vocab: 384, type: 'Q8_0', chatTemplate: '' })))
    await fails(['chat', join(folder, 'plain.gguf')], 1, /has no chat template.*nibble run/)
  })
})

describe('a terminal', () => {
  test('is not steered by what models and files say', { skip: !existsSync('/usr/bin/script') && 'needs script of util-linux' }, async () => {
    const evil = join(folder, 'evil.gguf')
    await writeFile(evil, /** @type {Uint8Array} */ (tinyModel({ n_layers: 1, n_vocab: 384, type: 'Q8_0', metadata: [['evil\x1b[2J', [9, 8], ['\x1b]52;c;x\x07', '\x9b2J']]] })))
    const command = `'${process.execPath}' '${CLI}' inspect '${evil}'`
    const { stdout } = await promisify(execFile)('script', ['-qec', command, '/dev/null'])
    assert.match(stdout, /evil\u241b\[2J = \[\u241b\]52;c;x\u2407, \ufffd2J\]/)
    assert.doesNotMatch(stdout, /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/)
    assert.match((await nibble(['inspect', evil])).stdout, /evil\x1b\[2J/, 'a pipe gets what is there')
    const j = await nibble(['inspect', evil, '--json'])
    assert.doesNotMatch(j.stdout.trim(), /[\0-\x1f\x7f-\x9f]/)
    assert.deepEqual(JSON.parse(j.stdout).metadata['evil\x1b[2J'], ['\x1b]52;c;x\x07', '\x9b2J'])
  })
})

describe('inspect', () => {
  test('for people and for programs', async () => {
    const j = await json(['inspect', MODEL, '--ctx', '64'])
    for (const key of ['architecture', 'parameters', 'bpw', 'n_ctx', 'tensors', 'metadata', 'memory_estimate']) assert.ok(key in j, key)
    assert.equal(j.architecture, 'llama')
    assert.equal(j.n_ctx, 256)
    assert.deepEqual(j.tensors.find((/** @type {any} */ t) => t.name === 'token_embd.weight'), { name: 'token_embd.weight', type: 'Q8_0', shape: [256, 384], bytes: 384 * 256 / 32 * 34 })
    assert.equal(j.metadata['llama.block_count'], 1)
    assert.equal(j.memory_estimate.n_ctx, 64)
    const { stdout } = await nibble(['inspect', MODEL])
    assert.match(stdout, /^tiny-llama-Q8_0: llama, \d+k parameters, 8\.\d\d bits per weight/)
    assert.match(stdout, /token_embd\.weight +Q8_0 +256 x 384/)
  })
})

describe('tokenize', () => {
  test('a text, a file, cases', async () => {
    assert.deepEqual((await json(['tokenize', VOCAB, 'Hello'])).tokens[0], 1)
    const bare = (await json(['tokenize', VOCAB, 'Hello', '--no-special'])).tokens
    assert.notEqual(bare[0], 1)
    const file = join(folder, 'cases.json')
    await writeFile(file, JSON.stringify(['Hello', '', '</s>']))
    assert.deepEqual((await json(['tokenize', VOCAB, '--cases', file, '--no-special', '--parse-special'])).cases, [bare, [], [2]])
    const [, , unparsed] = (await json(['tokenize', VOCAB, '--cases', file, '--no-special'])).cases
    assert.ok(unparsed.length > 1 && !unparsed.includes(2))
    const { tokens } = await json(['tokenize', VOCAB, '--file', TEXT])
    assert.ok(tokens.length > 500)
    assert.match((await nibble(['tokenize', VOCAB, 'Hello'])).stdout, /^ +1 {2}"<s>"\n/)
  })
})

describe('logits', () => {
  test('behind the last token, or every one', async () => {
    const last = await json(['logits', MODEL, '--tokens', '5,6,7', '--top', '4'])
    assert.equal(last.positions.length, 1)
    assert.equal(last.positions[0].pos, 2)
    assert.equal(last.positions[0].top.length, 4)
    const all = await json(['logits', MODEL, '--tokens', '5, 6, 7', '--top', '4', '--all'])
    assert.deepEqual(all.positions.map((/** @type {any} */ p) => p.pos), [0, 1, 2])
    assert.deepEqual(all.positions[2], last.positions[0])
    const whole = await json(['logits', MODEL, '--tokens', '5', '--top', '100000'])
    const sum = whole.positions[0].top.reduce((/** @type {number} */ s, /** @type {[number, number]} */ [, p]) => s + Math.exp(p), 0)
    assert.ok(Math.abs(sum - 1) < 1e-5)
  })
})

describe('template', () => {
  test("renders a model's own, or one in a file", async () => {
    const messages = join(folder, 'messages.json'), file = join(folder, 't.jinja')
    await writeFile(messages, JSON.stringify([{ role: 'user', content: 'Hi' }]))
    await writeFile(file, "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}{{ x }}{{ eos_token }}{% if add_generation_prompt %}>{% endif %}")
    assert.equal((await nibble(['template', MODEL, '--messages', messages])).stdout, '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n')
    assert.equal((await nibble(['template', MODEL, '--messages', messages, '--no-generation-prompt'])).stdout, '<|im_start|>user\nHi<|im_end|>\n')
    assert.equal((await json(['template', file, '--messages', messages, '--bos', '<s>', '--eos', '</s>', '--set', 'x=[1]'])).prompt, '<s>[Hi][1]</s>>')
    await writeFile(file, '{{ raise_exception("no") }}')
    await fails(['template', file, '--messages', messages], 1, /no.*\(E_TEMPLATE\)/)
  })
})

describe('perplexity', () => {
  test('of a text, and against another model', async () => {
    const j = await json(['perplexity', MODEL, '--file', TEXT, '--ctx', '64', '--chunks', '2', '--against', MODEL])
    assert.equal(j.tokens, 2 * 31)
    assert.ok(j.ppl > 1 && j.ppl_error > 0)
    for (const name of ['mean', 'median', 'p99', 'max']) assert.equal(j.kld[name], 0, name)
    assert.equal(j.top1_agreement, 1)
    assert.match((await nibble(['perplexity', MODEL, '--file', TEXT, '--ctx', '64', '--chunks', '1'])).stdout, /^perplexity [\d.]+ ± [\d.]+ \(31 predictions, 1 chunks of 64\)\n$/)
  })
})

describe('bench', () => {
  test('has the names of the contract', async () => {
    const j = await json(['bench', MODEL, '--prompt-tokens', '32', '--gen-tokens', '4', '--repeat', '1'])
    for (const key of ['variant', 'threads', 'load_s', 'prefill_tps', 'decode_tps', 'bandwidth_gbs', 'wasm_bytes']) assert.ok(key in j, key)
    assert.ok(j.threads >= 1)
    assert.ok(['simd128', 'relaxed'].includes(j.variant))
  })
})

describe('what is wrong', () => {
  test('calls', async () => {
    await fails([], 2, /^$/)
    await fails(['walk'], 2, /there is no command 'walk'; the commands are run, chat/)
    await fails(['run', MODEL, 'a', 'b'], 2, /'b' is one argument too many; put quotes/)
    await fails(['run', MODEL, '--temprature', '1'], 2, /--temprature/)
    await fails(['run', MODEL, 'x', '--seed', 'abc'], 2, /--seed takes a whole number, not 'abc'/)
    await fails(['run', MODEL, 'x', '--threads', '99'], 1, /threads must be .*\(E_ARGUMENT\)/)
    await fails(['run', MODEL, 'x', '--logit-bias', 'a'], 2, /ID=NUMBER/)
    await fails(['logits', MODEL], 2, /--tokens is missing/)
    await fails(['tokenize', MODEL], 2, /give one of/)
  })
  test('work', async () => {
    const r = await fails(['run', join(folder, 'none.gguf'), 'x', '--json'], 1, /there is no file .*none\.gguf \(E_ARGUMENT\)/)
    assert.deepEqual(JSON.parse(r.stdout).error.code, 'E_ARGUMENT')
    await fails(['run', TEXT, 'x'], 1, /not a GGUF file.*\(E_FORMAT\)/)
    await fails(['run', MODEL, 'x', '--top-p', '7'], 1, /top_p.*\(E_ARGUMENT\)/)
    await fails(['logits', MODEL, '--tokens', '99999'], 1, /token 99999 .*\(E_ARGUMENT\)/)
    await fails(['run', MODEL, 'x'.repeat(5000), '--ctx', '64'], 1, /context holds 64.*\(E_CONTEXT\)/)
    await fails(['perplexity', MODEL, '--file', '/nowhere'], 1, /there is no file \/nowhere/)
  })
  test('help', async () => {
    const { stdout, status } = await nibble(['--help'])
    assert.equal(status, 0)
    for (const name of ['run', 'chat', 'inspect', 'tokenize', 'logits', 'template', 'perplexity', 'convert', 'bench']) {
      assert.match(stdout, new RegExp(`nibble ${name} `))
      const own = await nibble([name, '--help'])
      assert.equal(own.status, 0)
      assert.match(own.stdout, /--json/)
    }
    assert.match((await nibble(['--version'])).stdout, /^\d+\.\d+\.\d+\n$/)
  })
})

test('a trained model tells its story to the letter', { skip: !existsSync(shared('data/models/stories260K.md')) && 'needs ../shared' }, async () => {
  const file = shared('data/models/stories260K.gguf')
  const story = /-t 0\.0\n([^`]*)\n```/.exec(readFileSync(shared('data/models/stories260K.md'), 'utf8'))?.[1]
  assert.equal((await json(['run', file, '--temperature', '0', '--max-tokens', '256'])).text, story)
})
