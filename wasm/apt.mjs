/** Debian packages without root: apt works on lists and a cache of its own, and the packages are unpacked, not installed. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run, SetupError, which } from './shell.mjs'

/** What signs Debian's lists; the set-up refuses lists that nobody signed. */
export const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'

/** The first program that is missing for this, or undefined. */
export const missingTool = () => ['apt-get', 'dpkg', 'dpkg-deb', 'tar'].find((tool) => !which(tool))

/**
 * apt-get's options for a state in a folder of its own.
 * @param {string} folder @param {string} [source]  a line of a sources.list; without it, the sources of this machine
 */
function ownState(folder, source) {
  for (const place of ['state/lists/partial', 'cache/archives/partial']) mkdirSync(join(folder, place), { recursive: true })
  writeFileSync(join(folder, 'status'), '')
  if (source) writeFileSync(join(folder, 'sources.list'), `${source}\n`)
  return [
    `Dir::State=${folder}/state`, `Dir::State::status=${folder}/status`, `Dir::Cache=${folder}/cache`, 'Acquire::Languages=none', 'Acquire::Retries=2',
    // With one source, a list that cannot be read is an error; of several, others may do.
    ...(source ? [`Dir::Etc::sourcelist=${folder}/sources.list`, 'Dir::Etc::sourceparts=/dev/null', 'APT::Update::Error-Mode=any'] : []),
    ...(process.getuid?.() === 0 ? ['APT::Sandbox::User=root'] : []), // or apt gives root up for a user who cannot write here
  ].flatMap((option) => ['-o', option])
}

/**
 * The mirrors that apt uses here, most likely Debian's first. They are read from what apt would fetch, since a fresh machine has no lists yet.
 * @param {string} folder
 */
function mirrors(folder) {
  const uris = run('apt-get', [...ownState(folder), 'update', '--print-uris'], { fail: 'apt cannot say which mirror it uses' })
  const sites = [...uris.matchAll(/^'((?!cdrom:|file:)[^']*?)\/dists\/(\w+)\/InRelease'/gm)].map(([, site]) => site).filter((site) => !/security/.test(site))
  return [...new Set(sites)].sort((a, b) => Number(/(?<!linux)\/debian$/.test(b)) - Number(/(?<!linux)\/debian$/.test(a)))
}

/**
 * Downloads packages of a release of Debian from this machine's mirror into a folder.
 * @param {string[]} packages @param {string} release  its code name
 * @param {string} folder  made here; the packages come into its debs/
 * @param {(what: string) => void} progress
 */
export function downloadFrom(release, packages, folder, progress) {
  const candidates = mirrors(folder)
  if (candidates.length === 0) throw new SetupError('apt on this machine names no Debian mirror')
  for (const site of candidates) {
    const options = ownState(folder, `deb [signed-by=${KEYRING}] ${site} ${release} main`)
    progress('reading the list of packages')
    if (site !== candidates.at(-1) && spawnSync('apt-get', [...options, 'update'], { stdio: 'ignore' }).status !== 0) continue
    run('apt-get', [...options, 'update'], { fail: `the list of Debian's packages (${release}) cannot be read; is the network there?` })
    progress('downloading')
    mkdirSync(join(folder, 'debs'), { recursive: true })
    run('apt-get', [...options, 'download', ...packages], { cwd: join(folder, 'debs'), fail: `Debian's packages (${release}) cannot be downloaded; is the network there?` })
    return
  }
}

/**
 * Unpacks the packages that were downloaded into a folder's debs/.
 * @param {string} folder @param {string} target @param {string[]} [leftOut]  patterns of what is not needed
 */
export function unpack(folder, target, leftOut = []) {
  for (const deb of readdirSync(join(folder, 'debs'))) {
    run('sh', ['-c', 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --no-same-owner ' + leftOut.map((p) => `--exclude='${p}'`).join(' '), 'sh', join(folder, 'debs', deb), target],
      { fail: `${deb} cannot be unpacked; is the disk full?` })
  }
}

/**
 * Unpacks one package of the machine's own release into a folder, which then is complete or absent.
 * @param {string} name @param {string} target
 */
export function unpackOwn(name, target) {
  const work = `${target}.part`, apt = join(work, 'apt')
  rmSync(work, { recursive: true, force: true })
  mkdirSync(join(apt, 'debs'), { recursive: true })
  // The machine's own lists do, where it has any.
  const quick = spawnSync('apt-get', [...(process.getuid?.() === 0 ? ['-o', 'APT::Sandbox::User=root'] : []), 'download', name], { cwd: join(apt, 'debs'), stdio: 'ignore' })
  if (quick.status !== 0) {
    const options = ownState(apt)
    run('apt-get', [...options, 'update'], { fail: 'the lists of Debian\'s packages cannot be read; is the network there?' })
    run('apt-get', [...options, 'download', name], { cwd: join(apt, 'debs'), fail: `Debian's ${name} cannot be downloaded; is the network there?` })
  }
  unpack(apt, work)
  rmSync(apt, { recursive: true })
  rmSync(target, { recursive: true, force: true })
  renameSync(work, target)
}
