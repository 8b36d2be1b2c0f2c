#!/usr/bin/python3
"""Trains the model that Nibble ships: tokenizer, teacher, student distilled from it, quantization-aware training, export.

  /usr/bin/python3 demo/model/train.py --stories ../shared/data/text/stories.jsonl.xz

Needs Debian's python3-torch, python3-sentencepiece, python3-numpy (and libopenblas0-pthread: without it single-precision products
crawl). Runs on the GPU where PyTorch finds one, else with one process a core. Everything goes to --work, each stage once; stopped at
any moment it goes on from the last checkpoint. The same seed, workers and machine type give the same model.
"""
import argparse
import csv
import dataclasses
import os
import sys
import time

os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
os.environ.setdefault('OMP_NUM_THREADS', '1')

import sentencepiece
import torch
import torch.multiprocessing as mp

import data
import export
import llama
import quant

HERE = os.path.dirname(os.path.abspath(__file__))


@dataclasses.dataclass(frozen=True)
class Stage:
    """One run of training. Rates are those of the first step after the warm-up; they fall linearly to nothing."""
    name: str
    config: llama.Config
    tokens: int
    begin: str = None      # the stage whose weights it begins with
    teacher: str = None    # the stage it is distilled from
    alpha: float = 0.0     # the teacher's part of the loss
    batch: int = 8         # rows of a step
    length: int = 1024     # tokens of a row
    long: float = 0.2      # the last part of the steps, whose rows are twice as long and half as many
    muon: float = 0.02     # rate of the matrices
    adam: float = 3e-3     # rate of embedding and norms
    decay: float = 0.1
    warmup: int = 40
    qat: bool = False


TEACHER = llama.Config(dim=384, layers=5, heads=6, kv_heads=2, ffn=1024)
STUDENT = llama.Config(dim=256, layers=5, heads=4, kv_heads=2, ffn=768)
STAGES = [
    Stage('teacher', TEACHER, 15_500_000),
    Stage('student', STUDENT, 20_500_000, teacher='teacher', alpha=0.5),
    Stage('qat', STUDENT, 4_000_000, begin='student', teacher='student', alpha=0.7, long=1.0, muon=0.004, adam=6e-4, qat=True),
]


def say(text):
    print(f'{time.strftime("%H:%M:%S")} {text}', flush=True)


def newton_schulz(g):
    """The nearest (semi-)orthogonal matrix, roughly (Muon, K. Jordan 2024: five steps of a quintic iteration)."""
    x = g.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.t() if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        a = x @ x.t()
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.t() if tall else x).float()


class Weights:
    """All weights in one shared vector, so that the processes see each other's updates; `views` are the matrices in it."""

    def __init__(self, shapes):
        self.shapes = shapes
        self.flat = torch.zeros(sum(torch.Size(s).numel() for s in shapes.values())).share_memory_()
        self.views, at = {}, 0
        for name, shape in shapes.items():
            n = torch.Size(shape).numel()
            self.views[name] = self.flat[at:at + n].view(shape)
            at += n


def train_worker(rank, workers, stage, args, shared, barrier):
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    weights, first, second, grads, sums, state = (shared[k] for k in ('weights', 'first', 'second', 'grads', 'sums', 'state'))
    c = stage.config
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=os.path.join(args.work, 'tokenizer.model'))
    rows, held = [], []  # of the short steps, of the long ones
    for twice in (1, 2):
        rows.append(iter(data.Rows(os.path.join(args.work, 'train.npz'), tokenizer, stage.length * twice, f'{args.seed} {stage.name} {twice}')))
        of = data.Rows(os.path.join(args.work, 'held-out.npz'), tokenizer, stage.length * twice, args.seed)
        held.append([row for row, _ in zip(of, range(2 * stage.batch // twice))])
    dtype = torch.float32 if stage.qat else torch.bfloat16
    quantize = {'quantize_act': quant.FakeInt8.apply, 'quantize_kv': quant.FakeHalf.apply} if stage.qat else {}
    names = list(weights.shapes)
    # Which process updates which weights: the largest first, each to the one with the least so far.
    mine, load = set(), [0] * workers
    for name in sorted(names, key=lambda n: -weights.views[n].numel()):
        to = load.index(min(load))
        load[to] += weights.views[name].numel()
        mine |= {name} if to == rank else set()

    teacher = None
    if stage.teacher:
        trained = load_stage(args, stage.teacher)
        teacher = {n: t.to(device, torch.bfloat16) for n, t in trained.items()}
        teacher_config = next(s.config for s in STAGES if s.name == stage.teacher)

    def compute_weights():
        w = {}
        for n, t in weights.views.items():
            t = t.to(device)
            if t.dim() == 2:
                t = quant.fake_q4_0(t) if stage.qat else t
                if n == 'embed':
                    w['lookup'] = t.clone().requires_grad_()
                t = t.to(dtype)
            w[n] = t.clone().requires_grad_()
        return w

    steps = stage.tokens // (stage.batch * stage.length)
    short = steps - int(steps * stage.long)

    def take(step):
        long = step >= short
        return [next(rows[long]) for _ in range(stage.batch // (2 if long else 1))]

    log = None
    if rank == 0:
        log = csv.writer(open(os.path.join(args.work, f'{stage.name}.csv'), 'a', newline='', buffering=1))
        if not state[0]:
            log.writerow(['step', 'tokens', 'rate', 'loss', 'cross_entropy', 'held_out', 'seconds'])
        say(f'{stage.name}: {weights.flat.numel()} parameters, {steps} steps of {stage.batch * stage.length} tokens on {workers} x {device}')
    for step in range(int(state[0])):
        take(step)
    began, spent = time.time(), float(state[1])
    for step in range(int(state[0]), steps):
        rate = min(1, (step + 1) / stage.warmup) * (1 - max(0, step - stage.warmup) / (steps - stage.warmup))
        batch = take(step)[rank::workers]
        w = compute_weights()
        loss_sum = plain_sum = 0.0
        for at in range(0, len(batch), args.rows):
            tokens = torch.tensor(batch[at:at + args.rows], device=device)
            ahead = tokens[:, :-1]
            with torch.no_grad():
                taught = (llama.hidden(teacher, ahead, teacher_config), teacher['embed']) if teacher else None
            loss, plain = llama.DistilledLoss.apply(llama.hidden(w, ahead, c, **quantize), w['embed'], tokens[:, 1:].reshape(-1), taught, stage.alpha)
            part = len(tokens) / len(batch) / workers
            (loss * part).backward()
            loss_sum += loss.item() * part
            plain_sum += plain.item() * part
        for n in names:
            g = w[n].grad.float()
            grads[rank].views[n].copy_(g + w['lookup'].grad if n == 'embed' else g)
        sums[rank, 0], sums[rank, 1] = loss_sum, plain_sum
        barrier.wait()

        for n in names:
            if n not in mine:
                continue
            p, m = weights.views[n], first.views[n]
            g = sum(grads[r].views[n] for r in range(workers))
            if p.dim() == 2 and n != 'embed':
                m.mul_(0.95).add_(g)
                p.mul_(1 - stage.muon * rate * stage.decay)
                p.add_(newton_schulz((g + 0.95 * m).to(device)).to(p.device), alpha=-stage.muon * rate * max(1, p.shape[0] / p.shape[1]) ** 0.5)
            else:
                v = second.views[n]
                m.lerp_(g, 0.1)
                v.lerp_(g * g, 0.05)
                t = step + 1
                p.sub_(stage.adam * rate * (m / (1 - 0.9 ** t)) / ((v / (1 - 0.95 ** t)).sqrt() + 1e-8))
        barrier.wait()
        done = step + 1
        evaluate = done % 100 == 0 or done == steps
        if evaluate:
            w = {n: t.detach() for n, t in compute_weights().items()}
            sums[rank, 2] = llama.cross_entropy(w, torch.tensor(held[step >= short][rank::workers], device=device), c, **quantize)
            barrier.wait()
        if rank == 0:
            loss, plain, value = sums.sum(0).tolist()
            value = value / (2 * stage.batch * stage.length) if evaluate else None
            seconds = spent + time.time() - began
            log.writerow([done, done * stage.batch * stage.length, f'{rate:.4f}', f'{loss:.4f}', f'{plain:.4f}', f'{value:.4f}' if evaluate else '', f'{seconds:.0f}'])
            if done % 20 == 0 or evaluate:
                say(f'{stage.name} {done}/{steps}: loss {loss:.3f} (cross entropy {plain:.3f}){f", held out {value:.4f}" if evaluate else ""}, '
                    f'{done * stage.batch * stage.length / seconds:.0f} tokens/s')
            state[0], state[1] = done, seconds
            if done % args.save_every == 0 or done == steps:
                save(os.path.join(args.work, f'{stage.name}.checkpoint'), {
                    'weights': weights.flat, 'first': first.flat, 'second': second.flat, 'state': state})
        barrier.wait()


def save(path, what):
    torch.save(what, path + '.part')
    os.replace(path + '.part', path)


def load_stage(args, name):
    return torch.load(os.path.join(args.work, f'{name}.pt'))


def run_stage(stage, args):
    done = os.path.join(args.work, f'{stage.name}.pt')
    if os.path.exists(done):
        return
    workers = args.workers
    assert stage.batch % (2 * workers) == 0, f'{stage.batch} rows of a step cannot be split among {workers} processes'
    shapes = llama.shapes(stage.config)
    shared = {k: Weights(shapes) for k in ('weights', 'first', 'second')}
    shared['grads'] = [Weights(shapes) for _ in range(workers)]
    shared['sums'] = torch.zeros(workers, 3, dtype=torch.float64).share_memory_()
    shared['state'] = torch.zeros(2, dtype=torch.float64).share_memory_()  # steps done, seconds spent
    checkpoint = os.path.join(args.work, f'{stage.name}.checkpoint')
    if os.path.exists(checkpoint):
        kept = torch.load(checkpoint)
        for k in ('weights', 'first', 'second'):
            shared[k].flat.copy_(kept[k])
        shared['state'].copy_(kept['state'])
        trim_log(os.path.join(args.work, f'{stage.name}.csv'), int(kept['state'][0]))
    else:
        weights = load_stage(args, stage.begin) if stage.begin else llama.initial(stage.config, args.seed)
        for name, view in shared['weights'].views.items():
            view.copy_(weights[name])
        trim_log(os.path.join(args.work, f'{stage.name}.csv'), 0)
    barrier = mp.get_context('fork').Barrier(workers)
    if workers == 1:
        train_worker(0, 1, stage, args, shared, barrier)
    else:  # forked, so that they share the vectors as they are
        mp.start_processes(train_worker, (workers, stage, args, shared, barrier), workers, start_method='fork')
    save(done, {n: v.clone() for n, v in shared['weights'].views.items()})


def trim_log(path, steps):
    """Steps that a checkpoint does not hold are done again, and logged again."""
    if not os.path.exists(path):
        return
    with open(path, newline='') as file:
        rows = list(csv.reader(file))
    kept = [r for r in rows[1:] if int(r[0]) <= steps]
    with open(path, 'w', newline='') as file:
        if kept:
            csv.writer(file).writerows(rows[:1] + kept)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = os.path.dirname(os.path.dirname(HERE))
    p.add_argument('--stories', default=os.path.join(os.path.dirname(root), 'shared/data/text/stories.jsonl.xz'))
    p.add_argument('--work', default=os.path.join(root, '.train'), help='folder of tokens, checkpoints and logs')
    p.add_argument('--out', default=HERE, help='folder of the finished model')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    p.add_argument('--workers', type=int, help='processes (default: 2 on CPUs, 1 on a GPU)')
    p.add_argument('--threads', type=int, default=1, help='threads of a process')
    p.add_argument('--rows', type=int, default=1, help='rows of one forward and backward pass')
    p.add_argument('--save-every', type=int, default=50)
    p.add_argument('--factor', type=float, help='times the tokens of every stage (default: 1, on a GPU 10)')
    args = p.parse_args()
    args.workers = args.workers or (1 if args.device == 'cuda' else 2)
    factor = args.factor or (10 if args.device == 'cuda' else 1)
    if not os.path.exists(args.stories):
        sys.exit(f'{args.stories} is missing: name the file of stories with --stories.')
    os.makedirs(args.work, exist_ok=True)
    data.prepare(args.stories, args.work, say)
    for stage in STAGES:
        run_stage(dataclasses.replace(stage, tokens=int(stage.tokens * factor)), args)
    export.write(args.work, args.out, STUDENT, say)


if __name__ == '__main__':
    main()
