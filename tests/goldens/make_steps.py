#!/usr/bin/env python3
"""Makes steps/*.json: ten training steps of small models of every family, as PyTorch takes them.

Run it with a Python that has PyTorch: `python3 make_steps.py`. All arithmetic is float64 on the CPU. Cells, norms,
attention, optimisers and clipping are PyTorch's own (nn.RNN, nn.GRU, nn.LSTM, scaled_dot_product_attention,
AdamW, clip_grad_norm_, ...); what it lacks (leaky-ReLU cell, RoPE, the wiring of blocks) stands below as its paper has it.

Weights are drawn by SplitMix64 from integers alone, so that any program can draw the same bits: `values` mirrors
tests/src/models.rs. The text is one sentence of "Hamlet" (public domain) as indices into its sorted characters.
"""
import json
import math
import os

import torch
import torch.nn.functional as F
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS, BATCH, LEN, SEED = 10, 3, 7, 5
TEXT = (
    "to be, or not to be, that is the question: whether 'tis nobler in the mind to suffer the slings and arrows of "
    "outrageous fortune, or to take arms against a sea of troubles, and by opposing end them? to die: to sleep; no more"
)
CHARS = sorted(set(TEXT))
TOKENS = [CHARS.index(c) for c in TEXT][: BATCH * LEN * STEPS + 1]
assert len(TOKENS) == BATCH * LEN * STEPS + 1
MASK = (1 << 64) - 1


def f32(x):
    """x rounded to float32, as a Python float."""
    return torch.tensor(x, dtype=torch.float32).item()


class SplitMix64:
    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def signed_unit(self):
        return ((self.next() >> 47) - (1 << 16)) / 65536


def values(name, rows, cols, role):
    """Elements of one tensor, exact in float32: tests/src/models.rs has the same function."""
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & MASK
    rng = SplitMix64(SEED ^ h)
    if role == "norm-weight":
        draw = lambda: 1 + 0.25 * rng.signed_unit()
    elif role in ("norm-bias", "bias"):
        draw = lambda: 0.125 * rng.signed_unit()
    elif role in ("embedding", "position", "token-shift"):
        draw = rng.signed_unit
    else:
        halvings = (cols.bit_length() - 1) // 2
        draw = lambda: rng.signed_unit() / (1 << halvings)
    return [draw() for _ in range(rows * cols)]


class Params:
    """Tensors by siskin's names, made when they are first asked for."""

    def __init__(self):
        self.tensors, self.decayed = {}, []

    def get(self, name, rows, cols, role):
        if name not in self.tensors:
            shape = (rows, cols) if role in ("matrix", "embedding", "position", "head") else (rows,)
            data = torch.tensor(values(name, rows, cols, role), dtype=torch.float64).reshape(shape)
            self.tensors[name] = nn.Parameter(data)
            if role == "matrix":
                self.decayed.append(name)
        return self.tensors[name]

    def matrix(self, name, rows, cols):
        return self.get(name, rows, cols, "matrix")

    def vector(self, name, n, role="bias"):
        return self.get(name, n, 1, role)


class Model:
    """The wiring: embedding, blocks, final norm, head."""

    def __init__(self, config):
        self.c, self.p, self.cells = config, Params(), {}
        self.eps = f32(config["norm_eps"])

    def norm(self, name, kind, x):
        c, width = self.c, x.shape[-1]
        weight = lambda: self.p.vector(f"{name}.weight", width, "norm-weight")
        bias = lambda: self.p.vector(f"{name}.bias", width, "norm-bias")
        if kind == "layer":
            w, b = weight() if c["norm_weight"] else None, bias() if c["norm_bias"] else None
            return F.layer_norm(x, (width,), w, b, self.eps)
        if kind == "rms":
            return F.rms_norm(x, (width,), weight() if c["norm_weight"] else None, self.eps)
        if kind == "batch":
            flat = x.reshape(-1, width)
            return F.batch_norm(flat, None, None, weight(), bias(), training=True, eps=self.eps).reshape(x.shape)
        return x

    def cell(self, name, block, x, state):
        """A recurrent cell over [batch, time, width]: output and the state after it."""
        kind, hidden = block["kind"], block["hidden"]
        gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
        w_x = self.p.matrix(f"{name}.w_x", gates * hidden, x.shape[-1])
        w_h = self.p.matrix(f"{name}.w_h", gates * hidden, hidden)
        zeros = torch.zeros(gates * hidden, dtype=torch.float64)
        b_x = self.p.vector(f"{name}.b_x", gates * hidden) if block["bias"] else zeros
        b_h = self.p.vector(f"{name}.b_h", gates * hidden) if block["bias"] and kind == "gru" else zeros
        start = torch.zeros(1, x.shape[0], hidden, dtype=torch.float64)
        if kind == "rnn" and block["activation"] == "leaky-relu":
            h, out = (start if state is None else state)[0], []
            for t in range(x.shape[1]):
                h = F.leaky_relu(x[:, t] @ w_x.T + b_x + h @ w_h.T, 0.01)
                out.append(h)
            return torch.stack(out, 1), h[None]
        if name not in self.cells:
            make = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind]
            how = {"nonlinearity": block["activation"]} if kind == "rnn" else {}
            self.cells[name] = make(x.shape[-1], hidden, batch_first=True, dtype=torch.float64, **how)
        given = {"weight_ih_l0": w_x, "weight_hh_l0": w_h, "bias_ih_l0": b_x, "bias_hh_l0": b_h}
        if state is None:
            state = (start, start) if kind == "lstm" else start
        return torch.func.functional_call(self.cells[name], given, (x, state))

    def rope(self, x, theta):
        """Pairs (i, i + head_dim/2) of [batch, heads, time, head_dim] turn by t theta^(-2i/head_dim)."""
        half = x.shape[-1] // 2
        t = torch.arange(x.shape[2], dtype=torch.float64)
        angle = t[:, None] * theta ** (-2 * torch.arange(half, dtype=torch.float64) / x.shape[-1])
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    def attention(self, name, block, x):
        p, dim = self.p, block["head_dim"]
        (batch, time, width), n_q, n_kv = x.shape, block["n_heads"], block["n_kv_heads"]

        def project(part, n):
            bias = p.vector(f"{name}.attn.b{part}", n * dim) if block["qkv_bias"] else None
            y = F.linear(x, p.matrix(f"{name}.attn.w{part}", n * dim, width), bias)
            return y.view(batch, time, n, dim).transpose(1, 2)

        q, k, v = project("q", n_q), project("k", n_kv), project("v", n_kv)
        if block["qk_norm"]:
            weight = lambda part: p.vector(f"{name}.attn.{part}_norm.weight", dim, "norm-weight")
            q, k = F.rms_norm(q, (dim,), weight("q"), self.eps), F.rms_norm(k, (dim,), weight("k"), self.eps)
        if self.c["position"] == "rope":
            q, k = self.rope(q, self.c["rope_theta"]), self.rope(k, self.c["rope_theta"])
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        bias = p.vector(f"{name}.attn.bo", width) if block["out_bias"] else None
        y = y.transpose(1, 2).reshape(batch, time, n_q * dim)
        return F.linear(y, p.matrix(f"{name}.attn.wo", width, n_q * dim), bias)

    def feed_forward(self, name, block, x):
        p, width, inner = self.p, x.shape[-1], block["d_ff"]
        vector = lambda part, n: p.vector(f"{name}.ffn.{part}", n) if block["ffn_bias"] else None
        activation = {
            "relu": F.relu,
            "gelu": lambda x: F.gelu(x, approximate="tanh"),
            "silu": F.silu,
            "relu2": lambda x: F.relu(x) ** 2,
        }[block["ffn"].removeprefix("gated-")]
        up = lambda part: F.linear(x, p.matrix(f"{name}.ffn.w_{part}", inner, width), vector(f"b_{part}", inner))
        hidden = activation(up("gate")) * up("up") if block["ffn"].startswith("gated-") else activation(up("up"))
        return F.linear(hidden, p.matrix(f"{name}.ffn.w_down", width, inner), vector("b_down", width))

    def sinusoids(self, time, width):
        """Vaswani et al. 2017, section 3.5: sine at even channels, cosine at odd ones."""
        t, j = torch.arange(time, dtype=torch.float64)[:, None], torch.arange(width)
        angle = t / 10000.0 ** ((j - j % 2).to(torch.float64) / width)
        return torch.where(j % 2 == 0, angle.sin(), angle.cos())

    def forward(self, tokens, states):
        """Logits of [batch, time] tokens, and the states of recurrent blocks after them."""
        c, p = self.c, self.p
        embedding = p.get("embed.weight", c["vocab_size"], c["d_model"], "embedding")
        x, time = F.embedding(tokens, embedding), tokens.shape[1]
        if c["position"] == "learned":
            x = x + p.get("position.weight", c["context"], c["d_model"], "position")[:time]
        if c["position"] == "sinusoidal":
            x = x + self.sinusoids(time, c["d_model"])
        after = []
        for i, block in enumerate(c["blocks"]):
            name = f"blocks.{i}"
            if block["kind"] == "transformer":
                y = self.attention(name, block, self.norm(f"{name}.norm1", block["norm"], x))
                x = x + y if block["residual"] else y
                y = self.feed_forward(name, block, self.norm(f"{name}.norm2", block["norm"], x))
                x = x + y if block["residual"] else y
                after.append(None)
            else:
                h, state = self.cell(name, block, self.norm(f"{name}.norm", block["norm"], x), states[i])
                x = x + h if block["residual"] else h
                after.append(tuple(s.detach() for s in state) if block["kind"] == "lstm" else state.detach())
        x = self.norm("final_norm", c["final_norm"], x)
        head = embedding if c["tied_head"] else p.get("head.weight", c["vocab_size"], x.shape[-1], "head")
        logits = F.linear(x, head, p.vector("head.bias", c["vocab_size"]) if c["head_bias"] else None)
        if c["logit_softcap"] > 0:
            logits = c["logit_softcap"] * torch.tanh(logits / c["logit_softcap"])
        return logits, after

    def loss(self, step, states):
        """Mean loss of window `step` of each of BATCH tracks, which cut the text into equal parts."""
        track = LEN * STEPS
        cut = lambda shift: torch.tensor(
            [TOKENS[b * track + step * LEN + shift :][:LEN] for b in range(BATCH)], dtype=torch.long
        )
        logits, states = self.forward(cut(0), states)
        return F.cross_entropy(logits.flatten(0, 1), cut(1).flatten()), states


def run(config, optimizer):
    model = Model(config)
    states = [None] * len(config["blocks"])
    with torch.no_grad():
        model.loss(0, states)  # makes the tensors
    p = model.p
    if optimizer["name"] == "sgd":
        optim = torch.optim.SGD(p.tensors.values(), lr=optimizer["lr"])
    else:
        decays = [t for name, t in p.tensors.items() if name in p.decayed]
        others = [t for name, t in p.tensors.items() if name not in p.decayed]
        groups = [{"params": decays}, {"params": others, "weight_decay": 0.0}]
        optim = torch.optim.AdamW(
            groups,
            lr=optimizer["lr"],
            betas=(optimizer["beta1"], optimizer["beta2"]),
            eps=optimizer["eps"],
            weight_decay=optimizer["weight_decay"],
        )
    losses, norms = [], []
    for step in range(STEPS):
        optim.zero_grad()
        loss, states = model.loss(step, states)
        loss.backward()
        limit = optimizer["clip_norm"] or math.inf
        norms.append(nn.utils.clip_grad_norm_(p.tensors.values(), limit).item())
        optim.step()
        losses.append(loss.item())
    tensors = {name: list(t.shape) for name, t in p.tensors.items()}
    return {**optimizer, "losses": losses, "gradient_norms": norms}, tensors, p.decayed


def config(blocks, d_model=12, **options):
    defaults = dict(
        vocab_size=len(CHARS), d_model=d_model, context=LEN, position="none", rope_theta=10000.0, final_norm="none",
        norm_eps=1e-5, norm_weight=True, norm_bias=True, tied_head=False, head_bias=True, logit_softcap=0.0,
    )
    return {**defaults, **options, "blocks": blocks}


def cell(kind, hidden, **options):
    return {"kind": kind, "hidden": hidden, "norm": "none", "residual": False, "bias": True, **options}


def transformer(**options):
    defaults = dict(
        n_heads=2, n_kv_heads=2, head_dim=6, d_ff=20, ffn="gelu", norm="layer", residual=True, qkv_bias=True,
        out_bias=True, ffn_bias=True, qk_norm=False,
    )
    return {"kind": "transformer", **defaults, **options}


NO_BIAS = dict(qkv_bias=False, out_bias=False, ffn_bias=False)
LLAMA = dict(norm="rms", ffn="gated-silu", **NO_BIAS)
GROUPED = dict(n_heads=4, n_kv_heads=2, head_dim=4)
CASES = {
    "rnn": config([cell("rnn", 14, activation="tanh"), cell("rnn", 11, activation="tanh")]),
    "rnn_relu": config([cell("rnn", 14, activation="relu"), cell("rnn", 11, activation="relu", bias=False)]),
    "rnn_leaky_relu": config([cell("rnn", 12, activation="leaky-relu", norm="layer", residual=True)] * 2),
    "rnn_batch": config([cell("rnn", 13, activation="tanh", norm="batch")] * 2, final_norm="batch"),
    "gru": config([cell("gru", 14), cell("gru", 11)]),
    "gru_rms_tied": config(
        [cell("gru", 12, norm="rms", residual=True, bias=False)] * 2, final_norm="rms", tied_head=True, head_bias=False
    ),
    "lstm": config([cell("lstm", 14), cell("lstm", 11)]),
    "lstm_res_norm": config([cell("lstm", 12, norm="layer", residual=True)] * 2, final_norm="layer"),
    "gpt": config(
        [transformer()] * 2, position="learned", final_norm="layer", tied_head=True, head_bias=False
    ),
    "transformer_plain": config(
        [transformer(ffn="relu", norm="none"), transformer(ffn="relu2", norm="none", residual=False)],
        position="sinusoidal",
    ),
    "llama": config(
        [transformer(**LLAMA, **GROUPED)] * 2, position="rope", final_norm="rms", norm_bias=False, head_bias=False
    ),
    "llama_tied": config(
        [transformer(**{**LLAMA, "ffn": "gated-gelu"}, **GROUPED, qk_norm=True)] * 2,
        position="rope", rope_theta=500.0, final_norm="rms", norm_bias=False, head_bias=False, tied_head=True,
        logit_softcap=8.0,
    ),
    "mixed": config(
        [cell("gru", 12, residual=True), transformer(ffn="silu"), cell("lstm", 9), cell("rnn", 9, activation="tanh")]
    ),
}
OPTIMIZERS = [
    {"name": "sgd", "lr": 0.5, "clip_norm": None},
    {"name": "adamw", "lr": 0.01, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "clip_norm": 0.25},
]


def main():
    torch.set_num_threads(1)
    os.makedirs(os.path.join(HERE, "steps"), exist_ok=True)
    for name, case in CASES.items():
        runs = []
        for optimizer in OPTIMIZERS:
            result, tensors, decayed = run(case, optimizer)
            runs.append(result)
        content = {
            "made_by": f"make_steps.py, PyTorch {torch.__version__.split('+')[0]} in float64",
            "config": case,
            "seed": SEED,
            "tensors": tensors,
            "decayed": decayed,
            "batch": BATCH,
            "len": LEN,
            "steps": STEPS,
            "tokens": TOKENS,
            "runs": runs,
        }
        lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in content.items())
        with open(os.path.join(HERE, "steps", f"{name}.json"), "w") as f:
            f.write("{\n" + lines + "\n}\n")
        for r in runs:
            print(f"{name:18} {r['name']:6} {r['losses'][0]:.4f} -> {r['losses'][-1]:.4f}, "
                  f"largest gradient norm {max(r['gradient_norms']):.3f}")


if __name__ == "__main__":
    main()
