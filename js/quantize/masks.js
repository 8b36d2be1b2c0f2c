/**
 * Weights that become 0: of every row those that are the smallest, or that matter least for what the row is multiplied with.
 */

/**
 * Sets a part of every row to 0: the weights with the least |w| * norm of their column's inputs (Wanda), or with the least |w|.
 * @param {Float32Array} w  [rows, cols], changed in place @param {number} cols @param {number} sparsity  0 to 1
 * @param {ArrayLike<number>} [norms]  [cols] @param {ArrayLike<number>} [kept]  [cols] 0 for columns that are gone already, and do not count
 * @returns {number} weights that are 0, without those of columns that are gone
 */
export function maskRows(w, cols, sparsity, norms, kept) {
  const columns = Array.from({ length: cols }, (_, j) => j).filter((j) => !kept || kept[j]), n = columns.length
  const drop = Math.round(sparsity * n), scores = new Float32Array(n)
  let zeros = 0
  for (let at = 0; at < w.length; at += cols) {
    for (let i = 0; i < n; i++) scores[i] = Math.abs(w[at + columns[i]]) * (norms ? norms[columns[i]] : 1)
    if (drop > 0) {
      const limit = scores.slice().sort()[drop - 1]
      let equal = drop // of those at the limit so many go
      for (let i = 0; i < n; i++) if (scores[i] < limit) equal--
      for (let i = 0; i < n; i++) if (scores[i] < limit || (scores[i] === limit && equal-- > 0)) w[at + columns[i]] = 0
    }
    for (const j of columns) if (w[at + j] === 0) zeros++
  }
  return zeros
}
