#!/usr/bin/env python3
"""Runs exported GGUF files in llama.cpp and compares logits and tokens.

    pip install llama-cpp-python gguf numpy
    cargo run --release -p siskin-convert --example gguf_forms -- DATA OUT
    python3 trainer/convert/benches/llamacpp_logits.py DATA OUT

1. Each form's logits in llama.cpp (f32, f32 cache) against a forward pass in float64 below, written from siskin's definitions: within 1e-3. For
   GPT-2's form GELU is taken as llama.cpp computes it, from a table of halves, which alone may make a difference of some 1e-3.
2. Its tokens against those that the vocabulary defines, or that llama.cpp's own test files list.
3. DATA's models, imported and exported again: every weight equal, logits of the f32 ones within 1e-3 of the golden ones.

Exits with 1 if anything differs, with 2 and a reason if a package is missing.
"""

import json
import pathlib
import sys

try:
    import numpy as np
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from llama_cpp import Llama
except ImportError as error:
    print(f"SKIPPED: {error}; pip install llama-cpp-python gguf numpy", file=sys.stderr)
    sys.exit(2)

DATA, OUT = map(pathlib.Path, sys.argv[1:])
LIMIT = 1e-3
TEXTS = ["Once upon a time, there was 1 cat's  hat.", "line\n\n\ttab  ", "naïve café — 天地人 🙂", "x"]


class Model:
    """Tensors and config that gguf_forms wrote."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.tensors = {path.name[:-4]: np.fromfile(path, "<f4").astype(np.float64) for path in folder.glob("*.f32")}

    def get(self, name, default=None):
        return self.tensors.get(name, default)

    def norm(self, x, name):
        if self.config["norm"] == "layer":
            x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + self.config["norm_eps"])
        return x * self.get(f"{name}.weight", 1.0) + self.get(f"{name}.bias", 0.0)

    def linear(self, x, name):
        weight = self.get(name).reshape(-1, x.shape[-1])
        part, tensor = name.rsplit(".w", 1)
        return x @ weight.T + self.get(f"{part}.b{tensor}", 0.0)

    def rope(self, x):
        """x: [n, heads, head_dim], pairs (i, i + head_dim/2)."""
        c = self.config
        if c["rope_theta"] is None:
            return x
        half = c["head_dim"] // 2
        frequency = c["rope_theta"] ** (-np.arange(half) / half) / (np.array(c["rope_divisors"]) if c["rope_divisors"] else 1.0)
        angle = np.arange(len(x))[:, None, None] * frequency
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], -1)

    def attention(self, h, name):
        c, n = self.config, len(h)
        heads = lambda part: self.linear(h, f"{name}.w{part}").reshape(n, -1, c["head_dim"])
        q, k, v = heads("q"), heads("k"), heads("v")
        for part, x in (("q", q), ("k", k)):
            if f"{name}.{part}_norm.weight" in self.tensors:
                x /= np.sqrt((x * x).mean(-1, keepdims=True) + c["norm_eps"])
                x *= self.get(f"{name}.{part}_norm.weight")
        q, k = self.rope(q), self.rope(k)
        group = c["n_heads"] // c["n_kv_heads"]
        k, v = k.repeat(group, 1), v.repeat(group, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(c["head_dim"])
        scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        p = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", p / p.sum(-1, keepdims=True), v).reshape(n, -1)
        return self.linear(mixed, f"{name}.wo")

    def ffn(self, h, name):
        up = self.linear(h, f"{name}.w_up")
        if f"{name}.w_gate" in self.tensors:
            gate = self.linear(h, f"{name}.w_gate")
            up = gate / (1 + np.exp(-gate)) * up
        else:
            up = self.gelu(up)
        return self.linear(up, f"{name}.w_down")

    def gelu(self, x):
        exact = lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        if not self.halves:
            return exact(x)
        half = lambda x: x.astype(np.float16).astype(np.float64)
        return np.where(np.abs(x) < 10, half(exact(half(x))), np.maximum(x, 0))

    def logits(self, ids, halves=False):
        """halves: GELU as llama.cpp looks it up, in a table from f16 to f16."""
        self.halves = halves
        d = self.config["d_model"]
        embed = self.get("embed.weight").reshape(-1, d)
        x = embed[ids] + (self.get("position.weight").reshape(-1, d)[: len(ids)] if "position.weight" in self.tensors else 0)
        for block in range(self.config["n_layers"]):
            x = x + self.attention(self.norm(x, f"blocks.{block}.norm1"), f"blocks.{block}.attn")
            x = x + self.ffn(self.norm(x, f"blocks.{block}.norm2"), f"blocks.{block}.ffn")
        return self.norm(x, "final_norm") @ self.get("head.weight", embed.ravel()).reshape(-1, d).T


failures = 0


def report(what, ok, detail):
    global failures
    failures += not ok
    print(f"{'ok  ' if ok else 'FAIL'} {what:<34} {detail}", flush=True)


def load(path):
    return Llama(str(path), n_ctx=128, logits_all=True, type_k=0, type_v=0, flash_attn=False, verbose=False)


def run(llama, ids):
    llama.reset()
    llama.eval([int(i) for i in ids])
    return np.array(llama.scores[: len(ids)], np.float64)


def tokens(llama, text):
    return llama.tokenize(text.encode() if isinstance(text, str) else text, add_bos=False, special=False)


def expected_tokens(path):
    """Pairs of text and ids that the vocabulary defines, where this can be said without a tokenizer of our own."""
    fields = GGUFReader(path).fields
    names = fields["tokenizer.ggml.tokens"].contents()
    kind = fields["tokenizer.ggml.model"].contents()
    if kind == "rwkv" and len(names) == 256:
        return [(text.encode(), list(text.encode())) for text in TEXTS] + [(b"\xff\xfe broken \x80", list(b"\xff\xfe broken \x80"))]
    if kind == "rwkv":
        of = {name.encode().decode("unicode_escape"): i for i, name in enumerate(names)}
        return [(text, [of[c] for c in text]) for text in TEXTS if all(c in of for c in text)]
    if kind == "t5":
        of = {" " if name == "\u2581" else name: i for i, name in enumerate(names)}
        texts = ["一二三", " 天 地  人。\n", "十", "九 x 八"]
        return [(text, [of.get(c, len(names) - 1) for c in text]) for text in texts]
    for name in ("gpt-2", "llama-spm", "deepseek-coder"):
        folder = DATA / "tokenizers/ggml-vocab"
        theirs = GGUFReader(folder / f"ggml-vocab-{name}.gguf").fields["tokenizer.ggml.tokens"]
        if theirs.contents() == names:
            texts = (folder / f"ggml-vocab-{name}.gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")[:-1]
            ids = (folder / f"ggml-vocab-{name}.gguf.out").read_text().split("\n")
            return [(text, [int(i) for i in line.split()]) for text, line in zip(texts, ids)]
    return []


def check_form(path):
    model, llama = Model(path.with_suffix("")), load(path)
    rng = np.random.default_rng(1)
    ids = rng.integers(0, llama.n_vocab(), 96)
    expected, found = model.logits(ids), run(llama, ids)
    difference = np.abs(expected - found).max()
    same = (expected.argmax(1) == found.argmax(1)).mean()
    detail = f"logits of 96 tokens: max difference {difference:.1e}, argmax equal {same:.0%}"
    if model.config["norm"] == "layer":
        difference = np.abs(model.logits(ids, halves=True) - found).max()
        detail += f"; {difference:.1e} with GELU from llama.cpp's table of halves"
    report(path.stem, difference < LIMIT, detail)
    pairs = expected_tokens(path)
    wrong = [(text, ids, tokens(llama, text)) for text, ids in pairs if tokens(llama, text) != ids]
    report(path.stem, pairs and not wrong, f"tokens of {len(pairs)} texts equal" if not wrong else f"tokens differ: {wrong[:2]}")


def golden_logits(name):
    for folder in ("gguf", "gguf-random"):
        path = DATA / "golden" / folder / f"{name}.dequant-f32.logits.f32"
        if path.is_file():
            rows = [json.loads(line) for file in path.parent.glob("*.jsonl") for line in file.read_text().splitlines()]
            ids = next(row["ids"] for row in rows if row["file"] == f"{name}.gguf")
            return ids, np.fromfile(path, "<f4").reshape(len(ids), -1)
    raise FileNotFoundError(name)


def check_again(path):
    original = next((DATA / "models").rglob(path.name))
    ours, theirs = ({t.name: t for t in GGUFReader(file).tensors} for file in (path, original))
    values = lambda t: dequantize(t.data, t.tensor_type)
    other = [n for n in theirs if n in ours and ours[n].tensor_type != theirs[n].tensor_type]
    same = [n for n in theirs if n in ours and n not in other]
    differing = [n for n in same if not np.array_equal(values(ours[n]), values(theirs[n]))]
    kinds = sorted({t.tensor_type.name for t in ours.values()})
    ok = not differing and ours.keys() == theirs.keys()
    detail = f"{len(same)} tensors ({', '.join(kinds)}) equal" if ok else f"differing: {differing}"
    report(f"again/{path.stem}", ok, detail + "".join(f"; {n} was {theirs[n].tensor_type.name}" for n in other))
    ids, golden = golden_logits(path.stem)
    found = run(load(path), ids)
    difference = np.abs(golden - found).max()
    exact = kinds == ["F32"]
    report(f"again/{path.stem}", not exact or difference < LIMIT, f"logits: max difference {difference:.1e} from the golden ones")
    texts = TEXTS + ["  two  spaces", "\u2581"]
    again, before = load(path), load(original)
    report(f"again/{path.stem}", all(tokens(again, t) == tokens(before, t) for t in texts), f"tokens of {len(texts)} texts equal the original's")


for path in sorted(OUT.glob("*.gguf")):
    check_form(path)
for path in sorted((OUT / "again").glob("*.gguf")):
    check_again(path)
print(f"{failures} failed")
sys.exit(failures > 0)
