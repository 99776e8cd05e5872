"""Draws the pictures of the README into docs/pictures.

python docs/draw_pictures.py [folder]
"""

import pathlib
import sys

import matplotlib.pyplot as plt

import keras_cyclic as kc

STEPS = 1000
BOUNDS = {"base_lr": 0.001, "max_lr": 0.01}
PROFILES = ["linear", "cosine", "exponential", "rex", "polynomial"]


def policies():
    """Every policy, by name, over 1,000 steps."""
    s = kc.schedules
    restarts = s.CosineAnnealingWarmRestarts
    return {
        "Triangular": s.Triangular(**BOUNDS, step_size=125),
        "Triangular2": s.Triangular2(**BOUNDS, step_size=125),
        "ExpRange, gamma 0.998": s.ExpRange(**BOUNDS, step_size=125, gamma=0.998),
        "Cyclical, cosine, steeper down": s.Cyclical(
            **BOUNDS, step_size=200, step_size_down=50, profile="cosine"
        ),
        "OneCycle": s.OneCycle(0.01, total_steps=STEPS),
        "OneCycle, three phases, linear": s.OneCycle(
            0.01, total_steps=STEPS, profile="linear", three_phase=True
        ),
        "CosineAnnealingWarmRestarts": restarts(0.01, first_decay_steps=250),
        "... t_mul 2, m_mul 0.7": restarts(0.01, first_decay_steps=143, t_mul=2.0, m_mul=0.7),
        "CosineAnnealing": s.CosineAnnealing(0.01, decay_steps=STEPS),
        "LinearDecay": s.LinearDecay(0.01, decay_steps=STEPS),
        "PolynomialDecay, power 2": s.PolynomialDecay(0.01, decay_steps=STEPS),
        "REX": s.REX(0.01, decay_steps=STEPS),
        "StepDecay": s.StepDecay(0.01, step_size=250, gamma=0.5),
        "MultiStepDecay": s.MultiStepDecay(0.01, milestones=[500, 750], gamma=0.3),
        "ExponentialDecay": s.ExponentialDecay(0.01, decay_steps=250, decay_rate=0.5),
        "InverseSquareRootDecay": s.InverseSquareRootDecay(0.01, decay_steps=100),
        "WarmupStableDecay": s.WarmupStableDecay(0.01, 150, 550, 300),
        "Warmup of REX": s.Warmup(s.REX(0.01, decay_steps=850), warmup_steps=150),
        "Sampled, REX every 125": s.Sampled(s.REX(0.01, decay_steps=STEPS), every=125),
        "Sequential": s.Sequential(
            [s.Triangular(**BOUNDS, step_size=100), s.LinearDecay(0.001, 400)], boundaries=[600]
        ),
    }


def draw_policies():
    """All policies, one small picture each."""
    figure, axes = plt.subplots(5, 4, figsize=(13, 12), sharex=True, layout="constrained")
    for ax, (name, schedule) in zip(axes.flat, policies().items()):
        kc.plot_schedule(schedule, STEPS, ax=ax)
        ax.set_title(name, fontsize="medium")
        ax.set_ylim(-0.0004, 0.0107)
        ax.label_outer()
    return figure


def draw_profiles():
    """The profiles as one fall, as cycles, and as steps."""
    figure, (falls, cycles, steps) = plt.subplots(
        1, 3, figsize=(13, 3.6), sharey=True, layout="constrained"
    )
    decays = {name: kc.schedules.Decay(0.01, 0.0, STEPS, profile=name) for name in PROFILES}
    kc.plot_schedule(decays, STEPS, ax=falls)
    falls.set_title("Decay")
    waves = {
        name: kc.schedules.Cyclical(0.0, 0.01, step_size=250, profile=name) for name in PROFILES
    }
    kc.plot_schedule(waves, STEPS, ax=cycles)
    cycles.set_title("Cyclical")
    sampled = {name: kc.schedules.Sampled(decay, every=200) for name, decay in decays.items()}
    kc.plot_schedule(sampled, STEPS, ax=steps)
    steps.set_title("Decay, Sampled every 200 steps")
    for ax in (cycles, steps):
        ax.get_legend().remove()
        ax.set_ylabel("")
    return figure


def draw_one_cycle():
    """1cycle and the momentum that goes with it."""
    schedule = kc.schedules.OneCycle(max_lr=0.1, total_steps=STEPS)
    figure = kc.plot_schedule(schedule, STEPS, momentum=(0.85, 0.95), steps_per_epoch=100).figure
    figure.set_size_inches(7, 4)
    return figure


PICTURES = {
    "policies.png": draw_policies,
    "profiles.png": draw_profiles,
    "one_cycle.png": draw_one_cycle,
}


def main(folder):
    """Draws all pictures into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        figure = draw()
        # No Matplotlib version in the file: it changes only when the picture does.
        figure.savefig(folder / name, dpi=90, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if sys.argv[1:] else pathlib.Path(__file__).parent / "pictures")
