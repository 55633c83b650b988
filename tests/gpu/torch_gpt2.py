#!/usr/bin/env python3
"""PyTorch's speed on the shapes that run.sh trains: GPT-2 with bf16 autocast, fused AdamW.

Usage: torch_gpt2.py eager|compile [--layers N --width N --heads N --context N --vocab N
                                    --batch N --steps N]
Prints one line: tokens/s of the median step, then the loss of the last one. Exit 77 where
there is no PyTorch or no GPU for it. The model is the same as the trainer's: pre-norm, GELU of
the tanh form, a tied head, every weight trained; attention is PyTorch's own fused kernel.
"""
import argparse
import statistics
import sys
import time


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["eager", "compile"])
    for name, value in dict(
        layers=12, width=768, heads=12, context=1024, vocab=50304, batch=32, steps=40
    ).items():
        parser.add_argument("--" + name, type=int, default=value)
    return parser.parse_args()


try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    print("skipped: no PyTorch")
    sys.exit(77)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        rows, context, width = x.shape
        q, k, v = (
            part.view(rows, context, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(width, dim=2)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(mixed.transpose(1, 2).reshape(rows, context, width))
        return x + self.out(functional.gelu(self.fc(self.norm2(x)), approximate="tanh"))


class Model(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.tokens = nn.Embedding(o.vocab, o.width)
        self.positions = nn.Embedding(o.context, o.width)
        self.blocks = nn.ModuleList(Block(o.width, o.heads) for _ in range(o.layers))
        self.norm = nn.LayerNorm(o.width)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens, targets):
        where = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.tokens(tokens) + self.positions(where)
        for block in self.blocks:
            x = block(x)
        logits = functional.linear(self.norm(x), self.tokens.weight)
        return functional.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def main():
    o = options()
    if not torch.cuda.is_available():
        print("skipped: no GPU")
        return 77
    torch.manual_seed(1)
    device = torch.device("cuda")
    model = Model(o).to(device)
    update = torch.optim.AdamW(
        model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    run = torch.compile(model) if o.mode == "compile" else model
    batches = torch.randint(0, o.vocab, (8, o.batch, o.context + 1), device=device)

    def step(i):
        batch = batches[i % len(batches)]
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = run(batch[:, :-1].contiguous(), batch[:, 1:].contiguous())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        update.step()
        update.zero_grad(set_to_none=True)
        return loss

    for i in range(10):  # compiles, and finds its algorithms
        step(i)
    seconds = []
    for i in range(o.steps):
        torch.cuda.synchronize()
        start = time.perf_counter()
        loss = step(i)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    rate = o.batch * o.context / statistics.median(seconds)
    print(f"{rate:.0f} tokens/s, loss {loss.item():.4f}, torch {torch.__version__} {o.mode}")
    return 0


sys.exit(main())
