/** Running other programs for the set-up, the build and the tests, and talking about it. */
import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of the project. */
export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '')

/** A failure that is explained in one sentence; nothing else is printed for it. */
export class SetupError extends Error {}

/** One line of progress. @param {string} text */
export const say = (text) => console.error(`• ${text}`)

/** The path of a program, or undefined. @param {string} name */
export function which(name) {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder || '.', name)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {}
  }
  return undefined
}

/**
 * Runs a program to its end; its output is shown only when it fails.
 * @param {string} command @param {string[]} args
 * @param {{cwd?: string, env?: NodeJS.ProcessEnv, fail: string}} options  fail: the sentence for a failure
 */
export function run(command, args, { cwd = root, env = process.env, fail }) {
  const r = spawnSync(command, args, { cwd, env, encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'pipe'] })
  if (r.error || r.status !== 0) {
    const output = `${r.stdout ?? ''}${r.stderr ?? ''}`.trim().split('\n').slice(-40).join('\n')
    if (output) console.error(output)
    throw new SetupError(`${fail} (${r.error ? r.error.message : `${command} ended with ${r.status ?? r.signal}`})`)
  }
  return r.stdout
}

/**
 * Runs a program with its output shown; resolves to its exit status.
 * @param {string} command @param {string[]} args
 * @param {{cwd?: string, env?: NodeJS.ProcessEnv, onLine?: (line: string) => void}} [options]  onLine: called with every line of standard output
 * @returns {Promise<number>}
 */
export function runShown(command, args, { cwd = root, env = process.env, onLine } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', onLine ? 'pipe' : 'inherit', 'inherit'] })
    let rest = ''
    child.stdout?.setEncoding('utf8').on('data', (text) => {
      process.stdout.write(text)
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) onLine?.(line)
    })
    child.on('error', reject)
    child.on('close', (code) => {
      if (rest) onLine?.(rest)
      resolve(code ?? 1)
    })
  })
}

/** The sentence for what the disk refuses, or undefined for other errors. @param {NodeJS.ErrnoException} error */
function fileTrouble({ code, path }) {
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'the disk is full; the set-up and the build need 2 GB'
  if (code === 'EROFS' || ((code === 'EACCES' || code === 'EPERM') && path)) return `${path ?? root} cannot be written: make this folder writable for you, or copy it to one that is`
  return undefined
}

/**
 * Runs a main function: its failures become one sentence and exit status 1.
 * @param {() => Promise<void>} main
 */
export async function runMain(main) {
  try {
    await main()
  } catch (error) {
    const sentence = error instanceof SetupError ? error.message : fileTrouble(/** @type {NodeJS.ErrnoException} */ (error))
    console.error(sentence ? `\n✗ ${sentence}` : error)
    process.exitCode = 1
  }
}
