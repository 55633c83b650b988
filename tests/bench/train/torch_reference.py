#!/usr/bin/env python3
"""Compares the built-in trainer's losses with PyTorch's, step by step.

Runs train_losses, which writes its initial weights, its batches and its losses; builds the same
model in torch from those weights, trains it on the same batches, and compares the losses. The two
agree when no loss differs by more than the tolerance.

Exit status: 0 they agree, 1 they do not, 77 skipped (no torch).
"""

import argparse
import array
import math
import pathlib
import subprocess
import sys
import tempfile
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError:
    print("skipped: no torch")
    sys.exit(77)


def read_config(folder):
    lines = (folder / "config.txt").read_text().splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines)}


def read_array(path, kind):
    values = array.array(kind)
    values.frombytes(path.read_bytes())
    return values


def read_weights(folder):
    flat = torch.tensor(read_array(folder / "weights.f32", "f"), dtype=torch.float32)
    weights = {}
    for line in (folder / "tensors.txt").read_text().splitlines():
        name, rows, columns, offset = line.split()
        rows, columns, offset = int(rows), int(columns), int(offset)
        count = rows * max(columns, 1)
        shape = (rows, columns) if columns else (rows,)
        weights[name] = flat[offset : offset + count].reshape(shape).clone().requires_grad_(True)
    return weights


def layer(x, w, prefix, heads):
    rows, context, width = x.shape
    norm = F.layer_norm(x, (width,), w[prefix + "ln_1.weight"], w[prefix + "ln_1.bias"])
    qkv = F.linear(norm, w[prefix + "attn.qkv.weight"], w[prefix + "attn.qkv.bias"])
    q, k, v = (
        part.reshape(rows, context, heads, width // heads).transpose(1, 2)
        for part in qkv.split(width, dim=2)
    )
    scores = q @ k.transpose(2, 3) / math.sqrt(width // heads)
    future = torch.ones(context, context, dtype=torch.bool).triu(1)
    mixed = scores.masked_fill(future, -math.inf).softmax(3) @ v
    mixed = mixed.transpose(1, 2).reshape(rows, context, width)
    x = x + F.linear(mixed, w[prefix + "attn.proj.weight"], w[prefix + "attn.proj.bias"])
    norm = F.layer_norm(x, (width,), w[prefix + "ln_2.weight"], w[prefix + "ln_2.bias"])
    inner = F.linear(norm, w[prefix + "mlp.fc.weight"], w[prefix + "mlp.fc.bias"])
    inner = F.gelu(inner, approximate="tanh")
    return x + F.linear(inner, w[prefix + "mlp.proj.weight"], w[prefix + "mlp.proj.bias"])


def loss_of(w, config, windows):
    x = F.embedding(windows[:, :-1], w["wte.weight"]) + w["wpe.weight"]
    for index in range(int(config["layers"])):
        x = layer(x, w, f"h.{index}.", int(config["heads"]))
    x = F.layer_norm(x, (x.shape[2],), w["ln_f.weight"], w["ln_f.bias"])
    logits = F.linear(x, w["wte.weight"])
    return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def learning_rate(config, step):
    if step <= config["warmup"]:
        return config["lr"] * step / config["warmup"]
    progress = (step - config["warmup"]) / max(config["steps"] - config["warmup"], 1)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
    return config["lr"] * (config["min_ratio"] + (1 - config["min_ratio"]) * cosine)


def train(folder, config):
    w = read_weights(folder)
    shape = (-1, int(config["batch"]), int(config["context"]) + 1)
    batches = torch.tensor(read_array(folder / "batches.i32", "i"), dtype=torch.int64)
    groups = [
        {"params": [t for t in w.values() if t.dim() == 2], "weight_decay": config["weight_decay"]},
        {"params": [t for t in w.values() if t.dim() == 1], "weight_decay": 0.0},
    ]
    betas = (config["beta1"], config["beta2"])
    optimizer = torch.optim.AdamW(groups, lr=config["lr"], betas=betas, eps=config["epsilon"])
    losses = []
    for step, windows in enumerate(batches.reshape(shape), start=1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        optimizer.zero_grad()
        loss = loss_of(w, config, windows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(w.values()), config["clip"])
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the train_losses of a build")
    parser.add_argument("text", help="any file; its bytes are the tokens")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tolerance", type=float, default=0.02)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        command = [args.program, args.text, name, str(args.steps), str(args.threads)]
        print("ours:", subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
        ours = [float(line) for line in (folder / "losses.txt").read_text().split()]
        start = time.monotonic()
        theirs = train(folder, read_config(folder))
        print(f"torch: {1e3 * (time.monotonic() - start) / args.steps:.1f} ms a step")
    if len(ours) != len(theirs) or len(ours) != args.steps:
        sys.exit(f"{len(ours)} losses against {len(theirs)}")
    worst = max(range(len(ours)), key=lambda i: abs(ours[i] - theirs[i]))
    print(f"first loss {ours[0]:.6f} and {theirs[0]:.6f}, last {ours[-1]:.6f} and {theirs[-1]:.6f}")
    print(f"largest difference {abs(ours[worst] - theirs[worst]):.6f} at step {worst + 1}")
    agree = all(abs(a - b) <= args.tolerance for a, b in zip(ours, theirs))
    print("agree" if agree else "differ")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
