"""The runtime's arithmetic, simulated in training: Q4_0 weights and int8 activations, with gradients that pass straight through.

Q4_0: blocks of 32 numbers along a row; d = the number of greatest magnitude / -8, stored in half precision; q = x / d rounded to
nearest, half up, kept in -8..7; a weight is d * q. As in ggml (quantize_row_q4_0_ref) and src/kernels/decode_scalar.c.
Activations: blocks of 32; d = max|x| / 127 in single precision, q = x * (127 / max|x|) to nearest even (src/kernels/act_scalar.c).
"""
import torch

BLOCK = 32


def q4_0(w):
    """w [rows, cols] float32 -> q [rows, cols / 32, 32] int8 in -8..7, d [rows, cols / 32, 1] float16"""
    b = w.reshape(len(w), -1, BLOCK)
    top = b.gather(-1, b.abs().argmax(-1, keepdim=True))
    d = top / -8
    inverse = torch.where(d == 0, torch.zeros_like(d), 1 / d)
    q = (b * inverse + 8.5).floor().clamp(0, 15) - 8
    return q.to(torch.int8), d.to(torch.float16)


def fake_q4_0(w):
    q, d = q4_0(w)
    return (q.float() * d.float()).view_as(w)


class FakeInt8(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        b = x.view(len(x), -1, BLOCK)
        top = b.abs().amax(-1, keepdim=True)
        inverse = torch.where(top < 2.0 ** -121, torch.zeros_like(top), 127 / top)
        return ((b * inverse).round() * (top / 127)).view_as(x)

    @staticmethod
    def backward(ctx, g):
        return g


class FakeHalf(torch.autograd.Function):
    """The cache of keys and values is in half precision."""

    @staticmethod
    def forward(ctx, x):
        return x.half().float()

    @staticmethod
    def backward(ctx, g):
        return g
