#!/usr/bin/env python3
"""What 8 and 4 bits cost imported models, plain, calibrated and tuned: the tables of docs/quality.md.

    cargo build --release
    python3 trainer/benches/quality.py model.gguf --text held-out.txt --calibrate other.txt

Every perplexity is computed by the runtime's own kernels on the file that was written, in windows of the model's context that do not overlap.
"""
import argparse
import os
import re
import subprocess
import tempfile

PERPLEXITY = re.compile(r"perplexity ([0-9.]+), ([0-9.]+) \(([-+0-9.]+ %)\)")
BITS = re.compile(r"([0-9.]+) bits a weight")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SRC", help="what siskin-train import reads")
    parser.add_argument("--text", required=True, help="the text that is measured")
    parser.add_argument("--calibrate", required=True, help="a text of the same kind that shares nothing with it")
    parser.add_argument("--bits", type=float, default=5.2, help="bits a weight of the mixed row")
    parser.add_argument("--updates", type=int, default=500, help="updates of the tuned rows")
    parser.add_argument("--siskin", default=os.path.join(here, "../../target/release/siskin-train"), help="the program")
    args = parser.parse_args()
    calibrated = ["--calibrate", args.calibrate]
    mixed, tuned = calibrated + ["--bits-per-weight", str(args.bits)], ["--tune", str(args.updates)]
    settings = [("q8", []), ("q4", []), ("q4", calibrated), ("q4", mixed), ("q4", calibrated + tuned), ("q4", mixed + tuned)]
    print("| model | weights | bits a weight | perplexity, float | of the file | more |")
    print("|---|---|---|---|---|---|")
    for source in args.sources:
        for dtype, flags in settings:
            with tempfile.TemporaryDirectory() as folder:
                command = [args.siskin, "import", source, "-o", os.path.join(folder, "m.siskin"), "--dtype", dtype, "--text", args.text]
                run = subprocess.run(command + flags, capture_output=True, text=True)
            if run.returncode:
                raise SystemExit(run.stderr.strip())
            out = run.stdout
            found, bits = PERPLEXITY.search(out).groups(), BITS.search(out)
            said = {"--calibrate": "calibrated", "--tune": "tuned", "--bits-per-weight": "some with 8"}
            name = ", ".join([dtype] + [word for flag, word in said.items() if flag in flags])
            print(f"| {os.path.basename(source.rstrip('/'))} | {name} | {bits.group(1) if bits else ''} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
