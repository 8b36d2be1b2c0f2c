/**
 * A thread of the engine: the same module over the same memory, with a stack of its own, that does its share of every job until it is ended.
 * The rest of it is in js/team.js. In browsers this file is the whole program of a worker.
 */

/** @typedef {{module: WebAssembly.Module, memory: WebAssembly.Memory, team: number, index: number, stack: number}} ThreadData */

/** @param {ThreadData} data @param {() => void} tellReady */
export function serve({ module, memory, team, index, stack }, tellReady) {
  /** @type {Record<string, Record<string, WebAssembly.ImportValue>>} */
  const imports = {}
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    imports[from] ??= {}
    imports[from][name] = kind === 'memory' ? memory : () => { throw new WebAssembly.RuntimeError(`the engine called ${name}`) }
  }
  const exports = /** @type {Record<string, Function>} */ (new WebAssembly.Instance(module, imports).exports)
  exports._emscripten_stack_restore(stack)
  tellReady()
  try {
    exports.nb_team_serve(team, index)
  } catch {
    exports.nb_team_abandon(team) // the engine stops with its next job
  }
}

// In a browser; Node's threads begin in node-thread.js.
if ('WorkerGlobalScope' in globalThis) globalThis.onmessage = ({ data }) => serve(data, () => globalThis.postMessage('ready'))
