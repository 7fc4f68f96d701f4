#!/usr/bin/env python3
"""siskin beside llama.cpp on this machine: the same Llama shapes with random weights, in turn, medians and the spread.

    cargo build --release
    CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python gguf
    python3 runtime/benches/llamacpp.py --dir models            # everything; 1.1B takes 6 GB of disk and a while
    python3 runtime/benches/llamacpp.py --dir models --sizes 15m,110m --threads 2 --rounds 3

The peer gets its best case: built for this CPU, weights read into memory so that it may rearrange them, prompts in one batch of 512, flash
attention on or off as is faster, no sampling. siskin's time holds the choice of the greatest logit. Quantized throughout: q8 beside Q8_0,
q4 beside Q4_0, embedding and head included.
"""
import argparse
import ctypes
import json
import os
import statistics
import sys
import time

import side

sys.path.pop(0)  # this folder: a name in it must not stand for a package
try:
    import gguf
    import llama_cpp as llama
    import numpy as np
except ImportError as error:
    side.needs("llama-cpp-python gguf", error)

VOCAB, CONTEXT, PROMPT, FEW = 32000, 1024, 512, 8
# Width, layers, heads, heads of keys and values, inner width, whether the embedding is the head; tokens to decode.
SIZES = {
    "15m": (288, 6, 6, 6, 768, True, 256),
    "110m": (768, 12, 12, 12, 2048, True, 128),
    "1.1b": (2048, 22, 32, 4, 5632, False, 32),
}
DTYPES = {"q8": llama.LLAMA_FTYPE_MOSTLY_Q8_0, "q4": llama.LLAMA_FTYPE_MOSTLY_Q4_0}
# Ratios to reach with two threads.
GOALS = {
    ("15m", "q8"): 3.0, ("15m", "q4"): 2.5, ("110m", "q8"): 1.8, ("110m", "q4"): 1.8, ("1.1b", "q8"): 1.4, ("1.1b", "q4"): 1.5,
    "prompt": 1.5,
}
# Shares with two threads: of the bandwidth of merely reading as many bytes, of the peak of bare int8 multiply-adds.
READ_GOALS, PEAK_GOALS = {"110m": 0.85, "1.1b": 0.9}, {"1.1b": 0.75}
# Milliseconds from the start of a process to its first token.
START_GOALS = {"15m": 5, "1.1b": 30}


def parameters(size):
    width, layers, heads, kv_heads, inner, tied, _ = SIZES[size]
    kv = width // heads * kv_heads
    return (2 - tied) * VOCAB * width + layers * (2 * width * width + 2 * width * kv + 3 * width * inner)


def write_gguf(path, size):
    """A Llama of random f16 weights, with a vocabulary in SentencePiece's manner."""
    width, layers, heads, kv_heads, inner, tied, _ = SIZES[size]
    out = gguf.GGUFWriter(path, "llama")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(width)
    out.add_block_count(layers)
    out.add_feed_forward_length(inner)
    out.add_head_count(heads)
    out.add_head_count_kv(kv_heads)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(width // heads)
    out.add_vocab_size(VOCAB)
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    words = VOCAB - len(pieces)
    out.add_tokenizer_model("llama")
    out.add_token_list(pieces + [f"w{i}" for i in range(words)])
    out.add_token_scores([0.0] * len(pieces) + [-float(i) for i in range(words)])
    out.add_token_types(kinds + [gguf.TokenType.NORMAL] * words)
    random = np.random.default_rng(1)

    def matrix(name, rows, columns):
        out.add_tensor(name, (0.05 * random.standard_normal((rows, columns), np.float32)).astype(np.float16))

    def norm(name):
        out.add_tensor(name, np.ones(width, np.float32))

    kv = width // heads * kv_heads
    matrix("token_embd.weight", VOCAB, width)
    for layer in range(layers):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm.weight")
        for name, rows, columns in [("attn_q", width, width), ("attn_k", kv, width), ("attn_v", kv, width), ("attn_output", width, width)]:
            matrix(f"{block}.{name}.weight", rows, columns)
        norm(f"{block}.ffn_norm.weight")
        for name, rows, columns in [("ffn_gate", inner, width), ("ffn_up", inner, width), ("ffn_down", width, inner)]:
            matrix(f"{block}.{name}.weight", rows, columns)
    norm("output_norm.weight")
    if not tied:
        matrix("output.weight", VOCAB, width)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def gguf_model(folder, size, dtype):
    """The path of the peer's model, quantized by the peer itself; made on the first call."""
    path = os.path.join(folder, f"{size}-{dtype}.gguf")
    if not os.path.exists(path):
        side.note(f"making {path}")
        halfs = os.path.join(folder, f"{size}-f16.gguf")
        write_gguf(halfs, size)
        how = llama.llama_model_quantize_default_params()
        how.ftype, how.pure = DTYPES[dtype], True
        status = llama.llama_model_quantize(halfs.encode(), path.encode(), ctypes.byref(how))
        os.remove(halfs)
        if status != 0:
            sys.exit(f"llama.cpp cannot quantize {halfs}")
    return path


def siskin_model(arguments, size, dtype):
    width, layers, heads, kv_heads, inner, tied, _ = SIZES[size]
    shape = {
        "--model": "llama", "--d-model": width, "--n-layers": layers, "--n-heads": heads, "--n-kv-heads": kv_heads, "--d-ff": inner,
        "--vocab-size": VOCAB, "--context": CONTEXT, "--tied-head": str(tied).lower(), "--qk-norm": "false", "--logit-softcap": 0,
        "--token-shift": "false",
        "--init-std": 0.05, "--dtype": dtype,
    }
    return side.siskin_model(arguments, f"{size}-{dtype}.siskin", [str(word) for pair in shape.items() for word in pair])


class Peer:
    """One model of llama.cpp with a context with and one without flash attention."""

    def __init__(self, path):
        how = llama.llama_model_default_params()
        how.use_mmap = False
        self.model = llama.llama_model_load_from_file(path.encode(), how)
        if not self.model:
            sys.exit(f"llama.cpp cannot read {path}")
        self.contexts = [self.context(flash) for flash in (llama.LLAMA_FLASH_ATTN_TYPE_DISABLED, llama.LLAMA_FLASH_ATTN_TYPE_ENABLED)]
        self.tokens = (llama.llama_token * PROMPT)(*((i * 7919 + 300) % VOCAB for i in range(PROMPT)))

    def context(self, flash):
        how = llama.llama_context_default_params()
        how.n_ctx, how.n_batch, how.n_ubatch, how.flash_attn_type, how.no_perf = CONTEXT, PROMPT, PROMPT, flash, True
        context = llama.llama_init_from_model(self.model, how)
        if not context:
            sys.exit("llama.cpp cannot make a context")
        return context

    def feed(self, context, tokens, n):
        if llama.llama_decode(context, llama.llama_batch_get_one(tokens, n)) != 0:
            sys.exit("llama.cpp cannot decode")
        llama.llama_synchronize(context)

    def prompt(self, context, threads, n=PROMPT):
        """Tokens per second of a prompt."""
        llama.llama_set_n_threads(context, threads, threads)
        llama.llama_memory_clear(llama.llama_get_memory(context), False)
        begun = time.perf_counter()
        self.feed(context, self.tokens, n)
        return n / (time.perf_counter() - begun)

    def decode(self, context, threads, n):
        """Tokens per second of decoding one by one after a few."""
        self.prompt(context, threads, FEW)
        token = (llama.llama_token * 1)(300)
        begun = time.perf_counter()
        for i in range(n):
            token[0] = 300 + i
            self.feed(context, token, 1)
        return n / (time.perf_counter() - begun)

    def best(self, measure):
        """The context that is faster at `measure`, after a round to warm up."""
        for context in self.contexts:
            measure(context)
        return max(self.contexts, key=measure)

    def close(self):
        for context in self.contexts:
            llama.llama_free(context)
        llama.llama_model_free(self.model)


def compare(arguments, size, dtype, report):
    """All rounds of one model."""
    ours, peer, n = siskin_model(arguments, size, dtype), Peer(gguf_model(arguments.dir, size, dtype)), SIZES[size][-1]
    for threads in arguments.threads:
        goal = lambda key, goals=GOALS: goals.get(key) if threads == 2 else None
        name = f"{size} {dtype}, {threads} thread{'s' * (threads > 1)}"
        decode = side.Row(f"decode, {name}", goal((size, dtype)), goal(size, READ_GOALS))
        prompt = side.Row(f"prompt of {PROMPT}, {name}", goal("prompt"), goal(size, PEAK_GOALS))
        for_decode = peer.best(lambda context: peer.decode(context, threads, max(n // 4, 8)))
        for_prompt = peer.best(lambda context: peer.prompt(context, threads, PROMPT // 4))
        starts = report["starts"].setdefault(f"{size} {dtype}", [])
        for _ in range(arguments.rounds):
            theirs = peer.decode(for_decode, threads, n)
            found = side.siskin_bench(arguments, ours, "--prompt", FEW, "--gen", n, "--threads", threads)
            decode.add(found["generated_tokens_per_second"], theirs, share(found, "weight_bytes", "read_bytes"))
            starts.append(found["first_token_seconds"])
            theirs = peer.prompt(for_prompt, threads)
            found = side.siskin_bench(arguments, ours, "--prompt", PROMPT, "--gen", 1, "--threads", threads)
            prompt.add(found["prompt_tokens_per_second"], theirs, share(found, "prompt_operations", "peak_operations"))
        report["rows"] += [decode, prompt]
        report["isa"] = found["isa"]
    peer.close()


def share(found, reached, limit):
    """How much of a limit of the machine `siskin bench` reached; the limit is measured in the same second."""
    limit = found[f"{limit}_per_second"]
    return found[f"{reached}_per_second"] / limit if limit else None


def start_rows(starts):
    """Process start to first token, where there is a goal."""
    for name, seconds in starts.items():
        milliseconds, goal = 1e3 * statistics.median(seconds), START_GOALS.get(name.split()[0])
        if goal:
            yield [f"start to first token, {name}", f"{milliseconds:.1f} ms", f"≤ {goal} ms", side.met(milliseconds <= goal)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    side.options(parser)
    parser.add_argument("--sizes", type=side.listed([*SIZES]), default=[*SIZES], help="of 15m,110m,1.1b")
    parser.add_argument("--dtypes", type=side.listed([*DTYPES]), default=[*DTYPES], help="of q8,q4")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2], help="such as 1,2")
    arguments = parser.parse_args()
    largest = max(map(parameters, arguments.sizes))
    side.require_room(arguments.dir, 8 * largest, 6 * largest)
    silence = llama.llama_log_callback(lambda *_: None)
    llama.llama_log_set(silence, None)
    llama.llama_backend_init()
    system = llama.llama_print_system_info().decode().strip()
    report = {"rows": [], "starts": {}}
    for size in arguments.sizes:
        for dtype in arguments.dtypes:
            compare(arguments, size, dtype, report)
    about = {"cpu": side.cpu(), "siskin": report["isa"], "peer": f"llama-cpp-python {llama.__version__}", "peer features": system}
    if arguments.json:
        print(json.dumps({**about, "rows": [row.json() for row in report["rows"]], "first token, s": report["starts"]}, indent=2))
        return
    print("\n".join(f"- {name}: {text}" for name, text in about.items()) + "\n")
    head = ["work", "siskin, tokens/s", "llama.cpp, tokens/s", "ratio (least–most)", "goal", "met", "of the limit", "goal", "met"]
    print(side.markdown(head, [row.cells() + row.share_cells() for row in report["rows"]]))
    print("\nThe limit: for decoding, merely reading as many bytes as the weights; for prompts, bare int8 multiply-adds; the same threads.")
    if rows := [*start_rows(report["starts"])]:
        print("\n" + side.markdown(["work", "siskin", "goal", "met"], rows))


if __name__ == "__main__":
    main()
