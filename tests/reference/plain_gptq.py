"""GPTQ as it is usually written down, in double precision: with the inverse of H, its upper Cholesky factor, and updates of the weights that are left.
The library's sweep (src/quantize/sweep.c) says the same in other words; gptq_test.c holds it to this."""
import numpy as np


def halves(x):
    return np.float16(np.float32(x)).astype(np.float64)


def plain_scales(kind, w):
    """Scale and shift of every weight, as the plain encoders choose them (Q4_0: the number of largest magnitude to -8; Q4_1: smallest to 0, largest to 15)."""
    rows, cols = w.shape
    blocks = w.reshape(rows, cols // 32, 32).astype(np.float32)
    if kind == 'Q4_0':
        top = np.take_along_axis(blocks, np.abs(blocks).argmax(2)[:, :, None], 2)[:, :, 0]
        d, m, lo, hi = halves(top / np.float32(-8)), np.zeros_like(top, np.float64), -8, 7
    else:
        low, high = blocks.min(2), blocks.max(2)
        d, m, lo, hi = halves((high - low) / np.float32(15)), halves(low), 0, 15
    return np.repeat(d, 32, 1), np.repeat(m, 32, 1), lo, hi


def gptq(w, h, scale, shift, lo, hi, damping=0.01, cross=None, alpha=0.0):
    """W' in double; columns by descending H_jj. cross = sum x dx^T: the target is then W + alpha * W cross^T H^-1."""
    w, h = w.astype(np.float64), h.astype(np.float64)
    n = len(h)
    order = np.argsort(-np.diag(h), kind='stable')
    h = h + damping * np.diag(h).mean() * np.eye(n)
    if cross is not None:
        w = w + alpha * w @ cross.astype(np.float64).T @ np.linalg.inv(h)
    u = np.linalg.cholesky(np.linalg.inv(h[np.ix_(order, order)])).T
    left, q = w[:, order].copy(), np.empty_like(w)
    for i, j in enumerate(order):
        d, m = scale[:, j], shift[:, j]
        q[:, j] = d * np.clip(np.rint((left[:, i] - m) / np.where(d == 0, 1, d)), lo, hi) + m
        left[:, i:] -= np.outer((left[:, i] - q[:, j]) / u[i, i], u[i, i:])
    return q


def correlated(r, samples, cols, spread=1.0, decay=1.0):
    """Inputs of which a few directions carry most, and channels of different sizes."""
    basis = np.linalg.qr(r.standard_normal((cols, cols)))[0]
    x = r.standard_normal((samples, cols)) * (np.arange(1, cols + 1) ** (-decay / 2)) @ basis.T
    return (x * np.exp(spread * r.standard_normal(cols))).astype(np.float32)
