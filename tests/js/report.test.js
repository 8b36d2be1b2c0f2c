// Reports of quantization: what stands in them, that nothing in them becomes markup, that what is malformed is refused, and how a browser shows them.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { isNibbleError } from '../../js/index.js'
import { checkReport, reportCsv, reportHtml, reportOf } from '../../js/quantize/report.js'
import { count, escape, figure, html, size, withError } from '../../js/quantize/report/markup.js'
import { tinyModel } from './tiny-model.js'

const HASH = 'ab'.repeat(32)
const KINDS = ['attn_q', 'attn_k', 'attn_v', 'attn_output', 'ffn_gate', 'ffn_up', 'ffn_down']

/** A report with everything that can be in one. @returns {any} */
function full() {
  const tensors = [{ name: 'token_embd.weight', type: 'Q6_K', from: 'F16', shape: [256, 4096], bytes: 860160, bits: 6.5625, method: 'search', relative_error: 2.6e-4 }]
  for (let layer = 0; layer < 3; layer++) {
    tensors.push(.../** @type {any[]} */ (KINDS.map((kind, i) => ({
      name: `blk.${layer}.${kind}.weight`, type: 'Q4_K', from: 'F16', shape: [256, 256], bytes: 36864, bits: 4.5, method: 'gptq', relative_error: 0.005 + i / 1e4, error: 0.003, sensitivity: 0.01 * (layer + 1),
      damping: 0.01, order: 'static 200, groups 56', dead_columns: layer, seconds: 0.5, errors: { search: 0.004, gptq: 0.003 },
    }))))
  }
  const counts = new Array(40).fill(0)
  counts[20] = 900
  counts[25] = 100
  return {
    kind: 'nibble-quantize-report', version: 1, name: 'Q4_K_M gptq', program: 'Nibble 1', input: { name: 'in.gguf', bytes: 1e7, sha256: HASH, parameters: 5e6 },
    output: { name: 'out.gguf', bytes: 3e6, sha256: 'cd'.repeat(32), type: 'Q4_K_M', bpw: 4.9 }, options: { type: 'Q4_K_M', pure: true, 'tensor-type': ['a=b', 'c=d'], none: null },
    tensors, calibration: { text: 'calibration.txt', samples: 256, tokens: 131072, sample_tokens: 512, dead_columns: 21 }, layers: [{ layer: 0, error: 1e-4, seconds: 1 }, { layer: 2, error: 4e-4 }],
    validation: {
      ppl: 10.4, ppl_error: 0.2, tokens: 1000, n_ctx: 512, chunks: 4, kld: { mean: 0.0162, error: 0.00033, median: 0.0126, p90: 0.034, p95: 0.044, p99: 0.078, p999: 0.147, max: 0.43, kind: 'estimate', lower_bound: 0.013 },
      top1_agreement: 0.925, top1_error: 0.003, ref_ppl: 10.3, ppl_ratio: 1.0143, ppl_ratio_error: 0.002, p_rms: 0.034, p_rms_error: 0.001, reference: { kind: 'file', name: 'Original', tokens_sha256: HASH },
      distribution: { quantiles: [[0.1, 0.001], [0.5, 0.0126], [0.99, 0.078], [1, 0.43]], histogram: { from: -6, to: 2, counts } },
      worst: Array.from({ length: 10 }, (_, i) => ({ chunk: 0, position: 300 + i, kld: 0.43 - i / 100, context: `before ${i}`, expected: ' next', p: 0.1, ref_p: 0.6, predicted: { text: ' other', p: 0.5 }, ref_predicted: { text: ' next', p: 0.6 } })),
      loops: { prompts: 16, tokens: 128, looping: 3, ref_looping: 2, added: 2, removed: 1, excess: 1, excess_error: 1.7, repeated: 0.2, ref_repeated: 0.15, repeated_difference: 0.05, repeated_error: 0.02,
        examples: [{ prompt: 'Once', text: ' the the', ref_text: ' there', period: 1 }] },
    },
    gates: { passed: false, tokens: 1000, gates: [
      { name: 'kld', what: 'mean divergence (KL)', kind: 'most', limit: 0.03, value: 0.0162, error: 0.00033, passed: true, sure: true, needed: null, text: 'PASS …' },
      { name: 'loops', what: 'greedy texts that loop', kind: 'most', limit: 0, value: 1, error: 1.7, passed: false, sure: false, needed: 47, text: 'FAIL …' },
    ] },
    timing: { seconds: 100, steps: { encoding: 80, validation: 20 }, memory_bytes: 1e8, threads: 2, variant: 'relaxed', resumed: 0.25 }, warnings: ['rows of 100 do not fit'],
  }
}

describe('the page', () => {
  test('holds the facts: verdict, sizes, hashes, figures, gates, worst predictions, calibration', async () => {
    const page = await reportHtml([full()])
    for (const text of ['✗ FAIL', '✓ PASS', 'too small', 'about 47 would do', '10.0 MB', '3.00 MB', HASH, 'cd'.repeat(32), '0.01620 <span class="soft">± 0.00033', '92.5 %', '+1.43 %', 'before 9<mark> next</mark>', 'calibration.txt', '131,072',
      'Dead columns', 'rows of 100 do not fit', 'tensor-type', 'a=b, c=d', '25 % of it in an earlier run', 'goes round every 1 token<', 'static 200, groups 56', 'Sensitivity', 'All 22 tensors']) {
      assert.ok(page.includes(text), text)
    }
    assert.ok(!page.includes('>none<'), 'options that were not given are left out')
    const passed = full()
    passed.gates.gates.pop()
    passed.gates.passed = true
    assert.ok(!(await reportHtml([passed])).includes('✗ FAIL'))
  })

  test('shows several runs in one table', async () => {
    const other = { ...full(), name: 'Q4_0 rtn' }
    delete other.gates
    const page = await reportHtml([full(), other])
    for (const text of ['<h2>Runs</h2>', '<th>Q4_0 rtn</th>', 'no gates', 'for each run']) assert.ok(page.includes(text), text)
  })

  test('does with the least that a report must have', async () => {
    const { kind, version, input, output, options } = full()
    const page = await reportHtml([{ kind, version, input: { name: input.name, bytes: 0 }, output: { name: output.name, bytes: 0 }, options, tensors: [], warnings: [] }])
    assert.ok(page.includes('Not measured'))
    assert.doesNotMatch(page, /NaN|undefined|Infinity/)
    assert.doesNotMatch(await reportHtml([full()]), /NaN|undefined|Infinity/)
  })

  test('has no script, no handler, no style beside its one sheet, and names no other place', async () => {
    const page = await reportHtml([full()])
    assert.doesNotMatch(page, /<script|\son[a-z]+=|\sstyle=|javascript:|https?:|url\(|@import|<link|<img|<iframe/i)
    assert.equal(page.match(/<style>/g)?.length, 1)
    assert.match(page, /default-src &#39;none&#39;; style-src &#39;sha256-[A-Za-z0-9+/]{43}=&#39;/)
  })

  test('shows text as text, wherever it comes from', async () => {
    const evil = '</style></title><script>alert(1)</script>"\' onload=x &amp;\u202e\u0000'
    /** @param {any} value @returns {any} */
    const poison = (value, key = '') => (Array.isArray(value) ? value.map((item) => poison(item)) : value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, poison(v, k)]))
      : typeof value === 'string' && !/sha256|^kind$/.test(key) ? value + evil : value)
    const report = poison(full())
    report.options[evil] = evil
    report.tensors[0].errors = { [evil]: 1 }
    const page = await reportHtml([report, report])
    assert.doesNotMatch(page, /<script|<\/style><\/title>|\u202e|\0/)
    assert.ok(page.includes('&lt;script&gt;alert(1)'))
    // Every tag that stands in the page is one of those that the page writes, and every attribute's value is closed.
    const tags = new Set([...page.replace(/<style>[^]*?<\/style>/, '').matchAll(/<\/?([^\s>]+)/g)].map(([, tag]) => tag))
    const known = '!doctype html head meta title style body main header section footer div p h1 h2 h3 span b br ul li dl dt dd table thead tbody tr th td figure figcaption details summary mark svg rect text line path circle'.split(' ')
    assert.deepEqual([...tags].filter((tag) => !known.includes(tag)), [])
  })
})

describe('markup', () => {
  test('escapes what is put in, and not twice what is markup', () => {
    assert.equal(String(html`<a title="${'"<&>\''}">${html`<b>${'<'}</b>`}${['x', html`<i>`, null, false]}</a>`), '<a title="&quot;&lt;&amp;&gt;&#39;"><b>&lt;</b>x<i></a>')
    assert.equal(escape('a\u0007\u007f\u2066\ud800b\u{1f600}'), 'a\u2407\u2421\ufffd\ufffdb\u{1f600}')
  })

  test('numbers read well', () => {
    assert.deepEqual([figure(0.0123456), figure(1234.5), figure(0.00001234), figure(-2.5), figure(0)], ['0.0123', '1,235', '1.2e−5', '−2.50', '0'])
    assert.deepEqual([withError(0.016245, 0.000332), withError(12.3, 0), withError(-4, 1.7)], [['0.01624', '0.00033'], ['12.3', '0'], ['−4.0', '1.7']])
    assert.deepEqual([size(999), size(10069056), size(2.5e9)], ['999 B', '10.1 MB', '2.50 GB'])
    assert.deepEqual([count(84660), count(4983552), count(7e9)], ['84,660', '4.98 M', '7.00 B'])
  })
})

test('CSV quotes what needs it, and begins no formula', () => {
  const report = full()
  report.tensors = [{ ...report.tensors[1], name: '=HYPERLINK("x"),\n' }]
  assert.equal(reportCsv([report]).split('\n').slice(0, 1)[0], 'name,from,type,shape,bytes,bits,method,relative_error,error,sensitivity,damping,order,dead_columns,seconds')
  assert.equal(reportCsv([report]).slice(reportCsv([report]).indexOf('\n') + 1), `"'=HYPERLINK(""x""),\n",F16,Q4_K,256x256,36864,4.5,gptq,0.005,0.003,0.01,0.01,"static 200, groups 56",0,0.5\n`)
  assert.match(reportCsv([report, report]), /^run,name.*\nQ4_K_M gptq,/)
})

test('a report that is malformed is refused, and the field named', () => {
  /** @type {[RegExp, (report: any) => void][]} */
  const cases = [
    [/not the report/, (r) => (r.kind = 'x')], [/version 2/, (r) => (r.version = 2)], [/input must be an object/, (r) => delete r.input], [/output\.sha256 must be a SHA-256/, (r) => (r.output.sha256 = '<b>')],
    [/tensors\[3\]\.bytes must be/, (r) => (r.tensors[3].bytes = '1')], [/tensors\[0\]\.shape must be an array/, (r) => (r.tensors[0].shape = 7)], [/tensors\[1\]\.errors\.gptq must be/, (r) => (r.tensors[1].errors.gptq = {})],
    [/options\.x must be/, (r) => (r.options.x = {})], [/validation\.kld\.mean must be a finite number/, (r) => (r.validation.kld.mean = NaN)], [/quantiles must be pairs/, (r) => (r.validation.distribution.quantiles = [])],
    [/histogram does not fit/, (r) => (r.validation.distribution.histogram.counts = [0])], [/histogram does not fit/, (r) => (r.validation.distribution.histogram.to = 1e9)], [/worst\[2\]\.predicted\.text must be/, (r) => (r.validation.worst[2].predicted.text = 5)],
    [/gates\.gates\[0\]\.passed must be a boolean/, (r) => (r.gates.gates[0].passed = 'yes')], [/warnings\[0\] must be a string/, (r) => (r.warnings = [{}])], [/beyond 9999/, (r) => (r.layers[0].layer = 1e9)],
    [/layers\[0\]\.layer must be/, (r) => (r.layers[0].layer = -1)],
  ]
  for (const [message, change] of cases) {
    const report = full()
    change(report)
    assert.throws(() => checkReport(report), (error) => isNibbleError(error) && message.test(error.message), String(message))
  }
  for (const value of [null, 5, 'x', [], {}]) assert.throws(() => checkReport(value), isNibbleError)
  assert.equal(checkReport(full()).name, 'Q4_K_M gptq')
})

test('the result of a run becomes a report', () => {
  const t = { name: 'blk.0.attn_q.weight', shape: [256, 256], from: 'F16', to: 'Q4_K', copied: false, bytes: 36864, bits: 4.5, error: 0.005, weighted_error: 0.003, seconds: 2, searched_error: 0.004, dead_columns: 2, rows_static: 250, rows_groups: 6 }
  const result = { type: 'Q4_K', method: 'gptq', parameters: 65536, bpw: 4.5, seconds: 2, resumed: 0, threads: 1, variant: 'relaxed', memory_bytes: 1, notes: ['n'], tensors: [t, { ...t, copied: true }], calibration: { name: 'c.txt', samples: 8, n_ctx: 64 } }
  const report = checkReport(JSON.parse(JSON.stringify(reportOf({ result, input: { name: 'a', bytes: 2 }, output: { name: 'b', bytes: 1 }, options: {}, steps: { validation: 3 } }))))
  assert.deepEqual(report.tensors[0], { name: t.name, type: 'Q4_K', from: 'F16', shape: [256, 256], bytes: 36864, bits: 4.5, method: 'gptq', seconds: 2, relative_error: 0.005, error: 0.003, dead_columns: 2, order: 'static 250, groups 6', errors: { search: 0.004, gptq: 0.003 } })
  assert.equal(report.tensors[1].method, 'copied')
  assert.deepEqual(report.calibration, { text: 'c.txt', samples: 8, tokens: 512, sample_tokens: 64, dead_columns: 4 })
  assert.equal(report.timing?.seconds, 5)
})

describe('the command line', () => {
  const CLI = fileURLToPath(new URL('../../js/cli.js', import.meta.url)), TEXT = fileURLToPath(new URL('../vectors/text.txt', import.meta.url))
  /** @type {string} */ let folder
  /** @type {(name: string) => string} */
  const at = (name) => join(folder, name)
  /** @param {string[]} args @returns {Promise<{status: number, stdout: string, stderr: string}>} */
  const nibble = (...args) => new Promise((resolve) => {
    execFile(process.execPath, [CLI, ...args], { maxBuffer: 1 << 26 }, (error, stdout, stderr) => resolve({ status: error ? /** @type {any} */ (error).code : 0, stdout, stderr }))
  })
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'nibble-report-'))
    await writeFile(at('in.gguf'), /** @type {Uint8Array} */ (tinyModel({ n_layers: 1, vocab: 'spm', n_ctx: 512 })))
    await writeFile(at('text.txt'), (await readFile(TEXT, 'utf8')).repeat(2))
  })
  after(() => rm(folder, { recursive: true }))

  test('quantizes, validates, reports; report renders what it wrote', async () => {
    const reports = ['html', 'json', 'csv'].flatMap((end) => ['--report', at(`r.${end}`)])
    const r = await nibble('quantize', at('in.gguf'), at('out.gguf'), '--type', 'Q4_0', '--method', 'rtn', '--validation', at('text.txt'), '--validation-chunks', '1', '--gate', 'kld=1e-9', ...reports, '--json')
    assert.equal(r.status, 1, r.stderr)
    const j = JSON.parse(r.stdout)
    assert.equal(j.gate.passed, false)
    assert.equal(j.validation.tokens, 255)
    const report = checkReport(JSON.parse(await readFile(at('r.json'), 'utf8')))
    assert.equal(report.input.name, 'in.gguf')
    assert.equal(report.validation?.reference?.model_sha256, report.input.sha256)
    assert.match(report.output.sha256 ?? '', /^[0-9a-f]{64}$/)
    assert.equal(await readFile(at('r.html'), 'utf8'), await reportHtml([report]))
    assert.equal(await readFile(at('r.csv'), 'utf8'), reportCsv([report]))
    const again = await nibble('report', at('r.json'), at('r.json'), '--name', 'one', '-o', at('again.html'), '--csv', at('again.csv'))
    assert.equal(again.status, 0, again.stderr)
    assert.ok((await readFile(at('again.html'), 'utf8')).includes('<th>one</th>'))
  })

  test('says what is wrong', async () => {
    for (const [status, message, ...args] of /** @type {[number, RegExp, ...string[]][]} */ ([
      [2, /-o or --csv is missing/, 'report', at('in.gguf')], [1, /is not JSON.*E_ARGUMENT/, 'report', at('text.txt'), '-o', at('x.html')], [2, /--gate needs --validation/, 'quantize', at('in.gguf'), at('o.gguf'), '--type', 'Q4_0', '--gate', 'default'],
      [2, /ends in \.html, \.json or \.csv/, 'quantize', at('in.gguf'), at('o.gguf'), '--type', 'Q4_0', '--report', 'x.pdf'], [2, /is not a reference file/, 'quantize', at('in.gguf'), at('o.gguf'), '--type', 'Q4_0', '--against', at('in.gguf')],
      [1, /its folder does not exist.*E_ARGUMENT/, 'report', at('r.json'), '-o', at('none/x.html')],
    ])) {
      const r = await nibble(...args)
      assert.equal(r.status, status, r.stderr)
      assert.match(r.stderr, message)
    }
  })
})
