/** What people set: kept in this browser, like everything else. */

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id)

/** Browsers that are told to keep nothing refuse: then settings last as long as the page. */
export const kept = {
  /** @param {string} key */
  get(key) {
    try {
      return localStorage.getItem(`nibble-${key}`) ?? undefined
    } catch {}
  },
  /** @param {string} key @param {string | undefined} value */
  set(key, value) {
    try {
      if (value === undefined) localStorage.removeItem(`nibble-${key}`)
      else localStorage.setItem(`nibble-${key}`, value)
    } catch {}
  },
  /** @param {string} key @returns {any} an object, or undefined */
  json(key) {
    try {
      const value = JSON.parse(kept.get(key) ?? 'null')
      return value !== null && typeof value === 'object' ? value : undefined
    } catch {}
  },
}

const NAMES = ['temperature', 'top_p', 'top_k', 'min_p', 'repeat_penalty', 'max_tokens', 'seed']
/** @param {string} name @returns {HTMLInputElement} */
const field = (name) => $('settings').elements.namedItem(name)

/** Those that are given; the rest is up to the model. */
export const sampling = () => Object.fromEntries(NAMES.filter((name) => field(name).value !== '').map((name) => [name, field(name).valueAsNumber]))

export const valid = () => $('settings').reportValidity()

/** @param {string} theme */
function applyTheme(theme) {
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
  else delete document.documentElement.dataset.theme
}

export function startSettings() {
  const values = kept.json('settings') ?? {}
  for (const name of NAMES) if (typeof values[name] === 'string') field(name).value = values[name]
  $('settings').addEventListener('input', () => kept.set('settings', JSON.stringify(Object.fromEntries(NAMES.map((name) => [name, field(name).value])))))
  $('settings').addEventListener('submit', (/** @type {SubmitEvent} */ event) => event.preventDefault())
  $('settings-reset').addEventListener('click', () => {
    for (const name of NAMES) field(name).value = field(name).defaultValue
    kept.set('settings', undefined)
  })
  const theme = kept.get('theme') ?? 'system'
  applyTheme(theme)
  for (const input of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll('[name="theme"]'))) {
    input.checked = input.value === theme
    input.addEventListener('change', () => {
      kept.set('theme', input.value === 'system' ? undefined : input.value)
      applyTheme(input.value)
    })
  }
}
