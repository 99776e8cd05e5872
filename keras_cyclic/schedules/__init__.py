"""Learning-rate schedules that compile into the training graph and are saved with the model."""

from keras_cyclic.schedules.composition import Constant, Sampled, Sequential, Warmup
from keras_cyclic.schedules.cyclical import Cyclical, ExpRange, Triangular, Triangular2
from keras_cyclic.schedules.decay import REX, CosineAnnealing, Decay, LinearDecay, PolynomialDecay
from keras_cyclic.schedules.one_cycle import OneCycle
from keras_cyclic.schedules.restarts import CosineAnnealingWarmRestarts
from keras_cyclic.schedules.schedule import Product, Schedule
from keras_cyclic.schedules.smooth_decay import ExponentialDecay, InverseSquareRootDecay
from keras_cyclic.schedules.step_decay import MultiStepDecay, StepDecay
from keras_cyclic.schedules.warmup_stable_decay import WarmupStableDecay
from keras_cyclic.schedules.wave import Wave

__all__ = [
    "REX",
    "Constant",
    "CosineAnnealing",
    "CosineAnnealingWarmRestarts",
    "Cyclical",
    "Decay",
    "ExpRange",
    "ExponentialDecay",
    "InverseSquareRootDecay",
    "LinearDecay",
    "MultiStepDecay",
    "OneCycle",
    "PolynomialDecay",
    "Product",
    "Sampled",
    "Schedule",
    "Sequential",
    "StepDecay",
    "Triangular",
    "Triangular2",
    "Warmup",
    "WarmupStableDecay",
    "Wave",
]
