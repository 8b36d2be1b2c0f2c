#!/usr/bin/python3
"""Makes gptq.bin: small matrices, the second moments of inputs, and what plain GPTQ in double precision (tests/reference/plain_gptq.py) rounds them to.

    python3 make_gptq.py

gptq.bin, little-endian: the number of records (u32), then of each record
    type id (u32), rows, cols (u32), 1 if there is `cross` (u32), damping, alpha (f32), then f32: W [rows, cols], H [cols, cols], cross [cols, cols] if there
    is one, W' [rows, cols].
"""
import os
import struct
import sys

import numpy as np

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(here), 'reference'))
from plain_gptq import correlated, gptq, plain_scales  # noqa: E402

CASES = [('Q4_0', 16, 64, 0.01, None), ('Q4_1', 17, 64, 0.05, None), ('Q4_0', 5, 64, 0.01, 0.25), ('Q4_1', 4, 32, 0.001, 1.0)]
IDS = {'Q4_0': 2, 'Q4_1': 3}

r = np.random.Generator(np.random.Philox(5))
records = []
for kind, rows, cols, damping, alpha in CASES:
    x = correlated(r, 4 * cols, cols)
    w = (0.1 * r.standard_normal((rows, cols))).astype(np.float32)
    h = (x.T.astype(np.float64) @ x).astype(np.float32)
    cross = None
    if alpha is not None:
        dx = (0.2 * x + 0.1 * correlated(r, 4 * cols, cols)).astype(np.float64)
        cross = (x.T.astype(np.float64) @ dx).astype(np.float32)
    q = gptq(w, h, *plain_scales(kind, w), damping=damping, cross=cross, alpha=alpha or 0)
    parts = [struct.pack('<4I2f', IDS[kind], rows, cols, cross is not None, damping, alpha or 0), w.astype('<f4').tobytes(), h.astype('<f4').tobytes()]
    records.append(b''.join(parts + ([cross.astype('<f4').tobytes()] if cross is not None else []) + [q.astype('<f4').tobytes()]))
with open(os.path.join(here, 'gptq.bin'), 'wb') as f:
    f.write(struct.pack('<I', len(records)) + b''.join(records))
