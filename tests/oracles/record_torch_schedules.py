"""Writes torch_schedules.json: what PyTorch's schedulers gave, step by step.

Needs PyTorch, which the tests do not:  python tests/oracles/record_torch_schedules.py
"""

import json
import pathlib
import random
import warnings

import torch
from torch.optim import lr_scheduler

warnings.simplefilter("ignore")


def rates(scheduler_class, steps, lr, **arguments):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=lr, momentum=0.9)
    scheduler = scheduler_class(optimizer, **arguments)
    values = []
    for step in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        if step < steps - 1:
            optimizer.step()
            scheduler.step()
    return values


def halved(x):
    return 1 / (2.0 ** (x - 1))


def wobbling(x):
    return 0.75 + 0.25 * (-1.0) ** int(x)


def cases(rng):
    for mode in ("triangular", "triangular2", "exp_range"):
        for _ in range(12):
            up = rng.randint(1, 40)
            arguments = {
                "base_lr": rng.uniform(0, 0.01),
                "max_lr": rng.uniform(0.01, 1.0),
                "step_size_up": up,
                "step_size_down": rng.choice([None, rng.randint(1, 40)]),
                "gamma": rng.uniform(0.95, 1.0) if mode == "exp_range" else 1.0,
            }
            steps = 3 * (up + (arguments["step_size_down"] or up)) + 3
            values = rates(
                lr_scheduler.CyclicLR, steps, 0.1, mode=mode, cycle_momentum=False, **arguments
            )
            yield f"CyclicLR/{mode}", arguments, values
    for scale_fn, scale_mode in ((halved, "cycle"), (wobbling, "cycle"), (wobbling, "iterations")):
        arguments = {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 5, "step_size_down": 8}
        scaling = {"scale_fn": scale_fn, "scale_mode": scale_mode}
        values = rates(lr_scheduler.CyclicLR, 45, 0.1, cycle_momentum=False, **scaling, **arguments)
        yield f"CyclicLR/{scale_fn.__name__}/{scale_mode}", arguments, values
    for three_phase in (False, True):
        for strategy in ("cos", "linear"):
            for _ in range(15):
                steps = rng.randint(4, 150)
                arguments = {
                    "max_lr": rng.uniform(0.001, 2.0),
                    "total_steps": steps,
                    "pct_start": rng.uniform(0.05, 0.49 if three_phase else 0.95),
                    "div_factor": rng.uniform(1.0, 50.0),
                    "final_div_factor": 10 ** rng.uniform(0, 5),
                    "anneal_strategy": strategy,
                    "three_phase": three_phase,
                }
                values = rates(
                    lr_scheduler.OneCycleLR, steps, 0.1, cycle_momentum=False, **arguments
                )
                yield "OneCycleLR", arguments, values
    for _ in range(20):
        arguments = {
            "T_0": rng.randint(1, 20),
            "T_mult": rng.randint(1, 3),
            "eta_min": rng.choice([0.0, rng.uniform(0, 0.05)]),
        }
        steps = 3 + sum(arguments["T_0"] * arguments["T_mult"] ** n for n in range(4))
        lr = rng.uniform(0.05, 1.0)
        values = rates(lr_scheduler.CosineAnnealingWarmRestarts, steps, lr, **arguments)
        yield "CosineAnnealingWarmRestarts", {"lr": lr, **arguments}, values
    for _ in range(12):
        arguments = {"step_size": rng.randint(1, 30), "gamma": rng.uniform(0.1, 1.0)}
        values = rates(lr_scheduler.StepLR, 4 * arguments["step_size"] + 2, 0.3, **arguments)
        yield "StepLR", {"lr": 0.3, **arguments}, values
    for _ in range(12):
        milestones = sorted(rng.sample(range(1, 100), rng.randint(1, 6)))
        arguments = {"milestones": milestones, "gamma": rng.uniform(0.1, 1.0)}
        values = rates(lr_scheduler.MultiStepLR, 105, 0.3, **arguments)
        yield "MultiStepLR", {"lr": 0.3, **arguments}, values


if __name__ == "__main__":
    recorded = [
        {"scheduler": name, "arguments": arguments, "rates": values}
        for name, arguments, values in cases(random.Random(2017))
    ]
    path = pathlib.Path(__file__).with_name("torch_schedules.json")
    lines = ",\n".join(json.dumps(case) for case in recorded)
    path.write_text(
        f'{{"torch": "{torch.__version__}",\n"cases": [\n{lines}\n]}}\n', encoding="utf-8"
    )
    print(f"{len(recorded)} cases in {path.name}")
