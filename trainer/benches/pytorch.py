#!/usr/bin/env python3
"""Training speed of siskin beside PyTorch on this machine: nanoGPT's CPU setting, in turn, medians.

    cargo build --release
    pip install torch
    python3 trainer/benches/pytorch.py

Both take the same steps: GPT form, 4 layers, 4 heads, 128 wide, 64 tokens, 12 windows, vocabulary 65, AdamW, gradient clipping by norm 1.
"""
import json
import os
import statistics
import subprocess
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

VOCAB, WIDTH, HEADS, LAYERS, CONTEXT, BATCH = 65, 128, 4, 4, 64, 12
SECONDS, ROUNDS, THREADS = 5, 3, os.cpu_count()
SISKIN = os.path.join(os.path.dirname(__file__), "../../target/release/siskin-train")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        batch, time_, _ = x.shape
        heads = lambda z: z.view(batch, time_, HEADS, WIDTH // HEADS).transpose(1, 2)
        q, k, v = map(heads, self.qkv(self.norm1(x)).split(WIDTH, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, time_, WIDTH))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.position = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens, targets):
        x = self.embed(tokens) + self.position(torch.arange(CONTEXT))
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).view(-1, VOCAB), targets.view(-1))


def torch_speed(model, optimizer):
    tokens, targets = (torch.randint(0, VOCAB, (BATCH, CONTEXT)) for _ in range(2))
    times, end = [], time.time() + SECONDS
    while time.time() < end:
        begin = time.time()
        loss = model(tokens, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(time.time() - begin)
    return BATCH * CONTEXT / statistics.median(times)


def siskin_speed():
    command = [SISKIN, "bench", "--json", "--seconds", str(SECONDS), "--threads", str(THREADS)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found["tokens_per_second"], found["peak_memory"]


def main():
    torch.set_num_threads(THREADS)
    model = Gpt()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    rows = []
    for _ in range(ROUNDS):
        peer = torch_speed(model, optimizer)
        ours, memory = siskin_speed()
        rows.append((ours, peer))
        print(f"siskin {ours:8,.0f} tok/s   PyTorch {torch.__version__} {peer:8,.0f} tok/s   ratio {ours / peer:.2f}")
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    ratio = statistics.median(ours / peer for ours, peer in rows)
    print(f"median ratio {ratio:.2f}; peak memory: siskin {memory / 1e6:.0f} MB, PyTorch {peak / 1e3:.0f} MB")


if __name__ == "__main__":
    main()
