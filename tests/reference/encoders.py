#!/usr/bin/env python3
"""encoders.py - our encoders beside llama.cpp's: squared errors on the same rows.

  encoders.py --peers DIR [--tools DIR] [--program FILE] [--rows N] [--cols N] [--types Q4_K,Q6_K] [--method search|large|rtn] [--model FILE]

DIR of --peers is a folder with the npm package @node-llama-cpp/linux-x64 in its node_modules; DIR of --tools holds ggml_rows.py (../shared/tools beside
the checkout, or in the folder that NIBBLE_SHARED names); FILE of --program is tests/c/encode_main.c, built (build/native-release/encode_main). Rows are Gaussian, of heavy tails (Student's t, 4
degrees of freedom), and the matrices of --model (a GGUF in F16; the embedded model's original by default).

For every type it prints llama.cpp's relative squared error, ours, and the ratio; then the same weighted with importance that both encoders are
given. Blocks of both are decoded by llama.cpp. Where llama.cpp has two ways to encode without importance (none, or importance of 1 everywhere) the
better one stands for it. The last columns are microseconds a weight with importance, one thread: llama.cpp's, and ours with reading and writing of
files. Ends with status 1 if a ratio is above 1.
"""
import argparse, os, subprocess, sys, tempfile, time
import numpy as np
from llama import read_gguf

here = os.path.dirname(os.path.abspath(__file__))
root = os.path.dirname(os.path.dirname(here))
args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument('--peers', required=True)
args.add_argument('--tools', default=os.path.join(os.environ.get('NIBBLE_SHARED', os.path.join(os.path.dirname(root), 'shared')), 'tools'))
args.add_argument('--program', default=os.path.join(root, 'build', 'native-release', 'encode_main'))
args.add_argument('--model', default=os.path.join(root, 'demo', 'model', 'Llama-Nibble-Stories-5M-F16.gguf'))
args.add_argument('--rows', type=int, default=64)
args.add_argument('--cols', type=int, default=1024)
args.add_argument('--types', default='')
args.add_argument('--method', default='search')
o = args.parse_args()
sys.path.insert(0, o.tools)
import ggml_rows  # noqa: E402

ggml = ggml_rows.Ggml(o.peers)
types = o.types.split(',') if o.types else list(ggml_rows.TYPES)


def ours(kind, x, importance, folder):
    """Blocks and seconds."""
    rows, out, weights = (os.path.join(folder, name) for name in ('rows', 'out', 'importance'))
    x.astype('<f4').tofile(rows)
    command = [o.program, kind, o.method, str(x.shape[1]), rows, out]
    if importance is not None:
        importance.astype('<f4').tofile(weights)
        command.append(weights)
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return np.fromfile(out, np.uint8), time.perf_counter() - start


def error(kind, blocks, x, importance):
    y = ggml.dequantize(kind, blocks, x.shape[1])
    w = 1 if importance is None else importance.astype(np.float64)
    return float((w * (x.astype(np.float64) - y) ** 2).sum() / (w * x.astype(np.float64) ** 2).sum())


r = np.random.Generator(np.random.Philox(7))
sets = {'gaussian': [r.standard_normal((o.rows, o.cols)).astype(np.float32)], 'heavy': [r.standard_t(4, (o.rows, o.cols)).astype(np.float32)]}
if os.path.exists(o.model):
    _, tensors = read_gguf(o.model)
    matrices = [t for name, t in tensors.items() if t.ndim == 2 and t.shape[1] % 256 == 0 and name.startswith('blk.')]
    step = max(1, len(matrices) // 6)
    sets['model'] = [np.ascontiguousarray(m[:96]) for m in matrices[::step]]

worst = 0
print(f'{"rows":9s} {"type":7s} {"llama.cpp":>10s} {"ours":>10s} {"ratio":>6s}   {"weighted":>10s} {"ours":>10s} {"ratio":>6s}   {"us":>6s} {"ours":>6s}')
with tempfile.TemporaryDirectory() as folder:
    for label, matrices in sets.items():
        for kind in types:
            sums, times, count = np.zeros(4), np.zeros(2), 0
            for number, x in enumerate(matrices):
                importance = np.exp(np.random.Generator(np.random.Philox(100 + number)).standard_normal(x.shape[1])).astype(np.float32)
                ones = np.ones(x.shape[1], np.float32)
                peer = min(error(kind, ggml.quantize(kind, x, w), x, None) for w in (None, ones))
                blocks, _ = ours(kind, x, None, folder)
                start = time.perf_counter()
                theirs = ggml.quantize(kind, x, importance)
                peer_seconds = time.perf_counter() - start
                weighted, seconds = ours(kind, x, importance, folder)
                sums += [peer, error(kind, blocks, x, None), error(kind, theirs, x, importance), error(kind, weighted, x, importance)]
                times += [peer_seconds, seconds]
                count += x.size
            a, b, c, d = sums / len(matrices)
            worst = max(worst, b / a, d / c)
            print(f'{label:9s} {kind:7s} {a:10.7f} {b:10.7f} {b / a:6.3f}   {c:10.7f} {d:10.7f} {d / c:6.3f}   {times[0] / count * 1e6:6.3f} {times[1] / count * 1e6:6.3f}', flush=True)
sys.exit(bool(worst > 1))
