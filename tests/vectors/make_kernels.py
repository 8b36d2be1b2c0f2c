#!/usr/bin/python3
"""Makes kernels.bin: blocks of every quantized type with the floats that llama.cpp's own code decodes from them.

    python3 make_kernels.py path/to/libggml-base.so        (from a build of llama.cpp, or the npm package @node-llama-cpp/linux-x64)

kernels.bin, little-endian: the number of records (u32), then of each record
    type id (u32), number of weights (u32), number of bytes (u32), the bytes of the blocks, the weights as f32.
A record with 0 bytes holds, instead of weights, the FNV-1a hash (u64) of the floats of that many weights, decoded from blocks of
pseudo-random bytes: a 64-bit xorshift generator (13, 7, 17) from the state 0x9e3779b97f4a7c15 ^ type id gives 8 bytes at a time, low first,
and then the half scales are made finite: bit 14 of each is cleared.

Records: rows encoded from Gaussian numbers, with and without importance weights; and edge blocks: every byte pattern of 0x00, 0xff,
0x0f, 0xf0 and a counter under half scales of one, minus one, zero, minus zero, the smallest subnormal, the greatest, and infinity.
"""
import ctypes as C
import struct
import sys

import numpy as np

# name: type id, weights of a block, bytes of a block, byte offsets of its half scales
TYPES = {
    'q4_0': (2, 32, 18, [0]), 'q4_1': (3, 32, 20, [0, 2]), 'q5_0': (6, 32, 22, [0]), 'q5_1': (7, 32, 24, [0, 2]), 'q8_0': (8, 32, 34, [0]),
    'q2_K': (10, 256, 84, [80, 82]), 'q3_K': (11, 256, 110, [108]), 'q4_K': (12, 256, 144, [0, 2]), 'q5_K': (13, 256, 176, [0, 2]),
    'q6_K': (14, 256, 210, [208]), 'iq4_nl': (20, 32, 18, [0]), 'iq4_xs': (23, 256, 136, [0]),
}
HALVES = [0x3c00, 0xbc00, 0x0000, 0x8000, 0x0001, 0x7bff, 0x7c00]
RANDOM_WEIGHTS = 1 << 16
MASK = (1 << 64) - 1


class Ggml:
    def __init__(self, path):
        self.lib = C.CDLL(path)
        self.lib.ggml_quantize_chunk.restype = C.c_size_t
        self.lib.ggml_quantize_chunk.argtypes = [C.c_int, C.c_void_p, C.c_void_p, C.c_int64, C.c_int64, C.c_int64, C.c_void_p]

    def quantize(self, name, x, importance):
        tid, size, nbytes, _ = TYPES[name]
        rows, cols = x.shape
        out = np.empty(rows * cols // size * nbytes, np.uint8)
        n = self.lib.ggml_quantize_chunk(tid, x.ctypes.data, out.ctypes.data, 0, rows, cols, importance.ctypes.data if importance is not None else None)
        assert n == out.size
        return out

    def dequantize(self, name, blocks):
        _, size, nbytes, _ = TYPES[name]
        y = np.empty(blocks.size // nbytes * size, np.float32)
        decode = getattr(self.lib, 'dequantize_row_' + name)
        decode.argtypes = [C.c_void_p, C.c_void_p, C.c_int64]
        decode.restype = None
        decode(blocks.ctypes.data, y.ctypes.data, y.size)
        return y


def random_blocks(name):
    tid, size, nbytes, halves = TYPES[name]
    count = RANDOM_WEIGHTS // size
    state = 0x9e3779b97f4a7c15 ^ tid
    out = bytearray()
    while len(out) < count * nbytes:
        state ^= state << 13 & MASK
        state ^= state >> 7
        state ^= state << 17 & MASK
        out += struct.pack('<Q', state)
    blocks = np.frombuffer(bytes(out[:count * nbytes]), np.uint8).copy().reshape(count, nbytes)
    for at in halves:
        blocks[:, at + 1] &= 0xbf
    return blocks.reshape(-1)


def edge_blocks(name):
    _, _, nbytes, halves = TYPES[name]
    blocks = []
    for i, h in enumerate(HALVES):
        for fill in ([0x00], [0xff], [0x0f], [0xf0], None) if i == 0 else (None,):
            b = np.array([fill[k % len(fill)] if fill else (37 * k + 11 * i) & 255 for k in range(nbytes)], np.uint8)
            for j, at in enumerate(halves):
                # The second half scale, where there is one, walks through the list at another pace; infinity stays alone.
                v = h if j == 0 else 0x3555 if h == 0x7c00 else HALVES[(i * 5 + 1) % 6]
                b[at], b[at + 1] = v & 255, v >> 8
            blocks.append(b)
    return np.concatenate(blocks)


def fnv1a(data):
    h = 14695981039346656037
    for byte in data:
        h = (h ^ byte) * 1099511628211 & MASK
    return h


def main():
    ggml = Ggml(sys.argv[1])
    r = np.random.Generator(np.random.Philox(20))
    records = []
    for name, (tid, size, _, _) in TYPES.items():
        cols = max(size, 64)
        x = r.standard_normal((2, cols)).astype(np.float32)
        importance = (1 + r.standard_normal(cols) ** 2).astype(np.float32)
        encoded = [ggml.quantize(name, x[1:], importance)]
        if not name.startswith('iq'):
            encoded.append(ggml.quantize(name, x[:1], None))
        for blocks in encoded + [edge_blocks(name)]:
            y = ggml.dequantize(name, blocks)
            y[np.isnan(y)] = np.float32(np.nan)
            records.append(struct.pack('<III', tid, y.size, blocks.size) + blocks.tobytes() + y.tobytes())
        y = ggml.dequantize(name, random_blocks(name))
        assert np.isfinite(y).all()
        records.append(struct.pack('<IIIQ', tid, y.size, 0, fnv1a(y.tobytes())))
    with open(__file__.replace('make_kernels.py', 'kernels.bin'), 'wb') as f:
        f.write(struct.pack('<I', len(records)) + b''.join(records))


main()
