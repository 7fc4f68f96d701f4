"""Compares what another program computes for exported models with what siskin's runtime did.

    python3 compare.py llama.cpp|transformers [FOLDER]

FOLDER, which main.rs fills, has a folder for each model:

- facts.json: `prompt`, the ids that were fed, `texts`, pairs of a text and its ids, and `chat`, messages and the text that they become;
- f32.gguf, q8.gguf, safetensors/: the exported model;
- f32.logits, q8.logits: what the runtime computed, f32 [prompt][vocabulary].

Prints a line for each file. Exits with 1 if anything differs. Without FOLDER it only sees whether the packages are there: 2 if not.
"""

import importlib.util
import json
import sys
from pathlib import Path

PACKAGES = {"llama.cpp": ["numpy", "llama_cpp"], "transformers": ["numpy", "torch", "transformers"]}
PROGRAM = sys.argv[1]
if missing := [name for name in PACKAGES[PROGRAM] if importlib.util.find_spec(name) is None]:
    print(f"Python has no {', '.join(missing)}: pip install -r tests/tests/exports/requirements.txt", file=sys.stderr)
    sys.exit(2)
if len(sys.argv) == 2:
    sys.exit(0)

import numpy as np

# Largest difference of a logit. Of q8 models both programs round the vectors that they multiply by, too, each in its own way.
LIMITS = {"f32": 1e-3, "q8": 0.1}
# GPT-2's form in llama.cpp, which looks GELU up in a table of 16-bit floats: the more sure of itself a model is, the more that is.
# What it is beside the table has to be within LIMITS.
LIMIT_OF_TABLE = 5e-3


class LlamaCpp:
    FILES = {"f32": "f32.gguf", "q8": "q8.gguf"}

    def __init__(self, path):
        from llama_cpp import Llama

        # Keys and values in f32, as in siskin.
        self.model = Llama(str(path), n_ctx=64, logits_all=True, type_k=0, type_v=0, flash_attn=False, verbose=False)

    def logits(self, ids):
        self.model.eval(ids)
        return self.model.scores[: len(ids)]

    def encode(self, text):
        return self.model.tokenize(text.encode(), add_bos=False, special=False)

    def decode(self, ids):
        return self.model.detokenize(ids).decode()

    def chat(self, messages):
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        template = self.model.metadata.get("tokenizer.chat_template")
        return template and Jinja2ChatFormatter(template, eos_token="", bos_token="")(messages=messages).prompt


class Transformers:
    FILES = {"f32": "safetensors"}

    def __init__(self, path):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.model = AutoModelForCausalLM.from_pretrained(path).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path)

    def logits(self, ids):
        import torch

        with torch.no_grad():
            return self.model(torch.tensor([ids])).logits[0].numpy()

    def encode(self, text):
        return self.tokenizer.encode(text)

    def decode(self, ids):
        return self.tokenizer.decode(ids)

    def chat(self, messages):
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def gpt2(folder, ids):
    """Logits of a GPT-2 in float64 but for GELU, which is llama.cpp's: from f16 to f16."""
    config = json.loads((folder / "config.json").read_text())
    raw = (folder / "model.safetensors").read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:begin])
    weights = {}
    for name, at in header.items():
        if name != "__metadata__":
            first, last = (begin + offset for offset in at["data_offsets"])
            weights[name.removeprefix("transformer.")] = np.frombuffer(raw[first:last], "<f4").reshape(at["shape"]).astype(np.float64)

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt((x * x).mean(-1, keepdims=True) + config["layer_norm_epsilon"])
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x, name):
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def gelu(x):
        half = lambda x: x.astype(np.float16).astype(np.float64)
        rounded = half(x)
        gelu = 0.5 * rounded * (1 + np.tanh(np.sqrt(2 / np.pi) * (rounded + 0.044715 * rounded**3)))
        return np.where(np.abs(x) < 10, half(gelu), np.maximum(x, 0))

    n, heads = len(ids), config["n_head"]
    x = weights["wte.weight"][ids] + weights["wpe.weight"][:n]
    for block in (f"h.{i}" for i in range(config["n_layer"])):
        qkv = linear(norm(x, f"{block}.ln_1"), f"{block}.attn.c_attn")
        q, k, v = qkv.reshape(n, 3, heads, -1).transpose(1, 2, 0, 3)
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]) + np.triu(np.full((n, n), -np.inf), 1)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = scores / scores.sum(-1, keepdims=True) @ v
        x = x + linear(mixed.transpose(1, 0, 2).reshape(n, -1), f"{block}.attn.c_proj")
        x = x + linear(gelu(linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")), f"{block}.mlp.c_proj")
    head = weights["wte.weight"] if config["tie_word_embeddings"] else weights["lm_head.weight"]
    return norm(x, "ln_f") @ head.T


def compare(folder, dtype, program):
    """What is wrong, and what was found."""
    wrong, found = [], []
    facts = json.loads((folder / "facts.json").read_text())
    model = program(folder / program.FILES[dtype])
    ids = facts["prompt"]
    logits = model.logits(ids)

    def near(expected, limit, what):
        difference = np.abs(logits - expected).max()
        found.append(f"{difference:.1e} {what}")
        if not difference <= limit:
            wrong.append(f"logits differ by {difference:.1e} {what}, expected at most {limit:.0e}")

    has_table = program is LlamaCpp and dtype == "f32" and folder.name.startswith("gpt")
    runtime = np.fromfile(folder / f"{dtype}.logits", "<f4").reshape(len(ids), -1)
    near(runtime, LIMIT_OF_TABLE if has_table else LIMITS[dtype], "from the runtime's")
    if has_table:
        near(gpt2(folder / "safetensors", ids), LIMITS[dtype], "with GELU from its table")
    for text, ids in facts["texts"]:
        if (encoded := list(model.encode(text))) != ids:
            wrong.append(f"{text!r} becomes {encoded}, expected {ids}")
        if (decoded := model.decode(ids)) != text:
            wrong.append(f"the ids of {text!r} are decoded to {decoded!r}")
    if dtype == "f32" and (text := model.chat(facts["chat"]["messages"])) != facts["chat"]["text"]:
        wrong.append(f"the chat is {text!r}, expected {facts['chat']['text']!r}")
    found.append(f"{len(facts['texts'])} texts with the same ids" + (", the same chat" if dtype == "f32" else ""))
    return wrong, ", ".join(found)


failed = 0
program = {"llama.cpp": LlamaCpp, "transformers": Transformers}[PROGRAM]
for folder in sorted(path.parent for path in Path(sys.argv[2]).glob("*/facts.json")):
    for dtype, file in program.FILES.items():
        wrong, found = compare(folder, dtype, program)
        failed += bool(wrong)
        print(f"{'FAIL' if wrong else 'ok  '} {PROGRAM}, {folder.name}/{file}: {'; '.join(wrong) or found}", flush=True)
sys.exit(failed > 0)
