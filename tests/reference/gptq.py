#!/usr/bin/env python3
"""gptq.py - a table of methods by type: squared errors of the output, relative to the output itself.

  gptq.py [--program FILE] [--model FILE --tokens FILE] [--types Q4_K,Q6_K] [--methods search,static] [--shrink N] [--each]

FILE of --program is tests/c/gptq_main.c, built (build/native-release/gptq_main). Two sets of matrices:
  gaussian   128 x 512 Gaussian weights; inputs of which a few directions carry most and whose channels differ in size
  model      with --model (a GGUF in F16) and --tokens (what `nibble tokenize --json` prints): every matrix of its layers with the inputs it gets in
             the model, 4,096 tokens in chunks of 256; the errors are means over the matrices
For each method two figures, in thousandths: under the second moments of the samples that it worked on, and under those of others (as many tokens that
follow in FILE). The second is what counts. Needs python3-numpy.
"""
import argparse
import json
import os
import subprocess
import tempfile

import numpy as np
from llama import Llama
from plain_gptq import correlated

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
METHODS = {
    'rtn': ('search', 'scales=rtn', 'refine=0'), 'hqq': ('hqq',), 'search': ('search', 'refine=0'),
    'large': ('search', 'scales=large', 'refine=0'),
    'awq': ('awq+search', 'refine=0'), 'gptq/rtn': ('static', 'scales=rtn', 'refine=0'), 'static': ('static', 'refine=0'), 'groups': ('groups', 'refine=0'),
    'refined': ('search', 'refine=2'), 'best': ('best', 'refine=2'), 'awq+best': ('awq+best', 'refine=2'),
}


class Tap:
    """A weight matrix that remembers the second moments of what is multiplied with it."""
    __array_ufunc__ = None

    def __init__(self, w):
        self.w, self.h = w.astype(np.float64), 0

    T = property(lambda self: self)

    def astype(self, _):
        return self

    def __rmatmul__(self, x):
        self.h = self.h + x.T @ x
        return x @ self.w.T


def model_problems(path, tokens):
    """(name, W, H, H of others) of every matrix."""
    model = Llama(path)
    names = [n for n, t in model.t.items() if n.startswith('blk.') and t.ndim == 2]
    taps = {n: Tap(model.t[n]) for n in names}
    model.t.update(taps)
    moments = []
    for half in range(2):
        for tap in taps.values():
            tap.h = 0
        for c in range(16):
            at = (half * 16 + c) * 256
            model.logits([model.bos] + tokens[at + 1:at + 256] if model.bos is not None else tokens[at:at + 256])
        moments.append({n: tap.h for n, tap in taps.items()})
    return [(n, taps[n].w.astype(np.float32), moments[0][n], moments[1][n]) for n in names]


def gaussian_problem():
    r = np.random.Generator(np.random.Philox(3))
    x = correlated(r, 16384, 512, spread=0.7)
    halves = [part.astype(np.float64) for part in (x[:8192], x[8192:])]
    return [('', (0.03 * r.standard_normal((128, 512))).astype(np.float32), *(part.T @ part for part in halves))]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--program', default=os.path.join(root, 'build', 'native-release', 'gptq_main'))
    p.add_argument('--model')
    p.add_argument('--tokens')
    p.add_argument('--types', default='Q2_K,Q3_K,Q4_0,Q4_1,Q4_K,IQ4_NL,IQ4_XS,Q5_0,Q5_1,Q5_K,Q6_K,Q8_0')
    p.add_argument('--methods', default=','.join(METHODS))
    p.add_argument('--shrink', default='0')
    p.add_argument('--each', action='store_true', help='a line for every matrix')
    o = p.parse_args()
    methods = o.methods.split(',')
    sets = {'gaussian': gaussian_problem()}
    if o.model:
        sets['model'] = model_problems(o.model, json.load(open(o.tokens))['tokens'])
    print(f'{"":9s}{"type":8s}' + ''.join(f'{m:>16s}' for m in methods))
    with tempfile.TemporaryDirectory() as folder:
        files = {n: os.path.join(folder, n) for n in ('w', 'h', 'other')}

        def errors(kind, method, w, h, other):
            w.astype('<f4').tofile(files['w'])
            h.astype('<f4').tofile(files['h'])
            other.astype('<f4').tofile(files['other'])
            how, *rest = METHODS[method]
            command = [o.program, kind, how, str(w.shape[1]), files['w'], files['h'], 'under=' + files['h'], 'under=' + files['other'], 'shrink=' + o.shrink]
            return np.array(json.loads(subprocess.run(command + rest, check=True, capture_output=True).stdout)['under'])

        for label, problems in sets.items():
            for kind in o.types.split(','):
                fit = [q for q in problems if q[1].shape[1] % (32 if kind in ('Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0', 'IQ4_NL') else 256) == 0]
                all_errors = {m: [errors(kind, m, *q[1:]) for q in fit] for m in methods}
                for i, q in enumerate(fit if o.each else []):
                    print(f'{"":9s}{kind:8s}' + ''.join(f'{1e3 * e[0]:8.4g}{1e3 * e[1]:8.4g}' for e in (all_errors[m][i] for m in methods)), q[0])
                print(f'{label:9s}{kind:8s}' + ''.join(f'{1e3 * e[0]:8.4g}{1e3 * e[1]:8.4g}' for e in (np.mean(all_errors[m], 0) for m in methods)), flush=True)


if __name__ == '__main__':
    main()
