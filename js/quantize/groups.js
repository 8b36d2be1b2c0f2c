/**
 * Sensitivities of many tensors from fewer measurements: of each layer as a whole, and of each kind of matrix in all layers. That of a tensor is then taken for
 * a factor of its layer times one of its kind, so that the sums come out as measured.
 */
import { layerOf } from './plan.js'

const ROUNDS = 100

/**
 * The groups to measure: layers, kinds, and what is in no layer, one by one.
 * @param {string[]} names
 * @returns {{name: string, members: string[]}[]}
 */
export function groupsOf(names) {
  /** @type {Map<string, string[]>} */
  const groups = new Map()
  const add = (/** @type {string} */ group, /** @type {string} */ name) => void groups.set(group, [...groups.get(group) ?? [], name])
  for (const name of names) {
    const layer = layerOf(name)
    if (layer < 0) add(name, name)
    else {
      add(`layer ${layer}`, name)
      add(`all ${name.replace(/^blk\.\d+\./, '')}`, name)
    }
  }
  return [...groups].map(([name, members]) => ({ name, members }))
}

/**
 * Fits the sensitivity of every tensor to those of groups, by proportion: a group's members are scaled until their sum is the group's, again and again.
 * @param {{members: string[], sensitivity: number}[]} groups  sensitivity: of all members together
 * @returns {Map<string, number>}
 */
export function fitGroups(groups) {
  const found = new Map(groups.flatMap(({ members }) => members.map((name) => /** @type {[string, number]} */ ([name, 1]))))
  for (let round = 0; round < ROUNDS; round++) {
    for (const { members, sensitivity } of groups) {
      const sum = members.reduce((n, name) => n + Number(found.get(name)), 0), factor = sum > 0 ? sensitivity / sum : 0
      for (const name of members) found.set(name, Number(found.get(name)) * factor)
    }
  }
  return found
}
