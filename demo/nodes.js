/** Making nodes. Text is given as strings, which become text nodes. */

/** @param {string} tag @param {string} className @param {(Node | string)[]} children */
export function element(tag, className, ...children) {
  const e = document.createElement(tag)
  if (className) e.className = className
  e.append(...children)
  return e
}

/** @param {Node | string} content @param {string} className @param {() => void} act @returns {HTMLButtonElement} */
export function button(content, className, act) {
  const e = /** @type {HTMLButtonElement} */ (element('button', className, content))
  e.type = 'button'
  e.addEventListener('click', act)
  return e
}

/** One of the drawings in index.html. @param {string} name */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg'), use = document.createElementNS('http://www.w3.org/2000/svg', 'use')
  svg.setAttribute('class', 'icon')
  svg.setAttribute('aria-hidden', 'true')
  use.setAttribute('href', `#icon-${name}`)
  svg.append(use)
  return svg
}

/** A button with a drawing: its label is for those who do not see it, and for those who point at it. @param {string} name @param {string} label @param {string} action @param {() => void} act */
export function iconButton(name, label, action, act) {
  const e = button(icon(name), 'icon-button', act)
  e.ariaLabel = label
  e.title = label
  e.dataset.action = action
  return e
}
