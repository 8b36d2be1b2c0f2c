#!/usr/bin/python3
"""The figures of MODEL_CARD.md: perplexities and divergences on the held-out text, samples, the picture of the losses.

  /usr/bin/python3 demo/model/report.py          after train.py and `npm run build`

Everything is measured by `nibble`, on the kernels that people run. Needs python3-matplotlib besides what train.py needs.
"""
import argparse
import csv
import json
import os
import re
import subprocess

import matplotlib
matplotlib.use('Agg')
import matplotlib.pyplot as plt

import export
from train import HERE, STAGES

PROMPTS = [
    'Tell the child-appropriate tale called `Mia and the Flying Bicycle`.', 'Tell a campfire story called `Gus and the Haunted Mill`.', 'Write a poem about the sea.',
    'Write a story about a young girl who finds a magical book in the forest.', 'Write a poem about winter.', 'Explain the moon in simple terms.',
    'Write a slice-of-life story about Tom and Lucy discussing soup.', 'Write a song about rain.', 'Tell a joke about a dog.',
    'Tell the child-appropriate tale called `Benny Goes to the Zoo`.',
]


def nibble(*args):
    root = os.path.dirname(os.path.dirname(HERE))
    done = subprocess.run(['node', os.path.join(root, 'js/cli.js'), *args, '--json'], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def table(work, out):
    text = os.path.join(work, 'held-out.txt')
    f16 = os.path.join(out, f'{export.FILE}-F16.gguf')
    rows = [('float', f16, ['--float-activations']), ('float model, int4 by rounding', os.path.join(work, f'{export.FILE}-Q4_0-rounded.gguf'), []),
            ('int4 by training (shipped)', os.path.join(out, f'{export.FILE}-Q4_0.gguf'), [])]
    lines = ['| weights | file | perplexity | against float | KL from float | same first token |', '|---|---|---|---|---|---|']
    base = None
    for name, path, options in rows:
        r = nibble('perplexity', path, '--file', text, '--parse-special', *options, *([] if path == f16 else ['--against', f16]))
        base = base or r['ppl']
        kl = '' if path == f16 else f"{r['kld']['mean']:.4f} mean, {r['kld']['median']:.4f} median, {r['kld']['p99']:.3f} 99th percentile"
        same = '' if path == f16 else f"{100 * r['top1_agreement']:.1f} %"
        lines.append(f"| {name} | {os.path.getsize(path) / 1e6:.2f} MB | {r['ppl']:.4f} ± {r['ppl_error']:.4f} | {'' if path == f16 else f'''{100 * (r['ppl'] / base - 1):+.2f} %'''} | {kl} | {same} |")
        print(lines[-1], flush=True)
    lines += ['', f"{r['tokens']} predictions in {r['chunks']} chunks of {r['n_ctx']} tokens of the held-out conversations."]
    return '\n'.join(lines)


def samples(out):
    parts = []
    for seed, prompt in enumerate(PROMPTS, 1):
        r = nibble('run', os.path.join(out, f'{export.FILE}-Q4_0.gguf'), prompt, '--chat', '--seed', str(seed))
        quoted = '\n'.join(f'> {line}'.rstrip() for line in r['text'].strip().split('\n'))
        parts.append(f"**{prompt}** (seed {seed}; {len(r['tokens'])} tokens, ended by {'itself' if r['finish_reason'] == 'stop' else 'the limit of the context'})\n\n{quoted}")
    return '\n\n'.join(parts)


def read_log(work, stage):
    with open(os.path.join(work, f'{stage}.csv'), newline='') as file:
        return list(csv.DictReader(file))


def picture(work, path):
    figure, axes = plt.subplots(figsize=(9, 4.2), dpi=110)
    at = 0
    for stage, colour in zip(STAGES, ('#8a6d3b', '#2f6f9f', '#3c8c54')):
        rows = read_log(work, stage.name)
        tokens = [int(r['tokens']) / 1e6 for r in rows]
        losses = [float(r['cross_entropy']) for r in rows]
        width = 20
        smooth = [sum(losses[max(0, i - width):i + 1]) / len(losses[max(0, i - width):i + 1]) for i in range(len(losses))]
        axes.plot([at + t for t in tokens], smooth, color=colour, label=f'{stage.name}: training, mean of {width} steps')
        held = [(at + int(r['tokens']) / 1e6, float(r['held_out'])) for r in rows if r['held_out']]
        axes.plot(*zip(*held), 'o', color=colour, markersize=3.5, markerfacecolor='white', label=f'{stage.name}: held out')
        at += tokens[-1]
        axes.axvline(at, color='#cccccc', linewidth=0.8)
    axes.set_xlabel('million tokens of training, one stage after the other')
    axes.set_ylabel('cross entropy, nats per token')
    axes.set_ylim(top=5)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)


def stages(work):
    lines = ['| stage | parameters | tokens | steps | hours | cross entropy, held out |', '|---|---|---|---|---|---|']
    for stage in STAGES:
        last = read_log(work, stage.name)[-1]
        import torch
        n = sum(t.numel() for t in torch.load(os.path.join(work, f'{stage.name}.pt')).values())
        lines.append(f"| {stage.name} | {n / 1e6:.2f} M | {int(last['tokens']) / 1e6:.1f} M | {last['step']} | {int(last['seconds']) / 3600:.2f} | {last['held_out']} |")
    return '\n'.join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = os.path.dirname(os.path.dirname(HERE))
    p.add_argument('--work', default=os.path.join(root, '.train'))
    p.add_argument('--out', default=HERE)
    args = p.parse_args()
    picture(args.work, os.path.join(args.out, 'losses.png'))
    parts = {'stages': stages(args.work), 'table': table(args.work, args.out), 'samples': samples(args.out)}
    path = os.path.join(HERE, 'MODEL_CARD.md')
    with open(path) as file:
        card = file.read()
    for name, text in parts.items():
        card, n = re.subn(f'(<!-- {name} -->\n).*?(<!-- end -->)', lambda m: f'{m[1]}\n{text}\n\n{m[2]}', card, flags=re.S)
        assert n == 1, f'MODEL_CARD.md has no place for {name}'
    with open(path, 'w') as file:
        file.write(card)


if __name__ == '__main__':
    main()
