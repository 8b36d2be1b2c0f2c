/**
 * Builds the fuzzers with clang (libFuzzer, AddressSanitizer, UndefinedBehaviorSanitizer) and runs them:
 *   npm run fuzz                       all of them, a minute each
 *   npm run fuzz -- NAME [SECONDS]     one of them (gguf, tokenizer, generate, state)
 *   npm run fuzz -- corpus             writes the inputs they start from, tests/fuzz/corpus/<name>
 * What they learn stays in build/fuzz/<name>; an input that breaks something is written to build/fuzz/<name>-findings.
 */
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { simde } from '../../wasm/setup.mjs'
import { root, run, runMain, runShown, say, SetupError, which } from '../../wasm/shell.mjs'

const names = readdirSync(join(root, 'tests/fuzz')).filter((file) => file.endsWith('_fuzz.c')).map((file) => file.slice(0, -'_fuzz.c'.length)).sort()
// An input may take a second (ten times that under the sanitizers on a busy machine) and 256 MiB.
const LIMITS = ['-timeout=10', '-malloc_limit_mb=256', '-rss_limit_mb=1024', '-max_len=16384', '-use_value_profile=1']

/** @param {string} target */
function build(target) {
  if (!which('clang')) throw new SetupError('the fuzzers need clang; on Debian: apt-get install clang')
  simde()
  run('cmake', ['--preset', 'native-fuzz'], { fail: 'CMake did not accept the project' })
  run('cmake', ['--build', '--preset', 'native-fuzz', '--target', target, '-j', '2'], { fail: `${target} did not build` })
  return join(root, 'build/native-fuzz', target)
}

/** @param {string} name @param {number} seconds */
async function fuzz(name, seconds) {
  const program = build(`${name}_fuzz`), learnt = join(root, 'build/fuzz', name), findings = join(root, 'build/fuzz', `${name}-findings`)
  mkdirSync(learnt, { recursive: true })
  mkdirSync(findings, { recursive: true })
  say(`fuzzing ${name} for ${seconds} s`)
  const status = await runShown(program, [learnt, join(root, 'tests/fuzz/corpus', name), `-max_total_time=${seconds}`, `-artifact_prefix=${findings}/`, '-print_final_stats=1', ...LIMITS])
  if (status !== 0) throw new SetupError(`${name}: something broke; the input is in ${findings}. Replay it with ${program} FILE`)
}

await runMain(async () => {
  const [name, seconds = '60'] = process.argv.slice(2)
  if (name === 'corpus') {
    for (const each of names) mkdirSync(join(root, 'tests/fuzz/corpus', each), { recursive: true })
    run(build('corpus_main'), [join(root, 'tests/fuzz/corpus')], { fail: 'the corpus was not written' })
    return
  }
  if (name && !names.includes(name)) throw new SetupError(`there is no fuzzer '${name}'; there are ${names.join(', ')}`)
  if (!(Number(seconds) > 0)) throw new SetupError(`'${seconds}' is no number of seconds`)
  for (const each of name ? [name] : names) await fuzz(each, Number(seconds))
})
