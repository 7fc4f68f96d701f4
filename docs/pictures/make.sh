#!/usr/bin/env bash
# Draws the pictures of docs/gradient-descent.md anew, by the very commands that stand there: every line of its ```sh blocks runs, in order, in an
# empty folder. Takes some minutes on two cores. `bash docs/pictures/make.sh lr-find` runs only the lines that hold that word.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
word=${1:-}
if [[ -z ${SISKIN_BIN:-} ]]; then
    cargo build --release --manifest-path "$root/Cargo.toml" -p siskin-trainer -p siskin-cli
    SISKIN_BIN=${CARGO_TARGET_DIR:-$root/target}/release
fi
export PATH="$SISKIN_BIN:$PATH"
place=${CARGO_TARGET_DIR:-$root/target}/pictures
if [[ -z $word ]]; then rm -rf "$place"; fi
mkdir -p "$place"
cd "$place"
ln -sf "$root/trainer/data/shakespeare.txt" .
echo "in $place"
commands=$(sed -n '/^```sh$/,/^```$/p' "$root/docs/gradient-descent.md" | grep -v '^```')
while IFS= read -r line; do
    if [[ $line != *"$word"* ]]; then continue; fi
    echo "\$ $line"
    bash -euc "$line" </dev/null
done <<<"$commands"
for picture in *.svg; do
    if [[ -e $picture ]]; then cp "$picture" "$root/docs/pictures/gradient-descent/"; fi
done
