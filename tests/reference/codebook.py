#!/usr/bin/env python3
"""codebook.py - would a type of our own, 16 values and 4.25 bits a weight, be worth its place? Relative squared errors of tables of values.

  codebook.py [--model FILE]        a GGUF in F16; the embedded model's original by default

Blocks of 32 with a signed scale of 6 bits, and a half for 256 weights, as IQ4_XS has; all tables are encoded by the same search, which tries far more
scales than an encoder would. The columns: IQ4_NL's table; half of it, which fits products of 8 by 7 bits (0 to 120, less 64); the best ones for
Gaussian weights, for Student's t (5), for the model, and for the very matrix. The last two are bounds with scales that are not rounded: the matrix's own
table, and of two tables (Gaussian, Student's t) the better one in each block, for which another bit would be needed. What Q4_K (4.5 bits) and IQ4_XS
have on the same matrices is told by `nibble analyze FILE --candidates Q4_K,IQ4_XS`.
"""
import argparse, os
import numpy as np
from llama import read_gguf

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument('--model', default=os.path.join(root, 'demo', 'model', 'Llama-Nibble-Stories-5M-F16.gguf'))
args.add_argument('--tensors', default='token_embd,blk.1.attn_q,blk.2.attn_v,blk.0.attn_output,blk.3.ffn_gate,blk.4.ffn_down')
o = args.parse_args()

IQ4_NL = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], float)
HALVED = np.array([0, 12, 22, 32, 40, 46, 53, 59, 64, 70, 76, 83, 90, 98, 108, 120], float) - 64
WEIGHTS = 196608  # of a matrix, about


def codes(x, scales, table):
    return np.searchsorted((table[1:] + table[:-1]) / 2, x / np.where(scales == 0, 1, scales)[:, None])


def errors(x, scales, table):
    q = table[codes(x, scales, table)]
    return ((x - scales[:, None] * q) ** 2).sum(1), q


def best_scales(x, table):
    """Of blocks [n, 32]: scales that were not rounded, and errors."""
    edge = np.abs(x).max(1) / np.abs(table).max()
    least, best = np.full(len(x), np.inf), np.zeros(len(x))
    for factor in np.concatenate([np.linspace(0.75, 1.25, 21), -np.linspace(0.75, 1.25, 21)]):
        _, q = errors(x, edge * factor, table)
        square = (q * q).sum(1)
        scales = (x * q).sum(1) / np.where(square > 0, square, 1)
        e, _ = errors(x, scales, table)
        better = e < least
        least[better], best[better] = e[better], scales[better]
    return best, least


def encoded(w, table):
    """Relative squared error with scales of 6 bits."""
    x = w.reshape(-1, 32)
    wanted = best_scales(x, table)[0].reshape(-1, 8)
    top = wanted[np.arange(len(wanted)), np.abs(wanted).argmax(1)]
    least = np.full(len(wanted), np.inf)
    for level in range(-32, -25):
        unit = (top / level).astype(np.float16).astype(float)[:, None]
        near = np.round(wanted / np.where(unit == 0, 1, unit))
        steps = [errors(x, (np.clip(near + d, -32, 31) * unit).reshape(-1), table)[0] for d in (-1, 0, 1)]
        least = np.minimum(least, np.min(steps, axis=0).reshape(-1, 8).sum(1))
    return least.sum() / (w ** 2).sum()


def learnt(w, rounds=6):
    """The table with the least error on these weights: scales and values by turns, from IQ4_NL's."""
    x, table = w.reshape(-1, 32), IQ4_NL
    for _ in range(rounds):
        scales, _ = best_scales(x, table)
        c = codes(x, scales, table).ravel()
        squares = np.bincount(c, np.repeat(scales ** 2, 32), 16)
        table = np.sort(np.where(squares > 0, np.bincount(c, (scales[:, None] * x).ravel(), 16) / np.where(squares > 0, squares, 1), table))
        table = np.round(table * 127 / np.abs(table).max())
    return table


r = np.random.default_rng(1)
sets = {'Gaussian': r.standard_normal((256, 1024)), "Student's t (5)": r.standard_t(5, (256, 1024))}
tensors = read_gguf(o.model)[1]
for name in o.tensors.split(','):
    w = tensors[name + '.weight'].astype(float)
    sets[name] = w[::max(1, w.size // WEIGHTS)]
gaussian, heavy = learnt(sets['Gaussian']), learnt(sets["Student's t (5)"])
model = learnt(np.concatenate([(w / np.sqrt((w ** 2).mean())).reshape(-1, 256)[::8] for name, w in list(sets.items())[2:]]), 4)
print('IQ4_NL halved Gaussian t model own | bounds: own, one of two')
for name, w in sets.items():
    own, x, square = learnt(w), w.reshape(-1, 32), (w ** 2).sum()
    bounds = best_scales(x, own)[1].sum() / square, np.minimum(best_scales(x, gaussian)[1], best_scales(x, heavy)[1]).sum() / square
    print(name, *(f'{encoded(w, t):.5f}' for t in (IQ4_NL, HALVED, gaussian, heavy, model, own)), '|', *(f'{e:.5f}' for e in bounds), flush=True)
