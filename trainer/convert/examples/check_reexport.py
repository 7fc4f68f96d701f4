"""Compares re-exported models with what others compute: transformers for Llama's and GPT-2's forms, PyTorch for recurrent ones.

    cargo build --release -p siskin-convert --example reexport
    python3 trainer/convert/examples/check_reexport.py DATA tests/goldens/recurrent target/release/examples/reexport

DATA is the folder of the golden outputs. Needs torch, transformers and numpy. For each model: the largest difference between the
golden logits (log-probabilities for recurrent models) and those of the folder that siskin wrote; above 1e-3 is a failure. Then random
models of the architectures that DATA has none of: transformers writes the folder, siskin reads and writes it, transformers compares. Last the tokenizers: golden strings through the `tokenizer.json` that siskin wrote.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer
import transformers

transformers.utils.logging.disable_progress_bar()
DATA, DESCRIPTIONS, PROGRAM = map(Path, sys.argv[1:4])
GOLDEN = DATA / "golden"
failures = 0


def report(name, difference, most=1e-3):
    global failures
    failures += not difference <= most
    print(f"{name:<64} {difference:.2e}{'' if difference <= most else '  WRONG'}")


def reexport(source, folder, tokenizer=None):
    subprocess.run([PROGRAM, source, folder, *([tokenizer] if tokenizer else [])], check=True, stderr=subprocess.DEVNULL)


def logits(folder, ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def golden(path, rows, vocab):
    return np.fromfile(path, "<f4").reshape(rows, vocab)


def transformers_models(work):
    for about in sorted((GOLDEN / "hf-random").glob("*.json")):
        facts = json.loads(about.read_text())
        reexport(DATA / "models/hf-random" / about.stem, work / about.stem)
        expected = golden(about.with_name(facts["logits_file"]), facts["rows"], facts["vocab"])
        report(about.stem, np.abs(logits(work / about.stem, facts["ids"]) - expected).max())
    tokenizer = DATA / "models/stories260K/tok512.bin"
    for model, file in [("stories260K", "stories260K.bin"), ("stories260K", "stories260K_v1.bin"), ("stories260K", "hf"),
                        ("llama2xs", "model.bin"), ("llama2xs", "llama2xs_v1.bin"), ("llama2xs", "hf")]:
        folder = work / f"{model}-{file}"
        reexport(DATA / "models" / model / file, folder, tokenizer if file != "hf" else None)
        worst = 0
        for i, line in enumerate((GOLDEN / f"llama2c/{model}.jsonl").open()):
            facts = json.loads(line)
            expected = golden(GOLDEN / f"llama2c/{model}-p{i}.logits.f32", -1, 512)
            worst = max(worst, np.abs(logits(folder, facts["ids"][: len(expected)]) - expected).max())
        report(f"{model}/{file}", worst)
    for line in (GOLDEN / "llama2c-q80/q80.jsonl").open():
        facts = json.loads(line)
        model = facts["file"].removesuffix("_q80.bin")
        reexport(DATA / "models" / model / facts["file"], work / facts["file"], tokenizer)
        expected = golden(GOLDEN / "llama2c-q80" / facts["dequant_f32"]["logits_file"], -1, 512)
        report(facts["file"], np.abs(logits(work / facts["file"], facts["ids"]) - expected).max())


def recurrent_models(work):
    for golden_folder, model, name in [("nlp-hw1-char", "nlp-hw1-char", "rnn"), ("nlp-hw1-char", "nlp-hw1-char", "lstm"),
                                       ("ml5-charrnn", "ml5-charrnn", "charlotte_bronte"), ("ml5-charrnn", "ml5-charrnn", "shakespeare"),
                                       ("char-rnn.js", "char-rnn.js", "small")]:
        shutil.copy(DATA / "models" / model / f"{name}.safetensors", work / f"{name}.safetensors")
        shutil.copy(DESCRIPTIONS / f"{name}.toml", work / f"{name}.toml")
        reexport(work / f"{name}.toml", work / name)
        about = tomllib.loads((work / name / "model.toml").read_text())
        state = load_file(work / name / "model.safetensors")
        kind = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[about["family"]]
        own = {k.removeprefix(about["prefix"]): v for k, v in state.items() if k.startswith(about["prefix"])}
        hidden, width = own["weight_hh_l0"].shape[1], own["weight_ih_l0"].shape[1]
        module = kind(width, hidden, sum(k.startswith("weight_hh") for k in own), batch_first=True)
        module.load_state_dict(own)
        worst = 0
        for i, line in enumerate((GOLDEN / golden_folder / f"{name}.jsonl").open()):
            facts = json.loads(line)
            ids = facts["ids"] if "ids" in facts else [about["tokens"].index(b) for b in facts["bytes"]]
            expected = golden(GOLDEN / golden_folder / f"{name}-p{i}.logprobs.f32", facts["rows"], facts["vocab"])
            with torch.no_grad():
                h, _ = module(state[about["embedding"]][torch.tensor([ids[: facts["rows"]]])])
                out = torch.log_softmax(h[0] @ state[about["head"]].T + state[about["head_bias"]], -1)
            worst = max(worst, np.abs(out.numpy() - expected).max())
        report(f"{golden_folder}/{name}", worst)


def random_models(work):
    t = transformers
    small = dict(vocab_size=97, hidden_size=48, intermediate_size=80, num_hidden_layers=4, num_attention_heads=4,
                 num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=False)
    llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
    configs = {
        "llama with llama3 scaling": t.LlamaConfig(**small, rope_parameters=dict(llama3, rope_theta=500000.0), head_dim=32),
        "llama with all biases": t.LlamaConfig(**small, attention_bias=True, mlp_bias=True, hidden_act="gelu_pytorch_tanh"),
        "mistral with a window": t.MistralConfig(**small, sliding_window=7),
        "qwen2": t.Qwen2Config(**small),
        "qwen2 with windows above layer 2": t.Qwen2Config(**small, use_sliding_window=True, sliding_window=7, max_window_layers=2),
        "qwen3": t.Qwen3Config(**small, head_dim=32),
        "qwen3, tied, with biases": t.Qwen3Config(**(small | dict(tie_word_embeddings=True)), head_dim=32, attention_bias=True),
        "gpt2": t.GPT2Config(vocab_size=97, n_embd=48, n_head=4, n_layer=3, n_positions=64, n_inner=100, bos_token_id=0, eos_token_id=0),
    }
    for seed, (name, config) in enumerate(configs.items()):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.3)
        source, folder = work / f"random-{seed}", work / f"random-{seed}-again"
        model.save_pretrained(source)
        reexport(source, folder)
        ids = torch.randint(0, 97, (40,)).tolist()
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits[0].numpy()
        report(name, np.abs(logits(folder, ids) - expected).max())


def tokenizers(work):
    sources = {name: DATA / "tokenizers" / name for name in ["gpt2", "llama2", "minimind", "smollm"]}
    sources["stories260K"] = DATA / "models/stories260K/hf"
    for name, source in sources.items():
        given, folder = work / f"tokenizer-{name}", work / f"tokenizer-{name}-again"
        size = Tokenizer.from_file(str(source / "tokenizer.json")).get_vocab_size()
        config = transformers.GPT2Config(vocab_size=size, n_embd=4, n_head=1, n_layer=1, n_positions=8, bos_token_id=None, eos_token_id=None)
        AutoModelForCausalLM.from_config(config).save_pretrained(given)
        shutil.copy(source / "tokenizer.json", given)
        reexport(given, folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        different = 0
        for line in (GOLDEN / f"tokenizers/{name}.jsonl").open():
            facts = json.loads(line)
            ids = tokenizer(facts["text"], add_special_tokens=False)["input_ids"]
            different += ids != facts["ids"] or tokenizer.decode(ids) != facts["decoded"]
        report(f"{name}: golden strings that are encoded or decoded otherwise", different, 0)


with tempfile.TemporaryDirectory() as folder:
    for check in [transformers_models, recurrent_models, random_models, tokenizers]:
        check(Path(folder))
sys.exit(failures > 0)
