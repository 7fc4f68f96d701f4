#!/usr/bin/env python3
"""Makes the goldens of optimisers, clipping, averaging and schedules: optim/*.json and schedules/*.json.

Run it with a Python that has PyTorch: `python3 make_optim.py`. Everything is computed in float64 by PyTorch's own
classes, except for Lion, which PyTorch lacks: it is the paper's Algorithm 2 in numpy float64 below. torch.optim.Muon
rounds its Newton-Schulz steps to bfloat16; here that dtype is replaced by float64, the arithmetic is otherwise its own.

One problem serves all optimisers: five tensors, and gradients that were drawn once, all float32 numbers. Every
case says our settings, the PyTorch call, the parameters after some steps, and the buffers after the last step.
"""
import json
import os
import warnings

import numpy as np
import torch

HERE = os.path.dirname(os.path.abspath(__file__))
STEPS = 20
KEEP = (1, 2, 5, 20)
TENSORS = [  # name, rows, cols, kind
    ("wide", 4, 6, "matrix"),
    ("tall", 7, 3, "matrix"),
    ("embed", 5, 4, "embedding"),
    ("head", 3, 4, "head"),
    ("bias", 5, 1, "vector"),
]
DOUBLE = torch.float64
BY = f"PyTorch {torch.__version__.split('+')[0]} in float64"


def f32(x):
    return np.asarray(x, dtype=np.float32).astype(np.float64)


def make_problem():
    rng = np.random.default_rng(20)
    params, grads = [], [[] for _ in range(STEPS)]
    for i, (_, rows, cols, _) in enumerate(TENSORS):
        params.append(f32(rng.normal(size=(rows, cols))))
        drift = rng.normal(size=(rows, cols))
        for t in range(STEPS):
            scale = 10.0 ** (i - 2) * (3.0 if t == 7 else 1.0)
            grads[t].append(f32((drift + rng.normal(size=(rows, cols))) * scale))
    return params, grads


PARAMS, GRADS = make_problem()


def flat(tensors):
    return [float(x) for t in tensors for x in np.asarray(t).reshape(-1)]


def rounded(values):
    return [float(f"{x:.9g}") for x in values]


def write(folder, name, content):
    path = os.path.join(HERE, folder, name + ".json")
    with open(path, "w") as out:
        json.dump(content, out, separators=(",", ":"))
        out.write("\n")
    print(path, os.path.getsize(path))


def run(make, buffers, decay, mults=None):
    """Parameters after some steps, and buffers after the last. make(params, kind) -> torch optimiser."""
    mults = mults or {}
    params = [torch.tensor(p, dtype=DOUBLE) for p in PARAMS]
    optims = []
    for p, (_, _, _, kind) in zip(params, TENSORS):
        matrix = kind == "matrix"
        optim = make([p], matrix, decay if matrix else 0.0)
        for group in optim.param_groups:
            group["lr"] *= mults.get(kind, 1.0)
        optims.append(optim)
    after = {}
    for t in range(STEPS):
        for p, g, optim in zip(params, GRADS[t], optims):
            p.grad = torch.tensor(g, dtype=DOUBLE)
            optim.step()
        if t + 1 in KEEP:
            after[str(t + 1)] = rounded(flat(p.numpy() for p in params))
    state = []
    for p, optim in zip(params, optims):
        state += [optim.state[p][b].numpy() for b in buffers if b in optim.state[p]]
    return after, rounded(flat(state))


class Lion:
    """Chen et al. 2023, Algorithm 2, in float64."""

    def __init__(self, params, lr, betas, weight_decay, maximize=False):
        self.param_groups = [dict(lr=lr)]
        self.p, self.betas, self.decay, self.sign = params[0], betas, weight_decay, -1.0 if maximize else 1.0
        self.state = {params[0]: {"m": torch.zeros_like(params[0])}}

    def step(self):
        lr, (b1, b2), m = self.param_groups[0]["lr"], self.betas, self.state[self.p]["m"]
        g = self.sign * self.p.grad
        update = np.sign((b1 * m + (1 - b1) * g).numpy())
        self.p.mul_(1 - lr * self.decay).sub_(torch.tensor(lr * update))
        self.state[self.p]["m"] = b2 * m + (1 - b2) * g


def muon(params, matrix, decay, lr, adam_lr, momentum, nesterov, steps, scale, betas, eps):
    if not matrix:
        return torch.optim.Adam(params, lr=adam_lr, betas=betas, eps=eps)
    optim = torch.optim.Muon(
        params, lr=lr, weight_decay=decay, momentum=momentum, nesterov=nesterov, ns_steps=steps, adjust_lr_fn=scale
    )
    step = optim.step

    def step_in_double():
        narrow, torch.bfloat16 = torch.bfloat16, DOUBLE
        step()
        torch.bfloat16 = narrow

    optim.step = step_in_double
    return optim


def case(name, ours, call, make, buffers, mults=None):
    after, state = run(make, buffers, ours.get("weight-decay", 0.0), mults)
    return dict(name=name, settings=ours, made_by=call, after=after, state=state)


def torch_case(name, ours, cls, buffers, **kw):
    call = f"torch.optim.{cls.__name__}({', '.join(f'{k}={v}' for k, v in kw.items())})"
    return case(name, ours, call, lambda p, _, wd: cls(p, weight_decay=wd, **kw), buffers)


def sgd():
    sgd, buf = torch.optim.SGD, ["momentum_buffer"]
    s = dict(name="sgd", lr=0.05)
    m = dict(name="momentum", lr=0.05)
    return [
        torch_case("plain", s, sgd, [], lr=0.05),
        torch_case("decay", {**s, "weight-decay": 0.1}, sgd, [], lr=0.05),
        torch_case("maximize", {**s, "maximize": True, "weight-decay": 0.1}, sgd, [], lr=0.05, maximize=True),
        torch_case("momentum", m, sgd, buf, lr=0.05, momentum=0.9),
        torch_case(
            "dampening",
            {**m, "momentum": 0.8, "dampening": 0.3, "weight-decay": 0.05},
            sgd, buf, lr=0.05, momentum=0.8, dampening=0.3,
        ),
        torch_case(
            "nesterov",
            {"name": "nesterov", "lr": 0.05, "momentum": 0.85, "weight-decay": 0.05},
            sgd, buf, lr=0.05, momentum=0.85, nesterov=True,
        ),
    ]


def adagrad():
    a, buf, s = torch.optim.Adagrad, ["sum"], dict(name="adagrad", lr=0.05)
    return [
        torch_case("default", s, a, buf, lr=0.05),
        torch_case(
            "all",
            {**s, "lr-decay": 0.1, "initial-accumulator": 0.2, "eps": 1e-6, "weight-decay": 0.1, "maximize": True},
            a, buf, lr=0.05, lr_decay=0.1, initial_accumulator_value=0.2, eps=1e-6, maximize=True,
        ),
    ]


def rmsprop():
    r, s = torch.optim.RMSprop, dict(name="rmsprop", lr=0.01)
    every = ["square_avg", "grad_avg", "momentum_buffer"]
    return [
        torch_case("default", s, r, ["square_avg"], lr=0.01),
        torch_case(
            "alpha",
            {**s, "alpha": 0.9, "eps": 1e-4, "weight-decay": 0.1, "maximize": True},
            r, ["square_avg"], lr=0.01, alpha=0.9, eps=1e-4, maximize=True,
        ),
        torch_case("centered", {**s, "centered": True}, r, ["square_avg", "grad_avg"], lr=0.01, centered=True),
        torch_case("momentum", {**s, "momentum": 0.8}, r, ["square_avg", "momentum_buffer"], lr=0.01, momentum=0.8),
        torch_case(
            "centered-momentum",
            {**s, "centered": True, "momentum": 0.8, "alpha": 0.9, "weight-decay": 0.1},
            r, every, lr=0.01, centered=True, momentum=0.8, alpha=0.9,
        ),
    ]


def adam():
    a, w, buf, s = torch.optim.Adam, torch.optim.AdamW, ["exp_avg", "exp_avg_sq"], dict(name="adam", lr=0.02)
    return [
        torch_case("paper", {**s, "beta2": 0.999}, a, buf, lr=0.02),
        torch_case(
            "all",
            {**s, "beta1": 0.8, "beta2": 0.95, "eps": 1e-4, "weight-decay": 0.1, "maximize": True},
            a, buf, lr=0.02, betas=(0.8, 0.95), eps=1e-4, maximize=True,
        ),
        torch_case(
            "decoupled", {**s, "decoupled": True, "weight-decay": 0.1}, w, buf, lr=0.02, betas=(0.9, 0.99)
        ),
    ]


def adamw():
    w, buf, s = torch.optim.AdamW, ["exp_avg", "exp_avg_sq"], dict(name="adamw", lr=0.02)
    return [
        torch_case("default", {**s, "weight-decay": 0.1}, w, buf, lr=0.02, betas=(0.9, 0.99)),
        torch_case(
            "all",
            {**s, "beta1": 0.8, "beta2": 0.95, "eps": 1e-4, "weight-decay": 0.3, "maximize": True},
            w, buf, lr=0.02, betas=(0.8, 0.95), eps=1e-4, maximize=True,
        ),
    ]


def lion():
    def lion_case(name, ours, **kw):
        call = f"paper's Algorithm 2 in numpy: {kw}"
        return case(name, ours, call, lambda p, _, wd: Lion(p, weight_decay=wd, **kw), ["m"])

    s = dict(name="lion", lr=0.01)
    return [
        lion_case("default", s, lr=0.01, betas=(0.9, 0.99)),
        lion_case(
            "all",
            {**s, "beta1": 0.95, "beta2": 0.8, "weight-decay": 0.5, "maximize": True},
            lr=0.01, betas=(0.95, 0.8), maximize=True,
        ),
    ]


def muon_cases():
    def muon_case(name, ours, mults=None, **kw):
        call = f"torch.optim.Muon for matrices (bfloat16 as float64), torch.optim.Adam for the rest: {kw}"
        make = lambda p, matrix, wd: muon(p, matrix, wd, **kw)
        return case(name, ours, call, make, ["momentum_buffer", "exp_avg", "exp_avg_sq"], mults)

    base = dict(lr=0.02, adam_lr=4e-3, momentum=0.95, nesterov=True, steps=5, scale="original", betas=(0.9, 0.99), eps=1e-8)
    return [
        muon_case("default", {"name": "muon"}, **base),
        muon_case(
            "all",
            {
                "name": "muon", "lr": 0.1, "weight-decay": 0.2, "momentum": 0.9, "nesterov": False, "ns-steps": 3,
                "muon-scale": "match-rms-adamw", "adam-lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-6,
                "embedding-lr-mult": 3.0, "head-lr-mult": 0.5, "vector-lr-mult": 0.25,
            },
            mults={"embedding": 3.0, "head": 0.5, "vector": 0.25},
            **{**base, "lr": 0.1, "momentum": 0.9, "nesterov": False, "steps": 3, "scale": "match_rms_adamw",
               "adam_lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6},
        ),
    ]


def clip():
    cases = []
    for norm, value in [(1.0, None), (1e6, None), (None, 0.5), (2.0, 0.5)]:
        p = torch.zeros(len(flat(PARAMS)), dtype=DOUBLE, requires_grad=True)
        p.grad = torch.tensor(flat(GRADS[0]), dtype=DOUBLE)
        total = None
        if value is not None:
            torch.nn.utils.clip_grad_value_([p], value)
        if norm is not None:
            total = float(torch.nn.utils.clip_grad_norm_([p], norm))
        settings = {k: v for k, v in (("norm", norm), ("value", value)) if v is not None}
        cases.append(dict(settings=settings, norm=total, grads=rounded(p.grad.tolist())))
    return cases


def ema():
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    model = torch.nn.Linear(len(flat(PARAMS)), 1, bias=False).double()
    set_weight = lambda x: model.weight.data.copy_(torch.tensor([x], dtype=DOUBLE))
    set_weight(flat(PARAMS))
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    average.update_parameters(model)  # the first call copies
    for t in range(5):
        set_weight(flat(GRADS[t]))
        average.update_parameters(model)
    return dict(decay=0.9, updates=5, average=rounded(average.module.weight.data[0].tolist()))


def scheduled(make, steps):
    optim = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optim)
    factors = []
    for _ in range(steps):
        factors.append(optim.param_groups[0]["lr"])
        optim.step()
        scheduler.step()
    return rounded(factors)


def warmed(make, warmup):
    lr = torch.optim.lr_scheduler

    def chained(optim):
        first = lr.LinearLR(optim, start_factor=1 / (warmup + 1), end_factor=1.0, total_iters=warmup)
        return lr.SequentialLR(optim, [first, make(optim)], milestones=[warmup])

    return chained


def schedules():
    lr, total, warmup = torch.optim.lr_scheduler, 40, 6
    left = total - warmup

    def wsd(optim, t=total, decay=0.6):
        fall = round(t * decay)
        stay = t - fall
        parts = [lr.ConstantLR(optim, factor=1.0), lr.LinearLR(optim, 1.0, 0.1, total_iters=fall)]
        return lr.SequentialLR(optim, parts, milestones=[stay])

    one_cycle = dict(max_lr=1.0, cycle_momentum=False)
    table = {
        "constant": ({}, lambda o, t: lr.ConstantLR(o, factor=1.0)),
        "step": ({"gamma": 0.3, "step-size": 7}, lambda o, t: lr.StepLR(o, 7, gamma=0.3)),
        "exponential": ({"gamma": 0.9}, lambda o, t: lr.ExponentialLR(o, 0.9)),
        "inverse-time": ({"rate": 0.25}, lambda o, t: lr.LambdaLR(o, lambda s: 1 / (1 + 0.25 * s))),
        "polynomial": ({"power": 1.7}, lambda o, t: lr.PolynomialLR(o, total_iters=t, power=1.7)),
        "linear": ({"end-factor": 0.2}, lambda o, t: lr.LinearLR(o, 1.0, 0.2, total_iters=t)),
        "cosine": ({"end-factor": 0.1}, lambda o, t: lr.CosineAnnealingLR(o, T_max=t, eta_min=0.1)),
    }
    for name, (settings, make) in table.items():
        cases = []
        for w, t in ((0, total), (warmup, left)):
            chained = warmed(lambda o: make(o, t), w) if w else (lambda o: make(o, t))
            ours = {"name": name, "warmup": w, **settings}
            cases.append(dict(settings=ours, total=total, factors=scheduled(chained, total)))
        yield name, cases
    yield "wsd", [
        dict(settings={"name": "wsd", "end-factor": 0.1, "decay-fraction": 0.6}, total=total, factors=scheduled(wsd, total))
    ]
    yield "one-cycle", [
        dict(
            settings={"name": "one-cycle"}, total=total, factors=scheduled_one_cycle(total, **one_cycle),
        ),
        dict(
            settings={"name": "one-cycle", "pct-start": 0.4, "div-factor": 10, "final-div-factor": 50, "anneal": "linear"},
            total=total,
            factors=scheduled_one_cycle(
                total, pct_start=0.4, div_factor=10, final_div_factor=50, anneal_strategy="linear", **one_cycle
            ),
        ),
    ]
    yield "plateau", [plateau({}, {}), plateau(
        {"reduce": 0.5, "patience": 2, "threshold": 0.01, "cooldown": 1, "min-factor": 0.05},
        dict(factor=0.5, patience=2, threshold=0.01, cooldown=1, min_lr=0.05),
    )]


def scheduled_one_cycle(total, **kw):
    """OneCycleLR refuses a step after the last, so one step fewer is taken."""
    optim = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optim, total_steps=total, **kw)
    factors = [optim.param_groups[0]["lr"]]
    for _ in range(total - 1):
        optim.step()
        scheduler.step()
        factors.append(optim.param_groups[0]["lr"])
    return rounded(factors)


def plateau(ours, kw):
    rng = np.random.default_rng(3)
    losses = rounded(f32(2.0 / (1 + 0.2 * np.minimum(np.arange(60), 12)) + 0.02 * rng.random(60)))
    optim = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optim, **kw)
    factors = []
    for loss in losses:
        scheduler.step(loss)
        factors.append(optim.param_groups[0]["lr"])
    return dict(settings={"name": "plateau", **ours}, total=len(losses), losses=losses, factors=rounded(factors))


def main():
    warnings.simplefilter("ignore")
    tensors = [dict(name=n, rows=r, cols=c, kind=k) for n, r, c, k in TENSORS]
    problem = dict(made_by="numpy default_rng(20)", tensors=tensors, params=flat(PARAMS), grads=[flat(g) for g in GRADS])
    write("optim", "problem", problem)
    for make in (sgd, adagrad, rmsprop, adam, adamw, lion, muon_cases, clip):
        write("optim", make.__name__.removesuffix("_cases"), dict(made_by=BY, cases=make()))
    write("optim", "ema", dict(made_by=BY + ", swa_utils", **ema()))
    for name, cases in schedules():
        write("schedules", name, dict(made_by=BY, cases=cases))


main()
