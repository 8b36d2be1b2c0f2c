#!/usr/bin/env python3
"""imatrix.py - sums of the inputs of every matrix and of their squares over samples of tokens, as plain numpy in double precision.

  imatrix.py MODEL.gguf --samples FILE [--against IMATRIX.gguf]

FILE is a JSON array of samples, each an array of token ids. With --against prints, as JSON, how far an importance matrix for the same samples is
from these sums: of every entry the relative difference of the vector of sums, and the greatest of a single sum that is not below a thousandth of the
mean. Shares no code with the library. Needs python3-numpy.
"""
import argparse, json
import numpy as np
from llama import Llama, read_gguf

SHARED = {'attn_q': ['attn_k', 'attn_v'], 'ffn_gate': ['ffn_up']}


def measure(model, samples):
    """{name: (n, sums [cols], sums of squares [cols])}, entries of matrices that share an input each by its own name."""
    out = {}

    def see(name, x):
        n, s, q = out.get(name, (0, 0, 0))
        out[name] = n + len(x), s + x.sum(axis=0), q + (x * x).sum(axis=0)

    for ids in samples:
        model.logits(list(ids), see)
    for name in list(out):
        part = name.split('.')[-2]
        for other in SHARED.get(part, []):
            out[name.replace(part, other)] = out[name]
    if 'output.weight' not in model.t:
        out['token_embd.weight'] = out.pop('output.weight')
    return out


if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('model'); p.add_argument('--samples', required=True); p.add_argument('--against')
    a = p.parse_args()
    wanted = measure(Llama(a.model), json.load(open(a.samples)))
    if not a.against:
        print(json.dumps({name: {'n': n, 'sums': s.tolist(), 'squares': q.tolist()} for name, (n, s, q) in wanted.items()}))
    else:
        _, got = read_gguf(a.against)
        assert {n.rsplit('.', 1)[0] for n in got} == set(wanted), 'other matrices'
        entries, worst_vector, worst_sum = 0, 0.0, 0.0
        for name, (n, s, q) in wanted.items():
            assert float(got[f'{name}.counts'].item()) == n, name
            for have, want in ((got[f'{name}.in_sum2'].ravel(), q), (got[f'{name}.in_sum'].ravel(), s)):
                worst_vector = max(worst_vector, float(np.linalg.norm(have - want) / np.linalg.norm(want)))
            large = q >= q.mean() / 1000
            worst_sum = max(worst_sum, float(np.max(np.abs(got[f'{name}.in_sum2'].ravel() - q)[large] / q[large])))
            entries += 1
        print(json.dumps({'entries': entries, 'worst_vector': worst_vector, 'worst_sum_of_squares': worst_sum}))
