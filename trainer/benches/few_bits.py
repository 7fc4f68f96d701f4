#!/usr/bin/env python3
"""What 4 and 8 bits cost each family of models, with and without training for them: the table of docs/few-bits.md.

    cargo build --release
    python3 trainer/benches/few_bits.py                            # five families, minutes
    python3 trainer/benches/few_bits.py --families llama --steps 400

Each family is trained twice from the same seed, for the same steps: as usual, and with --qat. Every loss is that of an exported file on the
whole held-out part of the text, computed by the runtime's own kernels.
"""
import argparse
import os
import re
import subprocess
import tempfile

FAMILIES = ["rnn", "gru", "lstm", "gpt", "llama"]
LOSSES = re.compile(r"by the runtime: float ([0-9.]+), \w+ ([0-9.]+)")


def losses(command):
    """Loss of the float weights and of the exported file, as the command printed them."""
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return tuple(float(loss) for loss in LOSSES.search(out).groups())


def trained(args, family, folder, qat):
    """Trains into `folder`; gives the loss of the float weights and of the q4 file."""
    flags = ["--model", family, "--steps", str(args.steps), "--seed", str(args.seed), "--threads", str(args.threads), "--dtype", "q4",
             "--sample-every", "0", "--out", folder, "-o", folder + ".siskin", "--quiet"]
    return losses([args.siskin, "train", args.text] + flags + (["--qat", qat] if qat else []))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(FAMILIES), help="names, with commas between them")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--text", default=os.path.join(here, "../data/shakespeare.txt"))
    parser.add_argument("--siskin", default=os.path.join(here, "../../target/release/siskin-train"), help="the program")
    args = parser.parse_args()
    percent = lambda loss, base: f"{loss:.4f} ({100 * (loss / base - 1):+.2f} %)"
    print("| family | float | q8, rounded after training | q4, rounded after training | q4, trained for it |")
    print("|---|---|---|---|---|")
    for family in args.families.split(","):
        with tempfile.TemporaryDirectory() as folder:
            plain = os.path.join(folder, "plain")
            float_loss, q4 = trained(args, family, plain, None)
            _, q8 = losses([args.siskin, "export", plain, "-o", plain + "8.siskin", "--dtype", "q8"])
            _, qat = trained(args, family, os.path.join(folder, "qat"), "q4")
        cells = [percent(loss, float_loss) for loss in (q8, q4, qat)]
        print(f"| {family} | {float_loss:.4f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
