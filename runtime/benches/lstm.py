#!/usr/bin/env python3
"""siskin beside PyTorch and ONNX Runtime on this machine: decoding of LSTMs by characters, in turn, medians and the spread.

    cargo build --release
    pip install torch onnxruntime onnx
    python3 runtime/benches/lstm.py --dir models

Each generates greedily, one token after the other, batch 1. The peers get their best case: the loop over tokens runs inside them (TorchScript,
ONNX's Loop) as well as step by step from Python, with 1 and 2 threads, PyTorch with and without oneDNN, and the fastest of all that is compared with the
faster of siskin's thread counts.
"""
import argparse
import itertools
import json
import logging
import os
import time
import warnings

import side

try:
    import numpy as np
    import onnx
    import onnxruntime
    import torch
    import torch.nn as nn
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic
except ImportError as error:
    side.needs("torch onnxruntime onnx", error)

VOCAB, GOAL = 100, 2.0
# Layers and width; tokens to decode.
SIZES = {"2x512": (2, 512, 1024), "3x1024": (3, 1024, 256)}
THREADS = [1, 2]


class Lstm(nn.Module):
    def __init__(self, layers, width):
        super().__init__()
        self.embed, self.lstm, self.head = nn.Embedding(VOCAB, width), nn.LSTM(width, width, layers), nn.Linear(width, VOCAB)

    def forward(self, token, h, c):
        y, (h, c) = self.lstm(self.embed(token), (h, c))
        return self.head(y), h, c


class Greedy(nn.Module):
    """Generates `n` tokens."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, token, h, c, n: int):
        for _ in range(n):
            logits, h, c = self.model(token, h, c)
            token = logits.argmax(-1)
        return token


def torch_runs(model, layers, width):
    """Every way to run a model of PyTorch: name, and a function that generates n tokens."""
    greedy = Greedy(model)
    for (how, module), onednn, threads in itertools.product(
        [("eager", greedy), ("TorchScript", torch.jit.script(greedy))], [True, False], THREADS
    ):

        def run(n, module=module, onednn=onednn, threads=threads):
            torch.backends.mkldnn.enabled = onednn
            torch.set_num_threads(threads)
            state = torch.zeros(layers, 1, width)
            with torch.inference_mode():
                module(torch.zeros(1, 1, dtype=torch.long), state, state, n)

        yield f"{how}, oneDNN {'on' if onednn else 'off'}, {threads} thr", run


def onnx_step(model, layers, width):
    """Nodes and weights of one step: token, h_i, c_i to next_token, next_h_i, next_c_i."""
    nodes, weights = [], []

    def weight(name, value):
        weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(op, inputs, outputs, **attributes):
        nodes.append(helper.make_node(op, inputs, outputs, **attributes))

    value = lambda tensor: tensor.detach().numpy()
    # PyTorch orders gates i f g o, ONNX i o f g.
    gates = lambda tensor: np.concatenate([np.split(value(tensor), 4)[gate] for gate in (0, 3, 1, 2)])[None]
    node("Gather", [weight("embed", value(model.embed.weight)), "token"], ["x_0"])
    for i in range(layers):
        part = lambda name: gates(getattr(model.lstm, f"{name}_l{i}"))
        biases = np.concatenate([part("bias_ih"), part("bias_hh")], 1)
        inputs = [f"x_{i}", weight(f"w_{i}", part("weight_ih")), weight(f"r_{i}", part("weight_hh")), weight(f"b_{i}", biases)]
        node("LSTM", [*inputs, "", f"h_{i}", f"c_{i}"], [f"y_{i}", f"next_h_{i}", f"next_c_{i}"], hidden_size=width)
        node("Squeeze", [f"y_{i}", weight(f"axis_{i}", np.array([1]))], [f"x_{i + 1}"])
    node("MatMul", [f"x_{layers}", weight("head", value(model.head.weight).T)], ["products"])
    node("Add", ["products", weight("bias", value(model.head.bias))], ["logits"])
    node("ArgMax", ["logits"], ["picked"], axis=2, keepdims=0)
    node("Identity", ["picked"], ["next_token"])
    return nodes, weights


def value_info(name, kind=TensorProto.FLOAT, shape=()):
    return helper.make_tensor_value_info(name, kind, shape)


def onnx_model(graph):
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=9)


def onnx_step_model(model, layers, width):
    """One step as a model."""
    nodes, weights = onnx_step(model, layers, width)
    names = [f"{kind}_{i}" for i in range(layers) for kind in "hc"]
    carried = lambda prefix: [
        value_info(f"{prefix}token", TensorProto.INT64, [1, 1]), *(value_info(prefix + name, shape=[1, 1, width]) for name in names)
    ]
    return onnx_model(helper.make_graph(nodes, "step", carried(""), carried("next_"), weights))


def onnx_loop_model(step):
    """A Loop of `n` steps around a step's model."""

    def renamed(values, old, new):
        for value in values:
            info = onnx.ValueInfoProto()
            info.CopyFrom(value)
            info.name = new + value.name.removeprefix(old)
            yield info

    counter, more, go_on = value_info("i", TensorProto.INT64), value_info("more", TensorProto.BOOL), value_info("go_on", TensorProto.BOOL)
    body = helper.make_graph(
        [*step.graph.node, helper.make_node("Identity", ["more"], ["go_on"])], "step",
        [counter, more, *step.graph.input], [go_on, *step.graph.output], step.graph.initializer,
    )
    firsts, lasts = [*renamed(step.graph.input, "", "first_")], [*renamed(step.graph.output, "next_", "last_")]
    loop = helper.make_node("Loop", ["n", "", *(value.name for value in firsts)], [value.name for value in lasts], body=body)
    return onnx_model(helper.make_graph([loop], "loop", [value_info("n", TensorProto.INT64), *firsts], lasts))


def onnx_files(model, folder, size):
    """Paths of step and loop, in f32 and with 8-bit weights."""
    path = lambda name: os.path.join(folder, f"lstm-{size}-{name}.onnx")
    step = onnx_step_model(model, *SIZES[size][:2])
    onnx.save(step, path("step"))
    onnx.save(onnx_loop_model(step), path("loop"))
    quantize_dynamic(path("step"), path("step-int8"), weight_type=QuantType.QInt8)
    step = onnx.load(path("step-int8"))
    onnx.save(onnx_loop_model(step), path("loop-int8"))
    for floating in sorted({node.op_type for node in step.graph.node} & {"LSTM", "MatMul"}):
        side.note(f"ONNX Runtime's dynamic quantization leaves {floating} in f32")
    return (path("step"), path("loop")), (path("step-int8"), path("loop-int8"))


def onnx_runs(step, loop, width):
    """Every way to run ONNX Runtime."""
    state, token = np.zeros((1, 1, width), np.float32), np.zeros((1, 1), np.int64)
    for threads in THREADS:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        open_ = lambda path: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        def looped(n, session=open_(loop)):
            inputs = [value.name for value in session.get_inputs()]
            session.run(None, {name: state for name in inputs} | {"n": np.array(n), "first_token": token})

        def stepped(n, session=open_(step)):
            inputs, outputs = ([value.name for value in values] for values in (session.get_inputs(), session.get_outputs()))
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(token if name == "token" else state) for name in inputs]
            binding = session.io_binding()
            for _ in range(n):
                for name, value in zip(inputs, values):
                    binding.bind_ortvalue_input(name, value)
                for name in outputs:
                    binding.bind_output(name)
                session.run_with_iobinding(binding)
                values = binding.get_outputs()

        yield f"Loop, {threads} thr", looped
        yield f"step by step, {threads} thr", stepped


def rate(run, n):
    begun = time.perf_counter()
    run(n)
    return n / (time.perf_counter() - begun)


def fastest(runs, n):
    """The fastest of several ways, each warmed up."""
    found = [(rate(run, n), name, run) for name, run in runs if rate(run, n)]
    return max(found, key=lambda entry: entry[0])[1:]


def siskin_rate(arguments, size, dtype, threads, n):
    layers, width, _ = SIZES[size]
    shape = {
        "--model": "lstm", "--n-layers": layers, "--hidden": width, "--d-model": width, "--vocab-size": VOCAB, "--norm": "none",
        "--final-norm": "none", "--residual": "false", "--dtype": dtype,
    }
    model = side.siskin_model(arguments, f"lstm-{size}-{dtype}.siskin", [str(word) for pair in shape.items() for word in pair])
    found = side.siskin_bench(arguments, model, "--prompt", 8, "--gen", n, "--threads", threads)
    return found["generated_tokens_per_second"]


def peers(folder, size):
    """Name, siskin's dtype, goal and ways to run of each peer; the fastest way of each is told on standard error."""
    layers, width, _ = SIZES[size]
    model = Lstm(layers, width).eval()
    int8 = torch.ao.quantization.quantize_dynamic(model, {nn.LSTM, nn.Linear}, dtype=torch.qint8)
    onnx_floats, onnx_int8 = onnx_files(model, folder, size)
    yield f"PyTorch {torch.__version__} f32", "f32", None, torch_runs(model, layers, width)
    yield f"ONNX Runtime {onnxruntime.__version__} f32", "f32", None, onnx_runs(*onnx_floats, width)
    yield f"PyTorch {torch.__version__} int8", "q8", GOAL, torch_runs(int8, layers, width)
    yield f"ONNX Runtime {onnxruntime.__version__} int8", "q8", GOAL, onnx_runs(*onnx_int8, width)


def compare(arguments, size):
    n = SIZES[size][2]
    for name, dtype, goal, runs in peers(arguments.dir, size):
        how, run = fastest(runs, max(n // 4, 8))
        ours = max(THREADS, key=lambda threads: siskin_rate(arguments, size, dtype, threads, n))
        row = side.Row(f"{size} {dtype}, {ours} thr, beside {name} ({how})", goal)
        for _ in range(arguments.rounds):
            theirs = rate(run, n)
            row.add(siskin_rate(arguments, size, dtype, ours, n), theirs)
        yield row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    side.options(parser)
    parser.add_argument("--sizes", type=side.listed([*SIZES]), default=[*SIZES], help="of 2x512,3x1024")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    side.require_room(arguments.dir, 500e6, 2e9)
    rows = [row for size in arguments.sizes for row in compare(arguments, size)]
    if arguments.json:
        print(json.dumps({"cpu": side.cpu(), "rounds": [row.json() for row in rows]}, indent=2))
        return
    print(f"- cpu: {side.cpu()}\n")
    head = ["LSTM decode", "siskin, tokens/s", "peer, tokens/s", "ratio (least–most)", "goal", "met"]
    print(side.markdown(head, [row.cells() for row in rows]))


if __name__ == "__main__":
    main()
