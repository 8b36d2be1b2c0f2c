/**
 * Makes the page independent of its server: a service worker (sw.js) keeps what it is made of. On hosts that send no headers it also puts in those that let
 * the engine have threads, from the next load on.
 */

const RELOADED = 'nibble-reloaded'

/** Once in a tab: what is wrong then stays wrong. @param {string} why */
function reloadOnce(why) {
  if (sessionStorage.getItem(RELOADED) === why) return
  sessionStorage.setItem(RELOADED, why)
  location.reload()
}

/**
 * @param {string} url  of sw.js, as the page's policy gives it
 * @param {() => boolean} untouched  whether the page can be loaded again without a loss
 */
export async function install(url, untouched) {
  const container = navigator.serviceWorker
  if (!container) return
  try {
    const registration = await container.register(url, { updateViaCache: 'none' })
    if (registration.waiting && container.controller) {
      // A new version, here since the last visit. It takes over where no other tab is open.
      container.addEventListener('controllerchange', () => { if (untouched()) reloadOnce('update') }, { once: true })
      registration.waiting.postMessage('take over')
      return
    }
    await container.ready
    if (!crossOriginIsolated && untouched()) reloadOnce('isolate')
  } catch {} // refused, as in some private windows: the page needs its server then
}
