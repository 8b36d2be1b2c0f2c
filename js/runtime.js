/**
 * One WebAssembly instance of the library: choosing the variant, instantiating it, calling it.
 */
import { NibbleError } from './errors.js'
import { Heap } from './memory.js'
import { loadTeam, node, wasmFile } from './platform.js'

/** The version of the ABI in wasm/exports.txt that this code was written for. */
const ABI_VERSION = 3
const PAGE = 65536
/** Enough for the library's static data and stack (the linker was told to need less); everything else grows. */
const INITIAL_PAGES = 4 * 1024 * 1024 / PAGE
/** Some systems refuse to reserve address space for a large maximum: ask for 4 GiB, then less. */
const MAXIMUM_PAGES = [65536, 32768, 16384, 8192]

/** Codes of nb_status (src/base/status.h), in the order of its numbers. */
const STATUS_CODES = /** @type {const} */ ([
  'OK', 'E_FORMAT', 'E_UNSUPPORTED', 'E_TRUNCATED', 'E_NOMEM', 'E_CONTEXT', 'E_ARGUMENT', 'E_INTEGRITY',
])

/** @typedef {'simd128' | 'relaxed'} Variant  @typedef {Variant | `${Variant}-threads`} ModuleName  @typedef {(name: ModuleName) => Promise<WebAssembly.Module>} Compile */

// Two modules of one function each, () -> v128: what an engine must accept for a variant to run in it.
/** @param {number[]} body */
const probe = (...body) => new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, // magic, version
  1, 5, 1, 0x60, 0, 1, 0x7b, // type: () -> v128
  3, 2, 1, 0, // one function of it
  10, body.length + 4, 1, body.length + 2, 0, ...body, 0x0b,
])
const splat = (/** @type {number} */ value) => [0x41, value, 0xfd, 0x0f] // i32.const value; i8x16.splat
const PROBES = {
  simd128: probe(...splat(1)),
  relaxed: probe(...splat(1), ...splat(1), 0xfd, 0x92, 0x02), // i16x8.relaxed_dot_i8x16_i7x16_s
}

/** @param {Variant} variant */
export const supports = (variant) => WebAssembly.validate(PROBES[variant])

/**
 * The fastest variant this engine accepts.
 * @param {Variant | 'auto'} [wanted]
 * @returns {Variant}
 */
export function chooseVariant(wanted = 'auto') {
  if (wanted === 'auto') {
    if (supports('relaxed')) return 'relaxed'
    wanted = 'simd128'
  } else if (wanted !== 'simd128' && wanted !== 'relaxed') {
    throw new NibbleError('E_ARGUMENT', `there is no variant '${wanted}'; use 'auto', 'simd128' or 'relaxed'`)
  }
  if (!supports(wanted)) {
    throw new NibbleError('E_UNSUPPORTED', `this engine does not run WebAssembly ${wanted === 'relaxed' ? 'relaxed SIMD' : 'SIMD'}; use a newer browser or Node`)
  }
  return wanted
}

/** @param {URL | string} folder @param {string} name */
function inFolder(folder, name) {
  try {
    return new URL(name, String(folder).replace(/\/?$/, '/'))
  } catch (error) {
    throw new NibbleError('E_ARGUMENT', `wasm must be a compiled module or the URL of a folder, not '${folder}'`, { cause: error })
  }
}

/** @type {Map<string, Promise<WebAssembly.Module>>} */
const modules = new Map()

/**
 * Reads and compiles a module, once.
 * @param {ModuleName} name
 * @param {URL | string} [from] where the .wasm files are; the package's own dist/ otherwise
 */
export function compile(name, from) {
  const url = from ? inFolder(from, `nibble-${name}.wasm`) : wasmFile(name)
  const known = modules.get(url.href)
  if (known) return known
  const compiled = compileUrl(url).catch((error) => {
    modules.delete(url.href) // so that a later load may try again
    if (error instanceof NibbleError) throw error
    throw new NibbleError('E_NETWORK', `the engine ${url.href} cannot be read; in a clone, run \`npm run build\` first`, { cause: error })
  })
  modules.set(url.href, compiled)
  return compiled
}

/** @param {URL} url */
async function compileUrl(url) {
  if (node && url.protocol === 'file:') return WebAssembly.compile(await (await node()).readFile(url))
  const response = await fetch(url)
  if (!response.ok) throw new NibbleError('E_NETWORK', `the engine ${url.href} cannot be fetched: HTTP ${response.status}`)
  if (response.headers.get('content-type') === 'application/wasm') return WebAssembly.compileStreaming(response)
  return WebAssembly.compile(await response.arrayBuffer()) // servers that do not know the type
}

/** Thrown by imports that the library never calls in normal work. @param {string} name */
function unexpected(name) {
  return () => {
    throw new WebAssembly.RuntimeError(`the engine called ${name}`)
  }
}

/** @param {Error} [cause] */
const noMemory = (cause) => new NibbleError('E_NOMEM', 'the system grants no memory to WebAssembly; close other tabs or programs', { cause })

export class Engine {
  /**
   * @param {{variant?: Variant | 'auto', wasm?: import('./load.js').EngineOptions['wasm'] | Compile, threads?: number}} [options] wasm: a compiled module, or the
   *   folder that holds the .wasm files; or who compiles them
   */
  static async create({ variant: wanted, wasm, threads = 1 } = {}) {
    const variant = chooseVariant(wanted)
    const shared = threads > 1
    const name = /** @type {ModuleName} */ (shared ? `${variant}-threads` : variant)
    const module = wasm instanceof WebAssembly.Module ? wasm : await (typeof wasm === 'function' ? wasm(name) : compile(name, wasm))
    /** @type {WebAssembly.Memory | undefined} */
    let memory
    for (const maximum of MAXIMUM_PAGES) {
      try {
        memory = new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum, shared })
        break
      } catch (error) {
        if (!(error instanceof RangeError)) throw error
      }
    }
    if (!memory) throw noMemory()
    /** @type {Record<string, Record<string, WebAssembly.ImportValue>>} */
    const imports = {}
    for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
      imports[from] ??= {}
      if (kind === 'memory') imports[from][name] = memory
      else if (kind === 'function') imports[from][name] = name === 'emscripten_notify_memory_growth' ? () => {} : unexpected(name)
    }
    let instance
    try {
      instance = await WebAssembly.instantiate(module, imports)
    } catch (error) {
      if (error instanceof RangeError) throw noMemory(error)
      throw new NibbleError('E_ARGUMENT', 'the module given as wasm is none of this library', { cause: error })
    }
    const engine = new Engine(instance, memory)
    if (shared) await (await loadTeam()).startTeam(engine, module, threads)
    return engine
  }

  /**
   * @param {WebAssembly.Instance} instance
   * @param {WebAssembly.Memory} memory
   */
  constructor(instance, memory) {
    this.heap = new Heap(memory)
    this.dead = /** @type {NibbleError | null} */ (null)
    /** nb_team; 0 where this thread is alone, and how many work at present. */
    this.team = 0
    this.threads = 1
    this.endThreads = () => {}
    /** Told of a trap: nothing that waits will be served. */
    this.onTrap = (/** @type {NibbleError} */ _) => {}
    /** Of the model in it: see recommended(). @type {Partial<import('./options.js').GenerateOptions>} */
    this.sampling = {}
    /** @type {Record<string, Function>} */
    this.exports = /** @type {any} */ (instance.exports)
    this.call('_initialize')
    if (this.call('nbw_abi_version') !== ABI_VERSION) {
      throw new NibbleError('E_UNSUPPORTED', 'the .wasm file and the JavaScript are of different versions; build or deploy both together')
    }
    this.variant = /** @type {string} */ (this.heap.cstring(this.ptr('nbw_variant')))
    this.sums = this.call('nb_matmul_sums_in_32_faster') && this.call('nb_matmul_sums_in_32', 1) ? 32 : 16
    this.error = this.alloc(this.call('nbw_error_bytes'))
    /** 128 bytes, 8-byte aligned, for results passed through pointers; overwritten by the next call that uses it. */
    this.out = this.alloc(128)
  }

  /**
   * Calls a function of the library. A trap means a bug in it: the instance is given up, and every later call fails.
   * @param {string} name
   * @param {...(number | bigint)} args
   * @returns {number}
   */
  call(name, ...args) {
    if (this.dead) throw this.dead
    const f = this.exports[name]
    try {
      return f(...args)
    } catch (error) {
      this.dead = new NibbleError('E_INTERNAL', `the engine stopped in ${name}; load the model again, and report the bug`, { cause: error })
      this.onTrap(this.dead)
      throw this.dead
    }
  }

  /** Like call, for functions that return a pointer: above 2 GiB these would look like negative numbers. @param {string} name @param {...number} args */
  ptr(name, ...args) {
    return this.call(name, ...args) >>> 0
  }

  /** Like call, for functions that return an nb_status and take the error as their last argument. @param {string} name @param {...number} args */
  check(name, ...args) {
    if (this.call(name, ...args, this.error)) this.fail()
  }

  /** Like call, for functions that return an object, or null and fill the error. @param {string} name @param {...number} args */
  make(name, ...args) {
    const ptr = this.ptr(name, ...args, this.error)
    if (!ptr) this.fail()
    return ptr
  }

  /** Throws the error the library has filled in. @returns {never} */
  fail() {
    const code = STATUS_CODES[this.call('nbw_error_status', this.error)]
    const message = this.heap.cstring(this.ptr('nbw_error_message', this.error)) ?? ''
    throw new NibbleError(code === 'OK' ? 'E_INTERNAL' : code, message)
  }

  /** @param {number} bytes */
  alloc(bytes) {
    const ptr = this.ptr('malloc', Math.max(bytes, 1))
    if (!ptr) throw new NibbleError('E_NOMEM', `not enough memory for ${bytes} bytes`)
    return ptr
  }

  /** @param {number} ptr */
  free(ptr) {
    if (ptr && !this.dead) this.call('free', ptr)
  }

  /** @param {number} n  of those that were started */
  useThreads(n) {
    this.call('nb_team_use', this.team, n)
    this.threads = n
  }

  /** Gives up the instance: its memory is freed with the last reference to it. Returns what every later call throws. */
  close() {
    this.dead ??= new NibbleError('E_DISPOSED', 'the model was disposed of; load it again')
    this.endThreads()
    this.exports = {}
    this.heap = new Heap(new WebAssembly.Memory({ initial: 0, maximum: 0 }))
    return this.dead
  }

  /**
   * Copies bytes into the library's memory for the length of a call.
   * @template T
   * @param {Uint8Array} bytes
   * @param {(ptr: number, n: number) => T} use
   * @returns {T}
   */
  withBytes(bytes, use) {
    const ptr = this.alloc(bytes.length)
    try {
      this.heap.bytes(ptr, bytes.length).set(bytes)
      return use(ptr, bytes.length)
    } finally {
      this.free(ptr)
    }
  }
}
