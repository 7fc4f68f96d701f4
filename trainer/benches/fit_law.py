#!/usr/bin/env python3
"""Fits the constants of the law in trainer/src/plan/law.rs to the runs of trainer/src/plan/points.tsv.

    python3 trainer/benches/fit_law.py

Every text may lie off the law by a factor of its own, so that those with one run tell how well difficulties compare texts, not how
losses fall; the law is then that of the mean text. Least squares of ln(loss) by Nelder and Mead's simplex ("A simplex method for function minimization", 1965), from several beginnings.
Prints the constants as law.rs has them and how far each point lies from them. Needs nothing but Python.
"""
import math
import os
import random

WEIGHTS_PER_TOKEN = 4.0  # as in law.rs
HERE = os.path.dirname(os.path.abspath(__file__))


def read():
    points = []
    with open(os.path.join(HERE, "..", "src", "plan", "points.tsv")) as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                family, text, tokens_of, *numbers = line.rstrip("\n").split("\t")
                points.append((family, text, tokens_of, *map(float, numbers[:5])))
    return points


def predict(constants, weights, tokens, unique, difficulty):
    e, a, alpha, b, beta, passes = (math.exp(c) for c in constants)
    most = WEIGHTS_PER_TOKEN * unique
    weights = most * (1 - math.exp(-weights / most))
    again = tokens / unique - 1
    if again > 0:
        tokens = unique * (1 + passes * (1 - math.exp(-again / passes)))
    return difficulty * (e + a * weights**-alpha + b * tokens**-beta)


def residuals(constants, points):
    return [math.log(p[7] / predict(constants, *p[3:7])) for p in points]


def offsets(constants, points):
    """ln of each text's own factor: the mean residual of its points."""
    by_text = {}
    for p, r in zip(points, residuals(constants, points)):
        by_text.setdefault(p[1], []).append(r)
    return {text: sum(r) / len(r) for text, r in by_text.items()}


def cost(constants, points):
    try:
        own = offsets(constants, points)
        # Hold what few points say little about near its usual value, and the first text at a factor of 1.
        prior = (0.02 * (constants[5] - math.log(8))) ** 2 + (0.01 * (constants[2] - math.log(0.3))) ** 2
        prior += own[points[0][1]] ** 2
        return prior + sum((r - own[p[1]]) ** 2 for p, r in zip(points, residuals(constants, points)))
    except OverflowError:
        return 1e9


def simplex(f, start, size=0.3, rounds=6000):
    n = len(start)
    corners = [list(start)] + [[x + (size if i == j else 0) for j, x in enumerate(start)] for i in range(n)]
    corners = [(f(c), c) for c in corners]
    for _ in range(rounds):
        corners.sort(key=lambda c: c[0])
        if corners[-1][0] - corners[0][0] < 1e-14:
            break
        centre = [sum(c[1][j] for c in corners[:-1]) / n for j in range(n)]
        along = lambda t: [m + t * (m - w) for m, w in zip(centre, corners[-1][1])]
        best = min(((f(c), c) for c in map(along, (1.0, 2.0, -0.5))), key=lambda c: c[0])
        if best[0] < corners[-1][0]:
            corners[-1] = best
        else:
            low = corners[0][1]
            corners = [corners[0]] + [(f(h), h) for _, c in corners[1:] for h in [[(x + y) / 2 for x, y in zip(c, low)]]]
    return min(corners, key=lambda c: c[0])


def main():
    points = read()
    own = [p for p in points if p[0] == "llama" and p[2] == "char"]
    rng = random.Random(1)
    start = [math.log(x) for x in (0.5, 3.0, 0.3, 30.0, 0.4, 8.0)]
    tries = [[x + rng.uniform(-0.5, 0.5) for x in start] for _ in range(24)]
    _, constants = min((simplex(lambda c: cost(c, own), t) for t in tries), key=lambda c: c[0])
    own_offsets = offsets(constants, own)
    mean = sum(own_offsets.values()) / len(own_offsets)
    for i in (0, 1, 3):
        constants[i] += mean
    print("texts beside the mean one:", ", ".join(f"{t} {100 * (math.exp(o - mean) - 1):+.1f} %" for t, o in own_offsets.items()))
    names = ("e", "a", "alpha", "b", "beta", "passes")
    print("Constants {", ", ".join(f"{n}: {math.exp(c):.4g}" for n, c in zip(names, constants)), "}")
    families = {}
    for p in points:
        if p[0] != "llama":
            families.setdefault(p[0], []).append(math.log(p[7] / predict(constants, *p[3:7])) - own_offsets[p[1]] + mean)
    factors = {f: sum(r) / len(r) for f, r in families.items()}
    print("families:", ", ".join(f"{f} {math.exp(r):.3f}" for f, r in factors.items()))
    print(f"{'family':7} {'text':22} {'weights':>9} {'tokens':>9} {'loss':>7} {'law':>7}  off")
    squares = {True: [], False: []}
    for p in points:
        law = predict(constants, *p[3:7]) * math.exp(factors.get(p[0], 0))
        off = math.log(p[7] / law)
        squares[p[2] == "char"].append(off * off)
        print(f"{p[0]:7} {p[1]:22} {p[3]:9.0f} {p[4]:9.0f} {p[7]:7.3f} {law:7.3f} {100 * off:+5.1f} %")
    for by_characters, s in squares.items():
        if s:
            print(f"{'characters' if by_characters else 'other tokens'}: deviation {100 * math.sqrt(sum(s) / len(s)):.1f} %, {len(s)} points")


if __name__ == "__main__":
    main()
