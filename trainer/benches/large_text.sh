#!/usr/bin/env bash
# Does memory stay flat? Trains some steps on generated texts of 40 MB, 400 MB and 4 GB, with bytes, characters and BPE, and prints what reading
# and tokenizing took, and the most memory that was resident. Needs 9 GB of disk under DIR and some minutes.
#
#   bash trainer/benches/large_text.sh DIR [SIZE…]
set -euo pipefail
dir=${1:?usage: large_text.sh DIR [SIZE…]}
shift
sizes=("$@")
[ $# -gt 0 ] || sizes=(40M 400M 4G)
here=$(cd "$(dirname "$0")/../.." && pwd)
(cd "$here" && cargo build --release -p siskin-trainer --bin siskin-train --example big_text)
bin=${CARGO_TARGET_DIR:-$here/target}/release
mkdir -p "$dir"
for size in "${sizes[@]}"; do
    "$bin/examples/big_text" "$size" "$dir/big.txt"
    for tokenizer in ${TOKENIZERS:-byte char bpe}; do
        rm -rf "$dir/run" "$dir/big.siskin"
        echo "== $size, $tokenizer"
        "$bin/siskin-train" train "$dir/big.txt" --tokenizer "$tokenizer" ${VOCAB:+--vocab-size $VOCAB} --steps "${STEPS:-200}" --eval-every 100 \
            --threads "${THREADS:-2}" --out "$dir/run" --export "$dir/big.siskin" 2>&1 >"$dir/out.txt" |
            grep -E "took|^trained|held out|by the trainer|error" || true
        grep "by the runtime" "$dir/out.txt"
    done
    rm -rf "$dir/run" "$dir/big.siskin" "$dir/big.txt" "$dir/out.txt"
done
