#!/usr/bin/env python3
"""What the inner loops of the ARM kernels cost, by llvm-mca: `make mca` compares with docs/arm.md, `--write` renews it.

The loops are those that the compiler makes of runtime/src/kernels/mca.rs. The model of a CPU knows its ports and
latencies, and takes every load for a hit in the first-level cache; so a figure is the bound that arithmetic sets.
Needs llvm-mca (Debian: llvm-22) and a standard library for aarch64-unknown-linux-gnu; python3 alone otherwise.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/arm.md"
TARGET = "aarch64-unknown-linux-gnu"
BEGIN, END = "<!-- make mca: begin -->\n", "<!-- make mca: end -->\n"

# Board, GHz, llvm's model, kernels. LLVM gives cortex-a76 the model of A57; Neoverse N1 is its server twin.
CPUS = [
    ("Pi 3, Zero 2 W", 1.2, "cortex-a53", "neon"),
    ("Pi 4", 1.8, "cortex-a72", "neon"),
    ("Pi 5", 2.4, "neoverse-n1", "dotprod"),
]
# Name, tokens, weights in an iteration, bytes of weights streamed in it (scales included).
KERNELS = [
    ("gemv_q8", 1, 8 * 32, 256 + 16),
    ("gemv_q4", 1, 8 * 32, 128 + 16),
    ("gemv_f16", 1, 2 * 8 * 4, 2 * 8 * 4 * 2),
    ("attention", 1, 2 * 8 * 4, 2 * 8 * 4 * 2),
    ("gemm_q8", 4, 8 * 32, 256 + 16),
    ("gemm_q4", 4, 8 * 32, 128 + 16),
]
# A regression is more than the noise of a compiler's register allocation.
TOLERANCE = 1.10


def assembly():
    """The assembly of the runtime, as lines."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "mca"
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target))
    if pathlib.Path(f"/usr/lib/rustlib/{TARGET}/lib").is_dir():
        environment["RUSTC"] = "/usr/bin/rustc"
    command = ["cargo", "rustc", "--release", "--quiet", "--target", TARGET, "-p", "siskin", "--lib", "--"]
    command += ["--cfg", "siskin_mca", "--emit", "asm", "-C", "codegen-units=1", "-C", "debuginfo=0"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    files = (target / TARGET / "release/deps").glob("siskin-*.s")
    return max(files, key=lambda file: file.stat().st_mtime).read_text().splitlines()


def function(lines, isa, name):
    """Instructions of one function, and where its labels point."""
    symbol = re.compile(rf"_ZN.*3mca{len(isa)}{isa}{len(name)}{name}17h.*:$|_R.*3mca{len(isa)}{isa}{len(name)}{name}:$")
    start = next(i for i, line in enumerate(lines) if symbol.match(line))
    code, labels = [], {}
    for line in lines[start + 1 :]:
        if line.startswith(".Lfunc_end"):
            return code, labels
        if label := re.match(r"(\.L\w+):", line):
            labels[label[1]] = len(code)
        elif re.match(r"\t[a-z]", line):
            code.append(line.strip())
    sys.exit(f"{name} for {isa} has no end")


def loops(code, labels):
    """Ranges of instructions that a jump backwards repeats, in order."""
    found = []
    for i, line in enumerate(code):
        jump = re.match(r"(?:b|b\.\w+|cbn?z\s.*|tbn?z\s.*)\s.*?(\.L\w+)$", line)
        if jump and labels.get(jump[1], i + 1) <= i:
            found.append((labels[jump[1]], i + 1))
    return sorted(found)


def pieces(lines, isa, name, tokens):
    """What one iteration over the columns runs: pieces of code, and how often each."""
    code, labels = function(lines, isa, name)
    found = loops(code, labels)
    inner = next(a for a in found if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in found))
    outside = [b for b in found if b != inner and b[0] <= inner[0] and inner[1] <= b[1]]
    if tokens == 1 or not outside:
        return [(1, code[slice(*inner)])]
    # The tokens are a loop inside that over the columns.
    outer = min(outside, key=lambda b: b[1] - b[0])
    rest = code[outer[0] : inner[0]] + code[inner[1] : outer[1]]
    return [(tokens, code[slice(*inner)]), (1, rest)]


def cycles(mca, model, code):
    """Cycles of one iteration of this code, in a steady state."""
    iterations = 200
    command = [mca, "-mtriple=aarch64", f"-mcpu={model}", "-mattr=+dotprod", f"-iterations={iterations}"]
    done = subprocess.run(command, input="\n".join(code), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{mca}: {done.stderr}")
    return int(re.search(r"Total Cycles:\s+(\d+)", done.stdout)[1]) / iterations


def measure(mca):
    """Lines of the table."""
    lines = assembly()
    yield "| board, model, kernels | loop | instructions | cycles | cycles per row, 32 columns, token | GB/s of weights, one core |"
    yield "|---|---|---|---|---|---|"
    for board, ghz, model, isa in CPUS:
        for name, tokens, weights, streamed in KERNELS:
            parts = pieces(lines, isa, name, tokens)
            count = sum(times * len(code) for times, code in parts)
            total = sum(times * cycles(mca, model, code) for times, code in parts)
            unit = total * 32 / (weights * tokens)
            speed = f"{streamed * ghz / total:.1f}"
            yield f"| {board}, {model}, {isa} | {name} | {count} | {total:.0f} | {unit:.2f} | {speed} |"


def figures(table):
    """Instructions and cycles, by model and loop."""
    rows = (line.split("|")[1:-1] for line in table if line.count("|") == 7)
    return {(r[0].strip(), r[1].strip()): float(r[3]) for r in rows if r[3].strip().isdigit()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the table into docs/arm.md")
    parser.add_argument("--mca", help="the llvm-mca to run (default: the newest)")
    arguments = parser.parse_args()
    mca = arguments.mca or next(filter(shutil.which, [f"llvm-mca-{v}" for v in range(30, 13, -1)] + ["llvm-mca"]), None)
    if mca is None:
        required = os.environ.get("SISKIN_REQUIRE_ALL") == "1"
        print("SKIPPED: mca: no llvm-mca; CONTRIBUTING.md says how to get it", file=sys.stderr)
        sys.exit(1 if required else 0)
    table = list(measure(mca))
    print("\n".join(table))
    before, rest = PAGE.read_text().split(BEGIN)
    old, after = rest.split(END)
    if arguments.write:
        PAGE.write_text(before + BEGIN + "\n".join(table) + "\n" + END + after)
        return
    known = figures(old.splitlines())
    new = figures(table)
    if known.keys() != new.keys():
        sys.exit(f"{PAGE} has other rows; renew it by runtime/benches/mca.py --write")
    worse = [key for key in new if new[key] > TOLERANCE * known[key]]
    for key in worse:
        print(f"{', '.join(key)}: {new[key]:.0f} cycles, {known[key]:.0f} in {PAGE}", file=sys.stderr)
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
