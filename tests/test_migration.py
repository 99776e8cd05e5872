"""What the README says of other libraries' schedules, against their formulas or Keras itself."""

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import compiled, step_tensor

STEPS = np.arange(120)


def linear_lr(lr, start_factor, end_factor, total_iters):
    way = np.minimum(STEPS, total_iters) / total_iters
    return lr * (start_factor + (end_factor - start_factor) * way)


def clr(base_lr, max_lr, step_size, scale):
    """bckenstler/CLR and TensorFlow Addons; `scale` of the cycle, from 1, and of the step."""
    cycle = np.floor(1 + STEPS / (2 * step_size))
    height = np.maximum(0, 1 - np.abs(STEPS / step_size - 2 * cycle + 1))
    return base_lr + (max_lr - base_lr) * height * scale(cycle, STEPS)


def flat_cos(lr, pct_start, div_final, steps):
    way = np.clip((STEPS / steps - pct_start) / (1 - pct_start), 0, 1)
    return lr / div_final + (lr - lr / div_final) * (1 + np.cos(np.pi * way)) / 2


@keras.saving.register_keras_serializable(package="test_migration")
def three_quarters_each_cycle(cycle):
    return 0.75**cycle


S, K = kc.schedules, keras.optimizers.schedules
KERAS = {
    "CosineDecay": (
        K.CosineDecay(0.1, 80, alpha=0.1),
        S.CosineAnnealing(0.1, 80, final_lr=0.1 * 0.1),
    ),
    "CosineDecay, warm-up": (
        K.CosineDecay(0.01, 80, alpha=0.1, warmup_target=0.1, warmup_steps=20),
        S.Warmup(S.CosineAnnealing(0.1, 80, 0.1 * 0.1), 20, 0.01),
    ),
    "CosineDecayRestarts": (
        K.CosineDecayRestarts(0.1, 16, m_mul=0.8),
        S.CosineAnnealingWarmRestarts(0.1, 16, t_mul=2, m_mul=0.8),
    ),
    "CosineDecayRestarts, alpha": (
        K.CosineDecayRestarts(0.1, 16, alpha=0.1),
        S.CosineAnnealingWarmRestarts(0.1, 16, t_mul=2, final_lr=0.1 * 0.1),
    ),
    "PolynomialDecay": (K.PolynomialDecay(0.1, 80), S.PolynomialDecay(0.1, 80, 0.0001, power=1)),
    "PiecewiseConstantDecay": (
        K.PiecewiseConstantDecay([30, 70], [0.1, 0.05, 0.01]),
        S.Sequential([S.Constant(0.1), S.Constant(0.05), S.Constant(0.01)], [31, 71]),
    ),
}
FORMULAS = {
    "PyTorch LinearLR": (linear_lr(0.1, 0.25, 1, 40), S.Warmup(S.Constant(0.1), 40, 0.25 * 0.1)),
    "PyTorch LinearLR, down": (linear_lr(0.1, 1, 0.2, 40), S.Decay(0.1, 0.2 * 0.1, 40)),
    "PyTorch ExponentialLR": (0.1 * 0.97**STEPS, S.ExponentialDecay(0.1, 1, 0.97)),
    "PyTorch PolynomialLR": (
        0.1 * (1 - np.minimum(STEPS, 80) / 80),
        S.PolynomialDecay(0.1, 80, power=1),
    ),
    "fastai fit_flat_cos": (
        flat_cos(0.1, 0.75, 1e5, 120),
        S.Sequential([S.Constant(0.1), S.CosineAnnealing(0.1, 120 - 90, 0.1 / 1e5)], [90]),
    ),
    "CLR triangular": (clr(0.01, 0.06, 20, lambda cycle, t: 1), S.Triangular(0.01, 0.06, 20)),
    "CLR triangular2": (
        clr(0.01, 0.06, 20, lambda cycle, t: 1 / 2 ** (cycle - 1)),
        S.Triangular2(0.01, 0.06, 20),
    ),
    "CLR exp_range": (
        clr(0.01, 0.06, 20, lambda cycle, t: 0.98**t),
        S.ExpRange(0.01, 0.06, 20, gamma=0.98),
    ),
    "Addons Exponential, cycle": (
        clr(0.01, 0.06, 20, lambda cycle, t: 0.75**cycle),
        S.Cyclical(0.01, 0.06, 20, scale_fn=three_quarters_each_cycle),
    ),
}


@pytest.mark.parametrize("name", KERAS)
def test_a_schedule_of_keras(name):
    theirs, ours = KERAS[name]
    theirs = compiled(theirs)
    expected = [float(theirs(step_tensor(step))) for step in STEPS]
    np.testing.assert_allclose(ours(STEPS), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula(name):
    expected, ours = FORMULAS[name]
    np.testing.assert_allclose(ours(STEPS), expected, rtol=1e-5, atol=1e-8)


def test_fastai_fit_one_cycle():
    lr_max, div, div_final = 0.1, 25.0, 1e5
    ours = S.OneCycle(lr_max, 120, pct_start=0.25, final_div_factor=div_final / div)
    np.testing.assert_allclose(ours([0, 29, 119]), [lr_max / div, lr_max, lr_max / div_final], 1e-5)


def test_epochs_of_pytorch_are_looked_at_once_an_epoch():
    steps_per_epoch = 12
    ours = S.Sampled(S.ExponentialDecay(0.1, steps_per_epoch, 0.9), every=steps_per_epoch)
    np.testing.assert_allclose(ours(STEPS), 0.1 * 0.9 ** (STEPS // steps_per_epoch), rtol=1e-5)
