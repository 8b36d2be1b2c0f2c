/**
 * Holding a quantized model against its original, through the kernels that run it.
 */
import { perplexity } from '../evaluate.js'
import { createReference, openReference } from '../evaluate/reference.js'
import { checkGates, parseGates } from './gates.js'

/** Divergences shown in context, and beginnings of greedy texts. */
const WORST = 20, LOOPS = 16

/**
 * @typedef {import('../evaluate.js').EvaluateOptions} EvaluateOptions
 * @typedef {Omit<EvaluateOptions, 'against'>} ValidateOptions  worst is 20 here, loops 16
 */

/**
 * All figures that gates and reports are made of.
 * @param {import('../model.js').Model} model
 * @param {import('../model.js').Model | import('../evaluate/reference.js').Reference} reference
 * @param {string | undefined} text  of which nothing was used to calibrate; left out: the reference file's own
 * @param {ValidateOptions} [options]
 */
export async function validate(model, reference, text, options = {}) {
  const loops = 'greedy' in reference ? Math.min(LOOPS, reference.greedy.length) : LOOPS
  return perplexity(model, text, { worst: WORST, loops, ...options, against: reference })
}

/**
 * What a model that will not be in memory later has to say about a text: for validate().
 * @param {import('../model.js').Model} model @param {string} text @param {import('../evaluate/reference.js').ReferenceOptions} [options]
 */
export const referenceOf = async (model, text, options = {}) => openReference((await createReference(model, text, { loops: LOOPS, ...options })).bytes)

export { checkGates, createReference, openReference, parseGates }
