"""Writes torch_momenta.json: the momenta that PyTorch's schedulers cycled, step by step.

Needs PyTorch, which the tests do not:  python tests/oracles/record_torch_momenta.py
"""

import json
import pathlib
import random
import warnings

import torch
from torch.optim import lr_scheduler

warnings.simplefilter("ignore")


def momenta(scheduler_class, steps, adam, **arguments):
    parameter = torch.nn.Parameter(torch.zeros(1))
    if adam:
        optimizer = torch.optim.Adam([parameter], lr=0.1)
    else:
        optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    scheduler = scheduler_class(optimizer, cycle_momentum=True, **arguments)
    values = []
    for step in range(steps):
        group = optimizer.param_groups[0]
        values.append(group["betas"][0] if adam else group["momentum"])
        if step < steps - 1:
            optimizer.step()
            scheduler.step()
    return values


def cases(rng):
    for mode in ("triangular", "triangular2", "exp_range"):
        for adam in (False, False, False, True):
            up = rng.randint(2, 20)
            arguments = {
                "base_lr": rng.uniform(0, 0.01),
                "max_lr": rng.uniform(0.01, 1.0),
                "step_size_up": up,
                "step_size_down": rng.choice([None, rng.randint(2, 20)]),
                "gamma": rng.uniform(0.95, 1.0) if mode == "exp_range" else 1.0,
                "base_momentum": rng.uniform(0.0, 0.8),
                "max_momentum": rng.uniform(0.8, 0.99),
            }
            steps = 3 * (up + (arguments["step_size_down"] or up)) + 3
            values = momenta(lr_scheduler.CyclicLR, steps, adam, mode=mode, **arguments)
            yield f"CyclicLR/{mode}", adam, arguments, values
    for three_phase in (False, True):
        for strategy in ("cos", "linear"):
            for adam in (False, False, True):
                arguments = {
                    "max_lr": rng.uniform(0.001, 2.0),
                    "total_steps": rng.randint(10, 80),
                    "pct_start": rng.uniform(0.1, 0.45),
                    "anneal_strategy": strategy,
                    "three_phase": three_phase,
                    "base_momentum": rng.uniform(0.0, 0.8),
                    "max_momentum": rng.uniform(0.8, 0.99),
                }
                steps = arguments["total_steps"]
                values = momenta(lr_scheduler.OneCycleLR, steps, adam, **arguments)
                yield "OneCycleLR", adam, arguments, values


if __name__ == "__main__":
    recorded = [
        {"scheduler": name, "adam": adam, "arguments": arguments, "momenta": values}
        for name, adam, arguments, values in cases(random.Random(2018))
    ]
    path = pathlib.Path(__file__).with_name("torch_momenta.json")
    lines = ",\n".join(json.dumps(case) for case in recorded)
    path.write_text(
        f'{{"torch": "{torch.__version__}",\n"cases": [\n{lines}\n]}}\n', encoding="utf-8"
    )
    print(f"{len(recorded)} cases in {path.name}")
