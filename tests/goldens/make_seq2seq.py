#!/usr/bin/env python3
"""Makes seq2seq/*.json: loss, logits and gradients of small encoder-decoders, as PyTorch computes them.

Run it with a Python that has PyTorch: `python3 make_seq2seq.py`. All arithmetic is float64 on the CPU. Embedding, norms, cells, feed-forward
parts and the drawing of weights are those of make_steps.py; what encoder-decoders have beside them stands below, with PyTorch's own
scaled_dot_product_attention under masks of padding.

Sources and targets are drawn from SplitMix64. Each pair has a length of its own and is filled up to the longest with tokens that are not zero, so
that whoever looks at the filling is found out.
"""
import json
import os

import torch
import torch.nn.functional as F

from make_steps import GROUPED, LLAMA, Model, SEED, SplitMix64, cell, config, transformer

HERE = os.path.dirname(os.path.abspath(__file__))
IGNORE = 2**32 - 1  # a target that counts for nothing


class EncoderDecoder(Model):
    """Vaswani et al. 2017, pre-norm: a decoder block attends to its own tokens, then to the encoder's output, then feeds forward."""

    def heads(self, part, x, n, dim, bias):
        """W x + b as [batch, n, time, dim]; `part` is the scope and letter of the projection, such as `blocks.0.cross.` and `q`."""
        scope, letter = part
        b = self.p.vector(f"{scope}b{letter}", n * dim) if bias else None
        y = F.linear(x, self.p.matrix(f"{scope}w{letter}", n * dim, x.shape[-1]), b)
        return y.view(*x.shape[:2], n, dim).transpose(1, 2)

    def attend(self, scope, block, x, source, turned, **mask):
        """Attention from x to source, both [batch, time, width], and its output projection; RoPE turns heads when `turned`."""
        p, (n_q, n_kv, dim) = self.p, (block[key] for key in ("n_heads", "n_kv_heads", "head_dim"))
        q = self.heads((scope, "q"), x, n_q, dim, block["qkv_bias"])
        k, v = (self.heads((scope, letter), source, n_kv, dim, block["qkv_bias"]) for letter in "kv")
        if block["qk_norm"]:
            weight = lambda letter: p.vector(f"{scope}{letter}_norm.weight", dim, "norm-weight")
            q, k = F.rms_norm(q, (dim,), weight("q"), self.eps), F.rms_norm(k, (dim,), weight("k"), self.eps)
        if turned and self.c["position"] == "rope":
            q, k = self.rope(q, self.c["rope_theta"]), self.rope(k, self.c["rope_theta"])
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True, **mask)
        y = y.transpose(1, 2).reshape(*x.shape[:2], n_q * dim)
        bias = p.vector(f"{scope}bo", x.shape[-1]) if block["out_bias"] else None
        return F.linear(y, p.matrix(f"{scope}wo", x.shape[-1], n_q * dim), bias)

    def shift(self, name, block, x):
        """Token shift (Peng et al. 2023): each token mixed with the one before it."""
        if not block.get("token_shift"):
            return x
        mu = self.p.vector(name, x.shape[-1], "token-shift")
        before = F.pad(x, (0, 0, 1, 0))[:, :-1]
        return x + mu * (before - x)

    def embed(self, tokens):
        c, p, time = self.c, self.p, tokens.shape[1]
        x = F.embedding(tokens, p.get("embed.weight", c["vocab_size"], c["d_model"], "embedding"))
        if c["position"] == "learned":
            x = x + p.get("position.weight", c["context"], c["d_model"], "position")[:time]
        if c["position"] == "sinusoidal":
            x = x + self.sinusoids(time, c["d_model"])
        return x

    def encode(self, source, seen):
        """Every token of a source sees all of it, and none of the padding."""
        x = self.embed(source)
        for i, block in enumerate(self.c["encoder"]):
            name = f"encoder.blocks.{i}"
            a = self.norm(f"{name}.norm1", block["norm"], x)
            x = x + self.attend(f"{name}.attn.", block, a, a, True, attn_mask=seen)
            x = x + self.feed_forward(name, block, self.norm(f"{name}.norm2", block["norm"], x))
        return self.norm("encoder.final_norm", self.c["final_norm"], x)

    def logits(self, source, source_lens, tokens):
        """[batch, time, vocab_size] after each of `tokens`, the targets behind their begin token."""
        c, p = self.c, self.p
        seen = (torch.arange(source.shape[1]) < source_lens[:, None])[:, None, None, :]
        encoded, x = self.encode(source, seen), self.embed(tokens)
        for i, block in enumerate(c["blocks"]):
            name = f"blocks.{i}"
            if block["kind"] != "transformer":
                h, _ = self.cell(name, block, self.norm(f"{name}.norm", block["norm"], x), None)
                x = x + h if block["residual"] else h
                continue
            a = self.shift(f"{name}.attn.shift", block, self.norm(f"{name}.norm1", block["norm"], x))
            x = x + self.attend(f"{name}.attn.", block, a, a, True, is_causal=True)
            a = self.norm(f"{name}.norm_cross", block["norm"], x)
            x = x + self.attend(f"{name}.cross.", block, a, encoded, False, attn_mask=seen)
            a = self.shift(f"{name}.ffn.shift", block, self.norm(f"{name}.norm2", block["norm"], x))
            x = x + self.feed_forward(name, block, a)
        x = self.norm("final_norm", c["final_norm"], x)
        head = self.p.tensors["embed.weight"] if c["tied_head"] else p.get("head.weight", c["vocab_size"], x.shape[-1], "head")
        z = F.linear(x, head, p.vector("head.bias", c["vocab_size"]) if c["head_bias"] else None)
        return c["logit_softcap"] * torch.tanh(z / c["logit_softcap"]) if c["logit_softcap"] > 0 else z


def pairs(vocab_size, source_lens, target_lens):
    """Sources, tokens and targets [batch, longest]; what follows the last token of a target is ignored."""
    rng = SplitMix64(SEED)
    draw = lambda n: [[rng.next() % vocab_size for _ in range(n)] for _ in source_lens]
    source, text = draw(max(source_lens)), draw(max(target_lens) + 1)
    targets = [[t if i < n else IGNORE for i, t in enumerate(row[1:])] for row, n in zip(text, target_lens)]
    return source, [row[:-1] for row in text], targets


def golden(name, case, source_lens, target_lens):
    source, tokens, targets = pairs(case["vocab_size"], source_lens, target_lens)
    model = EncoderDecoder(case)
    tensor = lambda rows: torch.tensor(rows, dtype=torch.long)
    given = tensor(source), tensor(source_lens), tensor(tokens)
    with torch.no_grad():
        model.logits(*given)  # makes the tensors
    z = model.logits(*given)
    expected = torch.where(tensor(targets) == IGNORE, -100, tensor(targets))
    loss = F.cross_entropy(z.flatten(0, 1), expected.flatten(), ignore_index=-100)
    loss.backward()
    tensors = model.p.tensors
    print(f"{name:12} {sum(t.numel() for t in tensors.values())} parameters, loss {loss.item():.4f}")
    return {
        "made_by": f"make_seq2seq.py, PyTorch {torch.__version__.split('+')[0]} in float64",
        "config": case,
        "seed": SEED,
        "source": source,
        "source_lens": source_lens,
        "tokens": tokens,
        "targets": targets,
        "loss": loss.item(),
        "logits": z.detach().flatten().tolist(),
        "tensors": {name: list(t.shape) for name, t in tensors.items()},
        "gradient": {name: t.grad.flatten().tolist() for name, t in tensors.items()},
    }


def small(**options):
    return transformer(**{**dict(n_heads=2, n_kv_heads=2, head_dim=4, d_ff=10), **options})


def model(blocks, encoder, **options):
    crossing = [{**block, "cross_attention": True} if block["kind"] == "transformer" else block for block in blocks]
    return {**config(crossing, vocab_size=11, d_model=8, **options), "encoder": encoder}


GATED = small(**LLAMA, **GROUPED, qk_norm=True)
CASES = {
    # The first form of Vaswani et al. with the norms in front; sources shorter and longer than targets.
    "gpt": (
        model(
            [small()] * 2, [small()], context=9, position="learned", final_norm="layer", tied_head=True, head_bias=False
        ),
        ([9, 1, 4], [3, 6, 5]),
    ),
    # Sources of more than one block of the trainer's attention; an encoder with heads of another width.
    "llama": (
        model(
            [GATED, {**GATED, "token_shift": True}], [{**GATED, "head_dim": 2}, GATED], context=80, position="rope",
            rope_theta=500.0, final_norm="rms", norm_bias=False, head_bias=False, logit_softcap=8.0,
        ),
        ([71, 20], [4, 7]),
    ),
    # A recurrent block turns the trainer's rows to be time by time, in the decoder alone.
    "mixed": (
        model(
            [small(ffn="silu"), cell("lstm", 8, residual=True)], [small(norm="none", ffn="relu")], context=12,
            position="sinusoidal", final_norm="rms",
        ),
        ([5, 12, 8], [7, 2, 1]),
    ),
}


def main():
    torch.set_num_threads(1)
    os.makedirs(os.path.join(HERE, "seq2seq"), exist_ok=True)
    for name, (case, (source_lens, target_lens)) in CASES.items():
        content = golden(name, case, source_lens, target_lens)
        lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in content.items())
        with open(os.path.join(HERE, "seq2seq", f"{name}.json"), "w") as f:
            f.write("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
