/**
 * One option of each item, so that together they fit into a budget and lose the least: which type each tensor gets (the knapsack of multiple choice).
 *
 * Prices first: with a price for bytes every item chooses by itself, and the price at which all fit gives a bound below every solution. How far an option is
 * from its item's best one under that price is what it adds to the bound, so that next to nothing of all combinations is left to be tried: states of
 * (bytes, loss) are carried from item to item, and those that another one beats in both, or whose bound is above the best solution known, are dropped.
 * What remains at the end is the best there is, which the dropping proves.
 */
import { NibbleError } from '../errors.js'

/**
 * @typedef {{bytes: number, loss: number}} Option
 *
 * @typedef {object} Allocation
 * @property {number[]} choice  of each item the index of its option
 * @property {number} bytes  @property {number} loss  of all together
 * @property {number} bound  no choice within the budget loses less
 * @property {boolean} exact  whether that is the loss, so that the choice is proven to be the best
 * @property {number} price  loss that another byte would save, about
 */

/** States at a time; beyond these the most promising are kept, and the result is near the best but not proven. */
const MOST_STATES = 1 << 17
/** Sums of doubles in another order differ by so much. */
const ROUNDING = 1e-12

/** Options that no other one beats in both, the smallest first. @param {Option[]} options @returns {{bytes: number, loss: number, index: number}[]} */
function pareto(options) {
  const sorted = options.map(({ bytes, loss }, index) => ({ bytes, loss, index })).sort((a, b) => a.bytes - b.bytes || a.loss - b.loss || a.index - b.index)
  let best = Infinity
  return sorted.filter(({ loss }) => loss < best && ((best = loss), true))
}

/** Those that are best at some price. @template {Option} T @param {T[]} list  of pareto() @returns {T[]} */
function hull(list) {
  /** @type {T[]} */
  const out = []
  for (const p of list) {
    while (out.length > 1) {
      const [a, b] = out.slice(-2)
      if ((a.loss - b.loss) * (p.bytes - b.bytes) > (b.loss - p.loss) * (b.bytes - a.bytes)) break
      out.pop()
    }
    out.push(p)
  }
  return out
}

/**
 * The steps along all hulls, the most worthwhile first, as far as the budget goes.
 * @param {Option[][]} hulls @param {number} budget
 * @returns {{price: number, loss: number}} price: of the first step that does not fit; loss: of those that do
 */
function greedy(hulls, budget) {
  const steps = hulls.flatMap((list, item) => list.slice(1).map((to, k) => {
    const from = list[k]
    return { item, k: k + 1, bytes: to.bytes - from.bytes, gain: from.loss - to.loss }
  })).sort((a, b) => b.gain * a.bytes - a.gain * b.bytes || a.item - b.item || a.k - b.k)
  const at = hulls.map(() => 0)
  let left = budget - hulls.reduce((n, list) => n + list[0].bytes, 0), loss = hulls.reduce((n, list) => n + list[0].loss, 0), price = 0
  for (const { item, k, bytes, gain } of steps) {
    if (at[item] !== k - 1) continue
    if (bytes > left) {
      price ||= gain / bytes
      continue
    }
    at[item] = k
    left -= bytes
    loss -= gain
  }
  return { price, loss }
}

/**
 * States after some items, parallel arrays.
 * @typedef {object} States
 * @property {Float64Array} bytes  @property {Float64Array} loss
 * @property {Int32Array} from  index in the states before  @property {Uint8Array} option  of the item's
 */

/**
 * Adds an item: every state with every option, without those that another one beats.
 * @param {States} before @param {Option[]} options @param {(bytes: number, loss: number) => boolean} worth
 * @returns {States}
 */
function extend(before, options, worth) {
  const bytes = /** @type {number[]} */ ([]), loss = /** @type {number[]} */ ([]), from = /** @type {number[]} */ ([]), option = /** @type {number[]} */ ([])
  for (let s = 0; s < before.bytes.length; s++) {
    for (let k = 0; k < options.length; k++) {
      const b = before.bytes[s] + options[k].bytes, l = before.loss[s] + options[k].loss
      if (!worth(b, l)) continue
      bytes.push(b)
      loss.push(l)
      from.push(s)
      option.push(k)
    }
  }
  const order = Uint32Array.from(bytes.keys()).sort((i, j) => bytes[i] - bytes[j] || loss[i] - loss[j] || i - j)
  let best = Infinity
  const kept = order.filter((i) => loss[i] < best && ((best = loss[i]), true))
  return {
    bytes: Float64Array.from(kept, (i) => bytes[i]), loss: Float64Array.from(kept, (i) => loss[i]), from: Int32Array.from(kept, (i) => from[i]), option: Uint8Array.from(kept, (i) => option[i]),
  }
}

/** The states with the least bound. @param {States} states @param {number} price @returns {States} */
function mostPromising({ bytes, loss, from, option }, price) {
  const order = Uint32Array.from(bytes.keys()).sort((i, j) => loss[i] + price * bytes[i] - loss[j] - price * bytes[j] || i - j).slice(0, MOST_STATES).sort()
  return {
    bytes: Float64Array.from(order, (i) => bytes[i]), loss: Float64Array.from(order, (i) => loss[i]), from: Int32Array.from(order, (i) => from[i]), option: Uint8Array.from(order, (i) => option[i]),
  }
}

/** @param {Option[][]} items */
export const leastBytes = (items) => items.reduce((n, options) => n + Math.min(...options.map((o) => o.bytes)), 0)

/**
 * @param {Option[][]} items  each with 1 to 255 options @param {number} budget  bytes
 * @returns {Allocation}
 */
export function allocate(items, budget) {
  for (const options of items) {
    if (options.length < 1 || options.length > 255) throw new NibbleError('E_ARGUMENT', `an item has ${options.length} options; 1 to 255 are possible`)
    for (const { bytes, loss } of options) if (!(bytes >= 0 && loss >= 0 && loss < Infinity)) throw new NibbleError('E_ARGUMENT', `an option of ${bytes} bytes with a loss of ${loss} is none`)
  }
  const least = leastBytes(items)
  if (!(budget >= least)) throw new NibbleError('E_ARGUMENT', `the budget is ${budget} bytes, the least that is possible ${least}`)
  const sets = items.map(pareto), { price, loss: first } = greedy(sets.map(hull), budget)
  // Under the price: of each item the best option, and the smallest of equals.
  const best = sets.map((list) => list.reduce((a, b) => (b.loss + price * b.bytes < a.loss + price * a.bytes ? b : a)))
  const value = (/** @type {Option} */ o) => o.loss + price * o.bytes
  // What is left for the items from one on: their least bytes, and their best under the price.
  const rest = { least: [0], bytes: [0], loss: [0], value: [0] }
  for (let i = items.length - 1; i >= 0; i--) {
    rest.least.unshift(rest.least[0] + sets[i][0].bytes)
    rest.bytes.unshift(rest.bytes[0] + best[i].bytes)
    rest.loss.unshift(rest.loss[0] + best[i].loss)
    rest.value.unshift(rest.value[0] + value(best[i]))
  }
  const bound = Math.max(0, rest.value[0] - price * budget), scale = 1 + ROUNDING
  let known = first * scale, exact = true
  /** @type {States[]} */
  const stages = [{ bytes: Float64Array.of(0), loss: Float64Array.of(0), from: Int32Array.of(-1), option: Uint8Array.of(0) }]
  for (const [i, list] of sets.entries()) {
    const after = i + 1
    let states = extend(stages[i], list, (b, l) => {
      if (b + rest.least[after] > budget) return false
      if (l + price * b + rest.value[after] - price * budget > known * scale) return false
      if (b + rest.bytes[after] <= budget) known = Math.min(known, (l + rest.loss[after]) * scale)
      return true
    })
    if (states.bytes.length > MOST_STATES) {
      states = mostPromising(states, price)
      exact = false
      known = Infinity // only what can still be reached counts
      states.bytes.forEach((b, s) => {
        if (b + rest.bytes[after] <= budget) known = Math.min(known, (states.loss[s] + rest.loss[after]) * scale)
      })
    }
    stages.push(states)
  }
  const last = stages[items.length]
  let state = last.bytes.length - 1 // the most bytes, and so the least loss
  const bytes = last.bytes[state], loss = last.loss[state], choice = new Array(items.length)
  for (let i = items.length; i > 0; i--) {
    choice[i - 1] = sets[i - 1][stages[i].option[state]].index
    state = stages[i].from[state]
  }
  return { choice, bytes, loss, bound: exact ? loss : Math.min(bound, loss), exact, price }
}
