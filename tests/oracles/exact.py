"""Learning rates at one step, worked out in whole numbers, fractions and float64.

Written from the papers and from what PyTorch documents, one step at a time with loops and
branches, so that nothing here shares a formula or a shortcut with the package.
"""

import math
from fractions import Fraction

import mpmath


def linear(z):
    return mpmath.mpf(z.numerator) / z.denominator


def cosine(z):
    return (1 - mpmath.cos(mpmath.pi * linear(z))) / 2


def exponential(rate=4.0, normalize=True):
    def share(z):
        done = 1 - mpmath.exp(-rate * linear(z))
        return done / (1 - mpmath.exp(mpmath.mpf(-rate))) if normalize else done

    return share


def rex(beta=0.5):
    def share(z):
        ahead = 1 - linear(z)
        return 1 - ahead / (beta + (1 - mpmath.mpf(beta)) * ahead)

    return share


def polynomial(power=2.0):
    return lambda z: 1 - (1 - linear(z)) ** power


def between(start, end, share):
    return mpmath.mpf(start) + (mpmath.mpf(end) - mpmath.mpf(start)) * share


def cyclical(step, base_lr, max_lr, up, down, profile=linear, scale=lambda cycle, step: 1):
    cycle, position = divmod(step, up + down)
    if position < up:
        height = profile(Fraction(position, up))
    else:
        height = 1 - profile(Fraction(position - up, down))
    amplitude = (mpmath.mpf(max_lr) - mpmath.mpf(base_lr)) * scale(cycle, step)
    return base_lr + amplitude * height


def one_cycle(
    step,
    max_lr,
    total_steps,
    pct_start=0.3,
    div_factor=25.0,
    final_div_factor=1e4,
    up=cosine,
    down=cosine,
    three_phase=False,
):
    start = max_lr / div_factor
    end = start / final_div_factor
    peak = Fraction(pct_start * total_steps) - 1
    last = Fraction(total_steps - 1)
    moves = [(Fraction(0), peak, start, max_lr, up)]
    if three_phase:
        valley = Fraction(2 * pct_start * total_steps) - 2
        moves += [(peak, valley, max_lr, start, down), (valley, last, start, end, down)]
    else:
        moves += [(peak, last, max_lr, end, down)]
    step = min(Fraction(step), last)
    for begin, finish, lr_from, lr_to, profile in moves:
        if step <= finish or finish >= last:
            if begin == finish:
                return mpmath.mpf(lr_to)
            return between(lr_from, lr_to, profile((step - begin) / (finish - begin)))
    raise AssertionError("the last move ends at the last step")


def warm_restarts(step, initial_lr, first, t_mul=1.0, m_mul=1.0, final_lr=0.0, profile=cosine):
    exact_length = Fraction(first)
    start, peak = 0, mpmath.mpf(initial_lr)
    if t_mul == 1:
        cycles, start = divmod(step, first)
        start = step - start
        peak *= mpmath.mpf(m_mul) ** cycles
        length = first
    else:
        while True:
            length = math.floor(exact_length + Fraction(1, 2))
            if step < start + length:
                break
            start += length
            exact_length *= Fraction(t_mul)
            peak *= m_mul
    peak = max(peak, mpmath.mpf(final_lr))
    return between(peak, final_lr, profile(Fraction(step - start, length)))


def decay(step, initial_lr, final_lr, steps, profile=linear):
    return between(initial_lr, final_lr, profile(Fraction(min(step, steps), steps)))


def step_decay(step, initial_lr, step_size, gamma):
    return mpmath.mpf(initial_lr) * mpmath.mpf(gamma) ** (step // step_size)


def multi_step_decay(step, initial_lr, milestones, gamma):
    rate = mpmath.mpf(initial_lr)
    for milestone in milestones:
        if step >= milestone:
            rate *= gamma
    return rate


def exponential_decay(step, initial_lr, decay_steps, decay_rate):
    return mpmath.mpf(initial_lr) * mpmath.mpf(decay_rate) ** (mpmath.mpf(step) / decay_steps)


def inverse_square_root(step, initial_lr, decay_steps):
    return mpmath.mpf(initial_lr) / mpmath.sqrt(1 + mpmath.mpf(step) / decay_steps)


def warmup_stable_decay(step, max_lr, warmup, stable, fall, final_lr=0.0, profile=linear):
    if step < warmup:
        return between(0.0, max_lr, Fraction(step, warmup))
    if step < warmup + stable:
        return mpmath.mpf(max_lr)
    gone = min(step - warmup - stable, fall)
    return between(max_lr, final_lr, profile(Fraction(gone, fall)))
