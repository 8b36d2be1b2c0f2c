/**
 * The headers that keep the page private, file by file: sent by `npm start` (server.mjs), and put in by the page's service worker (sw.js) where a host sends none.
 */

/** The page talks to nobody: it has a worker fetch the model. Its one Trusted Types policy lets it start its workers. */
const PAGE_POLICY = [
  "default-src 'none'", "script-src 'self'", "worker-src 'self'", "connect-src 'none'", "style-src 'self'", "img-src 'self'", "manifest-src 'self'", "base-uri 'none'", "form-action 'none'",
  "frame-ancestors 'none'", "require-trusted-types-for 'script'", 'trusted-types nibble',
].join('; ')

/** Models come from this server, any host with https, or a server on this machine. */
const MODEL_HOSTS = "connect-src 'self' https: http://localhost:* http://127.0.0.1:*"

/** A worker obeys the policy of its own response. This one is told what is said to the model, and talks to nobody: it is handed all it works on. */
const WORKER_POLICY = [
  "default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "connect-src 'none'", "base-uri 'none'", "worker-src 'self'", "require-trusted-types-for 'script'",
  'trusted-types nibble-thread',
].join('; ')

/** This one compiles the engine and fetches the model that was asked for; it is never told what is said to one. */
const FETCH_WORKER_POLICY = ["default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", MODEL_HOSTS, "base-uri 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'"].join('; ')

/** That of the quantizer does both, and is told nothing but how to quantize. */
const QUANTIZE_WORKER_POLICY = WORKER_POLICY.replace("connect-src 'none'", MODEL_HOSTS)

/** A thread of the engine is handed all it works on. */
const THREAD_POLICY = ["default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "require-trusted-types-for 'script'", "trusted-types 'none'"].join('; ')

/** Keeps what the page is made of, which it gets from this server. */
const SERVICE_POLICY = ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "require-trusted-types-for 'script'", "trusted-types 'none'"].join('; ')

/** @type {Record<string, string>} */
const POLICIES = {
  '/sw.js': SERVICE_POLICY, '/worker.js': WORKER_POLICY, '/fetch-worker.js': FETCH_WORKER_POLICY, '/quantize-worker.js': QUANTIZE_WORKER_POLICY, '/thread.js': THREAD_POLICY,
}

/** What the page has no use for. */
const PERMISSIONS = ['camera', 'microphone', 'geolocation', 'display-capture', 'usb', 'serial', 'hid', 'midi', 'payment'].map((name) => `${name}=()`).join(', ')

/** @param {string} path  of the URL */
export const headersFor = (path) => ({
  'content-security-policy': Object.hasOwn(POLICIES, path) ? POLICIES[path] : PAGE_POLICY,
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'permissions-policy': PERMISSIONS,
  'cache-control': 'no-cache',
})

/** @type {Record<string, string>} */
export const TYPES = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml', '.wasm': 'application/wasm',
  '.gguf': 'application/octet-stream', '.png': 'image/png', '.webmanifest': 'application/manifest+json',
  '.txt': 'text/plain; charset=utf-8',
}
