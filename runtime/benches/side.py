"""What the side-by-side scripts share: running siskin, medians, tables."""
import json
import os
import shutil
import statistics
import subprocess
import sys

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
BUILT = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release")


def options(parser):
    """The options that every script has."""
    parser.add_argument("--dir", required=True, help="where the models lie; those that are missing are made")
    parser.add_argument("--bin", default=BUILT, help="where siskin and siskin-train were built [%(default)s]")
    parser.add_argument("--rounds", type=int, default=5, help="siskin and peer in turn, so often [%(default)s]")
    parser.add_argument("--json", action="store_true", help="print JSON with every single figure, not a table")


def listed(known):
    """An argument that is a list, separated by commas, of `known` words."""

    def parse(text):
        words = text.split(",")
        if any(word not in known for word in words):
            raise ValueError
        return words

    parse.__name__ = f"list (of {', '.join(known)})"
    return parse


def needs(package, error):
    """Ends with the line that says what is missing."""
    sys.exit(f"{os.path.basename(sys.argv[0])}: {error}; it needs `pip install {package}` (a virtual environment will do)")


def note(line):
    print(line, file=sys.stderr, flush=True)


def siskin(arguments, program):
    """Runs a program of siskin; its standard output."""
    path = os.path.join(arguments.bin, program[0])
    if not os.path.exists(path):
        sys.exit(f"there is no {path}: run `cargo build --release`, or name its folder by --bin")
    return subprocess.run([path, *program[1:]], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def siskin_model(arguments, name, flags):
    """The path of an untrained model, made on the first call."""
    path = os.path.join(arguments.dir, name)
    if not os.path.exists(path):
        note(f"making {path}")
        siskin(arguments, ["siskin-train", "init", "-o", path, *flags])
    return path


def siskin_bench(arguments, model, *flags):
    """The figures of one repetition of `siskin bench`."""
    return json.loads(siskin(arguments, ["siskin", "bench", model, "--reps", "1", "--json", *map(str, flags)]))


def require_room(folder, disk, memory):
    """Ends early when models of `disk` bytes, or a process of `memory` bytes, would not fit."""
    os.makedirs(folder, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < disk:
        sys.exit(f"{folder} has {free / 1e9:.1f} GB free, the models need {disk / 1e9:.1f} GB: name another folder by --dir")
    with open("/proc/meminfo") as meminfo:
        free = next(int(line.split()[1]) * 1024 for line in meminfo if line.startswith("MemAvailable:"))
    if free < memory:
        sys.exit(f"{free / 1e9:.1f} GB of memory are free, {memory / 1e9:.1f} GB are needed: leave out the largest size")


def cpu():
    with open("/proc/cpuinfo") as cpuinfo:
        names = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
    return f"{names[0] if names else 'unknown CPU'}, {os.cpu_count()} cores"


class Row:
    """One line of the table: what siskin and its peer reached in each round, more is better; and which share of a limit siskin did."""

    def __init__(self, work, goal=None, share_goal=None):
        self.work, self.goal, self.share_goal, self.ours, self.peer, self.shares = work, goal, share_goal, [], [], []

    def add(self, ours, peer, share=None):
        self.ours.append(ours)
        self.peer.append(peer)
        if share is not None:
            self.shares.append(share)
        note(f"{self.work}: siskin {ours:,.1f}, peer {peer:,.1f} tokens/s, ratio {ours / peer:.2f}")

    def ratios(self):
        return [ours / peer for ours, peer in zip(self.ours, self.peer)]

    def cells(self):
        ratios = self.ratios()
        ratio = statistics.median(ratios)
        return [
            self.work,
            figure(statistics.median(self.ours)),
            figure(statistics.median(self.peer)),
            f"**{ratio:.2f}** ({min(ratios):.2f}–{max(ratios):.2f})",
            "" if self.goal is None else f"≥ {self.goal:g}",
            "" if self.goal is None else met(ratio >= self.goal),
        ]

    def share_cells(self):
        """The share of the limit, its goal, and whether it was met."""
        if not self.shares:
            return ["", "", ""]
        share = statistics.median(self.shares)
        if self.share_goal is None:
            return [f"{share:.0%}", "", ""]
        return [f"**{share:.0%}**", f"≥ {self.share_goal:.0%}", met(share >= self.share_goal)]

    def json(self):
        return {"work": self.work, "siskin": self.ours, "peer": self.peer, "ratio": statistics.median(self.ratios()), "goal": self.goal, "shares": self.shares}


def figure(x):
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}"


def met(is_met):
    return "yes" if is_met else "**no**"


def markdown(head, rows):
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
