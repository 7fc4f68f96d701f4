"""Makes the small models of other programs that the importers are tested with.

    pip install torch==2.15.0 transformers==5.24.0 numpy
    python3 tests/goldens/import/make_import.py

All weights are random numbers, on which no rights are claimed.

- `hf/NAME/`: folders that transformers saves, one for each architecture and way of writing it.
- `llama2c/v0.bin, v1.bin, v2.bin`: the model of `hf/llama` as llama2.c's export.py writes it (commit 350e04f; `permute_reverse`, `legacy_export`,
  `version1_export`, `version2_export`); v2 in groups of 16, which cross the rows of w2. `v0-untied.bin`: the same with a head of its own.
- `recurrent/NAME.safetensors`: state dicts of torch.nn with a description, `NAME.toml`.

Beside each Hugging Face folder and recurrent model: `ids.json`, the ids that were fed, and `logits.f32`, float32 [ids][vocab], row i the logits
after ids[0..=i], computed in float32.
"""

import json
import struct
from pathlib import Path

import numpy as np
import torch
import transformers as t
from safetensors.torch import save_file

HERE = Path(__file__).parent
SMALL = dict(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64, tie_word_embeddings=False, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
ROPE3 = dict(rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)

MODELS = {
    "llama": t.LlamaConfig(**(SMALL | dict(tie_word_embeddings=True))),
    "llama3": t.LlamaConfig(**SMALL, rope_parameters=ROPE3, head_dim=8),
    "llama-bias": t.LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True, hidden_act="gelu_pytorch_tanh",
                                rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=10000.0)),
    "mistral": t.MistralConfig(**SMALL, sliding_window=5, head_dim=4),
    "qwen2": t.Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=6, max_window_layers=1),
    "qwen3": t.Qwen3Config(**SMALL, head_dim=8),
    "gpt2": t.GPT2Config(vocab_size=40, n_embd=16, n_head=4, n_layer=2, n_positions=64, bos_token_id=1, eos_token_id=2),
}


def golden(folder, name, ids, logits):
    (folder / f"{name}ids.json").write_text(json.dumps(ids) + "\n")
    logits.numpy().astype("<f4").tofile(folder / f"{name}logits.f32")


def random(module):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(1.0 if "norm" in name or "ln_" in name else 0.0, 0.25)


def hugging_face():
    for seed, (name, config) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        model = t.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        random(model)
        folder = HERE / "hf" / name
        if name == "qwen3":  # in bf16 and in shards
            model.bfloat16().save_pretrained(folder, max_shard_size="4KB")
        elif name == "mistral":
            model.half().save_pretrained(folder)
        else:
            model.save_pretrained(folder)
        # Computed in f32 from what was saved: .float() of the model in memory would keep its RoPE frequencies rounded.
        model = t.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        ids = torch.randint(0, 40, (24,))
        with torch.no_grad():
            golden(folder, "", ids.tolist(), model(ids[None]).logits[0])
        (folder / "generation_config.json").unlink()
        if name == "llama":
            llama2c(model, config)


def pairs(weight, heads):
    """llama2.c's permute_reverse: rows of halves to rows of neighbours."""
    rows, cols = weight.shape
    return weight.view(heads, 2, rows // heads // 2, cols).transpose(1, 2).reshape(rows, cols)


def q80(weight, group):
    """llama2.c's quantize_q80, which rounds to the nearest of 127 steps."""
    weight = weight.float().reshape(-1, group)
    scale = weight.abs().max(dim=1).values / 127.0
    codes = torch.round((weight.T / scale).T).to(torch.int8)
    return codes.view(-1).numpy().tobytes() + scale.numpy().astype("<f4").tobytes()


def llama2c(model, config):
    folder = HERE / "llama2c"
    folder.mkdir(exist_ok=True)
    state, layers = model.state_dict(), range(config.num_hidden_layers)
    get = lambda name: [state[f"model.layers.{i}.{name}.weight"] for i in layers]
    embed, last = [state["model.embed_tokens.weight"]], [state["model.norm.weight"]]
    norm1, norm2 = get("input_layernorm"), get("post_attention_layernorm")
    wq = [pairs(w, config.num_attention_heads) for w in get("self_attn.q_proj")]
    wk = [pairs(w, config.num_key_value_heads) for w in get("self_attn.k_proj")]
    wv, wo = get("self_attn.v_proj"), get("self_attn.o_proj")
    w1, w2, w3 = get("mlp.gate_proj"), get("mlp.down_proj"), get("mlp.up_proj")
    sizes = lambda vocab: struct.pack("<7i", config.hidden_size, config.intermediate_size, config.num_hidden_layers,
                                      config.num_attention_heads, config.num_key_value_heads, vocab, config.max_position_embeddings)
    data = lambda tensors: b"".join(w.detach().float().numpy().astype("<f4").tobytes() for w in tensors)
    head_dim = config.hidden_size // config.num_attention_heads
    angles = torch.outer(torch.arange(config.max_position_embeddings).float(),
                         1.0 / (10000.0 ** (torch.arange(0, head_dim, 2).float() / head_dim)))
    legacy = data(embed + norm1 + wq + wk + wv + wo + norm2 + w1 + w2 + w3 + last + [angles.cos(), angles.sin()])
    (folder / "v0.bin").write_bytes(sizes(40) + legacy)
    (folder / "v0-untied.bin").write_bytes(sizes(-40) + legacy + data([-embed[0]]))
    magic = struct.pack("<Ii", 0x616B3432, 1) + sizes(40) + struct.pack("<B", 1)
    (folder / "v1.bin").write_bytes(magic.ljust(256, b"\0") + data(norm1 + norm2 + last + embed + wq + wk + wv + wo + w1 + w2 + w3))
    magic = struct.pack("<Ii", 0x616B3432, 2) + sizes(40) + struct.pack("<Bi", 1, 16)
    quantized = b"".join(q80(w.detach(), 16) for w in embed + wq + wk + wv + wo + w1 + w2 + w3)
    (folder / "v2.bin").write_bytes(magic.ljust(256, b"\0") + data(norm1 + norm2 + last) + quantized)


def recurrent():
    folder = HERE / "recurrent"
    folder.mkdir(exist_ok=True)
    letters = "\n abcdefghijklmnopqrstuvwxyz.,é世"
    tokens = ["<bos>", *letters]
    for seed, (name, kind, options) in enumerate([("rnn", torch.nn.RNN, dict(nonlinearity="relu", num_layers=2, bias=False)),
                                                  ("gru", torch.nn.GRU, dict(num_layers=2)), ("lstm", torch.nn.LSTM, dict(num_layers=1))]):
        torch.manual_seed(100 + seed)
        one_hot = name == "lstm"
        width = len(tokens) if one_hot else 12
        cell, head = kind(width, 16, batch_first=True, **options), torch.nn.Linear(16, len(tokens), bias=name != "rnn")
        random(cell), random(head)
        embedding = torch.eye(width) if one_hot else torch.randn(len(tokens), width)
        state = {f"core.{k}": v.detach() for k, v in cell.state_dict().items()}
        state |= {f"out.{k}": v.detach() for k, v in head.state_dict().items()}
        if not one_hot:
            state["table"] = embedding
        save_file(state, folder / f"{name}.safetensors")
        lines = [f'family = "{name}"', 'prefix = "core."', f'embedding = "{"one-hot" if one_hot else "table"}"', 'head = "out.weight"']
        lines += ['head_bias = "out.bias"'] if name != "rnn" else ['activation = "relu"']
        lines += ["context = 32", 'bos = "<bos>"', f"tokens = {json.dumps(tokens, ensure_ascii=False)}"]
        (folder / f"{name}.toml").write_text("\n".join(lines) + "\n")
        ids = torch.randint(0, len(tokens), (24,))
        with torch.no_grad():
            golden(folder, f"{name}.", ids.tolist(), head(cell(embedding[ids][None])[0][0]))


hugging_face()
recurrent()
