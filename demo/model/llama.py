"""A small Llama in plain PyTorch functions: forward pass, loss and initial weights.

Weights are a dict of float32 tensors named as below; matrices are [out, in] as in torch.nn.Linear. The forward pass takes them in
any dtype (bfloat16 for speed, float32 where quantization is simulated).

  embed [vocab, dim] (also the output head)    norm [dim]
  L.attn_norm, L.ffn_norm [dim]    L.q [heads * head_dim, dim]    L.k, L.v [kv_heads * head_dim, dim]    L.o [dim, heads * head_dim]
  L.gate, L.up [ffn, dim]    L.down [dim, ffn]            for each layer L

Formulas: RMSNorm, rotary positions in halves (the order of Hugging Face), SwiGLU and grouped queries as in the Llama papers.
"""
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Config:
    dim: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int = 4096
    context: int = 2048
    head_dim: int = 64
    eps: float = 1e-5
    theta: float = 10000.0


def shapes(c):
    """name -> shape, in the order in which weights are stored."""
    s = {'embed': (c.vocab, c.dim), 'norm': (c.dim,)}
    for i in range(c.layers):
        s.update({
            f'{i}.attn_norm': (c.dim,), f'{i}.q': (c.heads * c.head_dim, c.dim), f'{i}.k': (c.kv_heads * c.head_dim, c.dim),
            f'{i}.v': (c.kv_heads * c.head_dim, c.dim), f'{i}.o': (c.dim, c.heads * c.head_dim), f'{i}.ffn_norm': (c.dim,),
            f'{i}.gate': (c.ffn, c.dim), f'{i}.up': (c.ffn, c.dim), f'{i}.down': (c.dim, c.ffn)})
    return s


def initial(c, seed):
    g = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes(c).items():
        if len(shape) == 1:
            weights[name] = torch.ones(shape)
        else:
            std = 0.02 if name == 'embed' else 0.6 / math.sqrt(shape[1])
            if name.endswith(('.o', '.down')):
                std /= math.sqrt(2 * c.layers)
            weights[name] = torch.randn(shape, generator=g) * std
    return weights


class RmsNorm(torch.autograd.Function):
    """x [n, dim] float32 -> normed, in the dtype of the matrices that follow."""

    @staticmethod
    def forward(ctx, x, gain, eps, dtype):
        r = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, gain, r)
        return (x * r * gain.float()).to(dtype)

    @staticmethod
    def backward(ctx, g):
        x, gain, r = ctx.saved_tensors
        g, n = g.float(), x * r
        d_gain = (g * n).sum(0).to(gain.dtype)
        g = g * gain.float()
        return r * (g - n * (g * n).mean(-1, keepdim=True)), d_gain, None, None


def angles(c, length, device):
    """cos and sin of every position, [length, head_dim / 2] each."""
    f = c.theta ** (-torch.arange(0, c.head_dim, 2, dtype=torch.float64) / c.head_dim)
    a = torch.arange(length, dtype=torch.float64)[:, None] * f
    return a.cos().float().to(device), a.sin().float().to(device)


def rotate(x, cos, sin, dtype):
    """x [batch, length, heads, head_dim]"""
    a, b = x.float().chunk(2, -1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(dtype)


def attention(q, k, v, kv_heads, block=256):
    """q [b, t, heads, d] (scaled), k and v [b, t, kv_heads, d] -> [b * t, heads * d]. Queries go in blocks over no more keys than they see."""
    b, t, heads, d = q.shape
    group = heads // kv_heads
    q = q.view(b, t, kv_heads, group, d).permute(0, 2, 3, 1, 4).reshape(b * kv_heads, group, t, d)
    k = k.transpose(1, 2).reshape(b * kv_heads, t, d)
    v = v.transpose(1, 2).reshape(b * kv_heads, t, d)
    out = []
    for at in range(0, t, block):
        n, end = min(block, t - at), min(at + block, t)
        s = torch.bmm(q[:, :, at:end].reshape(-1, group * n, d), k[:, :end].transpose(1, 2)).view(-1, group, n, end)
        s[..., at:] += torch.full((n, n), -torch.inf, device=q.device).triu(1).to(s.dtype)
        p = torch.softmax(s, -1).view(-1, group * n, end)
        out.append(torch.bmm(p, v[:, :end]).view(b, kv_heads, group, n, d))
    return torch.cat(out, 3).permute(0, 3, 1, 2, 4).reshape(b * t, heads * d)


def hidden(w, tokens, c, quantize_act=lambda x: x, quantize_kv=lambda x: x):
    """tokens [b, t] -> the vectors that the head multiplies, [b * t, dim]. quantize_act is applied to what every matrix multiplies."""
    b, t = tokens.shape
    dtype = w['0.q'].dtype
    cos, sin = angles(c, t, tokens.device)
    x = F.embedding(tokens.reshape(-1), w['lookup'] if 'lookup' in w else w['embed']).float()
    norm = lambda x, gain: quantize_act(RmsNorm.apply(x, gain, c.eps, dtype))
    for i in range(c.layers):
        l = lambda name: w[f'{i}.{name}']
        h = norm(x, l('attn_norm'))
        q = rotate(F.linear(h, l('q')).view(b, t, c.heads, -1) * (c.head_dim ** -0.5), cos, sin, dtype)
        k = quantize_kv(rotate(F.linear(h, l('k')).view(b, t, c.kv_heads, -1), cos, sin, dtype))
        v = quantize_kv(F.linear(h, l('v')).view(b, t, c.kv_heads, -1))
        x = x + F.linear(quantize_act(attention(q, k, v, c.kv_heads)), l('o'))
        h = norm(x, l('ffn_norm'))
        x = x + F.linear(quantize_act(F.silu(F.linear(h, l('gate'))) * F.linear(h, l('up'))), l('down'))
    return norm(x, w['norm'])


class DistilledLoss(torch.autograd.Function):
    """(1 - alpha) * cross entropy + alpha * KL(teacher || student), the mean over all tokens; head and loss in pieces of `step` tokens.

    h [n, dim], head [vocab, dim], targets [n]; teacher: None or its (h, head). Also returns the plain cross entropy, for the log.
    """

    @staticmethod
    def forward(ctx, h, head, targets, teacher, alpha, step=512):
        n = len(targets)
        d_h, d_head = torch.empty_like(h), torch.zeros(head.shape, device=h.device)
        total, plain = 0.0, 0.0
        for at in range(0, n, step):
            part, want = h[at:at + step], targets[at:at + step, None]
            log_p = torch.log_softmax(F.linear(part, head).float(), -1)
            grad = log_p.exp()
            nll = -log_p.gather(1, want).sum()
            plain += nll.item()
            if teacher is None:
                total += nll.item()
                grad.scatter_add_(1, want, torch.full_like(want, -1, dtype=grad.dtype))
            else:
                log_t = torch.log_softmax(F.linear(teacher[0][at:at + step], teacher[1]).float(), -1)
                t = log_t.exp()
                total += (1 - alpha) * nll.item() + alpha * (t * (log_t - log_p)).sum().item()
                grad.sub_(t, alpha=alpha).scatter_add_(1, want, torch.full_like(want, alpha - 1, dtype=grad.dtype))
            grad = grad.mul_(1 / n).to(h.dtype)
            d_h[at:at + step] = grad @ head
            d_head += grad.t() @ part
        ctx.save_for_backward(d_h, d_head)
        ctx.dtype = head.dtype
        return torch.tensor(total / n), torch.tensor(plain / n)

    @staticmethod
    def backward(ctx, g, _):
        d_h, d_head = ctx.saved_tensors
        return d_h, d_head.to(ctx.dtype), None, None, None, None


@torch.no_grad()
def cross_entropy(w, tokens, c, **quantize):
    """tokens [b, t + 1] -> the sum of -log p over the b * t predictions."""
    h = hidden(w, tokens[:, :-1], c, **quantize)
    total = 0.0
    for part, want in zip(h.split(512), tokens[:, 1:].reshape(-1).split(512)):
        total += F.cross_entropy(F.linear(part, w['embed']).float(), want, reduction='sum').item()
    return total
