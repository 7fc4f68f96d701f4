#!/usr/bin/env python3
"""Training speed and memory of siskin beside PyTorch on this machine, in turn, medians.

    cargo build --release
    pip install torch
    python3 trainer/benches/pytorch.py                    # every row; minutes
    python3 trainer/benches/pytorch.py --rows gpt,llama   # some; --list names them

Both take the same steps: the same shapes, batch, optimiser and clipping, on random tokens. PyTorch gets its best setting here:
scaled_dot_product_attention, nn.LSTM and its kin, foreach optimisers, as many threads as cores. Each side is a process of its own, so
that the resident peak is that of one model alone; of the processes of a round one runs at a time, for a slice of a few steps, and the
others stand still (SIGSTOP), so that what else the machine does meets all of them alike. A step that was cut is an outlier to a median.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time

VOCAB, CLIP = 65, 1.0

# name: (family, layers, width, heads, tokens of a window, windows)
ROWS = {
    "gpt": ("gpt", 4, 128, 4, 64, 12),
    "llama": ("llama", 4, 128, 4, 64, 12),
    "lstm-128": ("lstm", 2, 128, 0, 50, 50),
    "lstm": ("lstm", 2, 512, 0, 64, 32),
    "gru": ("gru", 2, 512, 0, 64, 32),
    "rnn": ("rnn", 2, 512, 0, 64, 32),
    "gpt-384": ("gpt", 6, 384, 6, 256, 64),
    "llama-384": ("llama", 6, 384, 6, 256, 64),
}
# seconds of a slice: a dozen steps of the small shapes, a few of the large ones
SLICES = {"gpt": 0.7, "llama": 0.7, "lstm-128": 0.7, "lstm": 3, "gru": 3, "rnn": 2, "gpt-384": 50, "llama-384": 50}
GOALS = {"gpt": 2.2, "llama": 2.2, "lstm-128": 2.0, "lstm": 1.4, "gru": 2.0, "rnn": 2.0, "gpt-384": 1.5, "llama-384": 1.5}


def hidden_of_gate(width):
    """Width of a gated feed-forward part: 8/3, rounded up to 32, as siskin's preset has it."""
    return (width * 8 // 3 + 31) // 32 * 32


def torch_model(family, layers, width, heads, context):
    import torch
    import torch.nn as nn
    import torch.nn.functional as F

    class Norm(nn.Module):
        """RMS norm with a weight."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(width))

        def forward(self, x):
            return F.rms_norm(x, (width,), self.weight, 1e-5)

    def rotated(x, cos, sin):
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            llama = family == "llama"
            self.norm1, self.norm2 = (Norm(), Norm()) if llama else (nn.LayerNorm(width), nn.LayerNorm(width))
            self.qkv, self.out = nn.Linear(width, 3 * width, bias=not llama), nn.Linear(width, width, bias=not llama)
            inner = hidden_of_gate(width) if llama else 4 * width
            self.up = nn.Linear(width, 2 * inner if llama else inner, bias=not llama)
            self.down = nn.Linear(inner, width, bias=not llama)

        def forward(self, x, turn):
            batch, length, _ = x.shape
            q, k, v = (z.view(batch, length, heads, width // heads).transpose(1, 2) for z in self.qkv(self.norm1(x)).split(width, 2))
            if turn is not None:
                q, k = rotated(q, *turn), rotated(k, *turn)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
            h = self.up(self.norm2(x))
            if turn is None:
                return x + self.down(F.gelu(h, approximate="tanh"))
            gate, up = h.chunk(2, -1)
            return x + self.down(F.silu(gate) * up)

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(VOCAB, width)
            self.position = nn.Embedding(context, width) if family == "gpt" else None
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm = nn.LayerNorm(width) if family == "gpt" else Norm()
            self.head = nn.Linear(width, VOCAB, bias=False)
            if family == "gpt":
                self.head.weight = self.embed.weight
            half = width // heads // 2
            angle = torch.arange(context)[:, None] * 1000.0 ** (-torch.arange(half) / half)[None]
            self.turn = None if family == "gpt" else (angle.cos(), angle.sin())

        def forward(self, tokens, targets):
            x = self.embed(tokens)
            if self.position is not None:
                x = x + self.position(torch.arange(tokens.shape[1]))
            for block in self.blocks:
                x = block(x, self.turn)
            return F.cross_entropy(self.head(self.norm(x)).view(-1, VOCAB), targets.reshape(-1))

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(VOCAB, width), nn.Linear(width, VOCAB)
            self.cells = getattr(nn, family.upper())(width, width, layers)

        def forward(self, tokens, targets):
            y, _ = self.cells(self.embed(tokens.t()))
            return F.cross_entropy(self.head(y).view(-1, VOCAB), targets.t().reshape(-1))

    return Transformer() if heads else Recurrent()


def torch_speed(row, threads, seconds, steps):
    """One measurement, in this process."""
    import torch

    family, layers, width, heads, context, batch = ROWS[row]
    torch.set_num_threads(threads)
    model = torch_model(family, layers, width, heads, context)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, foreach=True)
    tokens, targets = (torch.randint(0, VOCAB, (batch, context)) for _ in range(2))
    times = []
    while len(times) < steps or sum(times) < seconds:
        begin = time.time()
        loss = model(tokens, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP, foreach=True)
        optimizer.step()
        times.append(time.time() - begin)
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    times = times[1:] if len(times) > 1 else times  # the first step allocates
    found = {"tokens_per_second": batch * context / statistics.median(times), "peak_memory": 1024 * peak}
    print(json.dumps({**found, "version": torch.__version__}))


def measured(commands, slice_seconds):
    """What each command printed; they run in turn, a slice each, until all are done."""
    processes = []
    for command in commands:
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True))
        os.killpg(processes[-1].pid, signal.SIGSTOP)
    try:
        while running := [p for p in processes if p.poll() is None]:
            for process in running:
                os.killpg(process.pid, signal.SIGCONT)
                try:
                    process.wait(slice_seconds)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGSTOP)
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    for command, process in zip(commands, processes):
        if process.returncode != 0:
            sys.exit(f"failed: {' '.join(map(str, command))}\n{process.stderr.read()}")
    return [json.loads(p.stdout.read()) for p in processes]


def siskin_command(program, row, threads, seconds, steps):
    family, layers, width, heads, context, batch = ROWS[row]
    flags = {"model": family, "n-layers": layers, "d-model": width, "hidden": width, "context": context, "batch-size": batch,
             "vocab-size": VOCAB, "optimizer": "adamw", "lr": 1e-3, "weight-decay": 0.1, "clip-norm": CLIP, "threads": threads,
             "seconds": seconds, "least-steps": steps}
    if heads:
        flags.update({"n-heads": heads, "token-shift": "false"})
    if family == "llama":  # what plain Llama does not have
        flags.update({"qk-norm": "false", "logit-softcap": 0})
    return [program, "bench", "--json"] + [word for name, value in flags.items() for word in (f"--{name}", str(value))]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help="names, with commas between them")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each side")
    parser.add_argument("--seconds", type=float, default=12, help="least seconds of a measurement, those in which it stood still included")
    parser.add_argument("--steps", type=int, default=2, help="least steps of a measurement")
    parser.add_argument("--slice", type=float, help="seconds that one side runs before the other does (default: by the row)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--siskin", default=os.path.join(here, "../../target/release/siskin-train"), help="the program")
    parser.add_argument("--one-thread", action="store_true", help="measure siskin on one thread, too")
    parser.add_argument("--torch-row", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.list:
        for name, (family, layers, width, heads, context, batch) in ROWS.items():
            print(f"{name:10} {family}, {layers} layers, {width} wide, {context} tokens, {batch} windows")
        return
    if args.torch_row:
        torch_speed(args.torch_row, args.threads, args.seconds, args.steps)
        return
    print("| work | siskin, tokens/s | PyTorch, tokens/s | ratio | goal | siskin, MB | PyTorch, MB | siskin, 2 threads against 1 |")
    print("|---|---|---|---|---|---|---|---|")
    for row in args.rows.split(","):
        ours, peers, single = [], [], []
        seconds = max(args.seconds, 2 * SLICES[row])
        common = ["--threads", str(args.threads), "--seconds", str(seconds), "--steps", str(args.steps)]
        for _ in range(args.rounds):
            commands = [siskin_command(args.siskin, row, threads, seconds, args.steps) for threads in [args.threads, 1]]
            commands[int(args.one_thread) + 1:] = [[sys.executable, __file__, "--torch-row", row] + common]
            *found, peer = measured(commands, args.slice or SLICES[row])
            peers.append(peer)
            ours.append(found[0])
            single += found[1:]
        speed = lambda found: statistics.median(f["tokens_per_second"] for f in found)
        memory = lambda found: max(f["peak_memory"] for f in found) / 1e6
        ratios = [o["tokens_per_second"] / p["tokens_per_second"] for o, p in zip(ours, peers)]
        scaling = f"{statistics.median(o['tokens_per_second'] / s['tokens_per_second'] for o, s in zip(ours, single)):.2f}" if single else ""
        print(f"| {row} | {speed(ours):,.0f} | {speed(peers):,.0f} | **{statistics.median(ratios):.2f}** ({min(ratios):.2f}–{max(ratios):.2f}) "
              f"| {GOALS[row]} | {memory(ours):,.0f} | {memory(peers):,.0f} | {scaling} |", flush=True)


if __name__ == "__main__":
    main()
