"""What a curve of losses over learning rates shows: its level, its fall, and where it rises."""

import dataclasses

import numpy as np

# Widths are in decades of the rate, so that more steps give less noise and not less smoothing.
SMOOTHING_DECADES = 0.2
LEAST_POINTS = 10

# Beyond what float32 resolves of the first loss, a loss is zero and its ups and downs rounding.
RESOLUTION = 1e-7


@dataclasses.dataclass(frozen=True)
class LossCurve:
    """The losses of a range test, seen without their noise.

    Losses that are all positive are smoothed as logarithms, in which a fall to nothing and an
    explosion are both straight lines; others as they are.

    Attributes:
        positions: The decimal logarithm of each learning rate.
        smoothed: The smoothed loss at each.
        slopes: What the smoothed loss gains in a decade at each.
        errors: The standard error of the smoothed loss.
        start: The index of the highest smoothed loss before the lowest.
        lowest: The index of the lowest smoothed loss.
        rise: The index of the last loss before the final rise; the last index where none is.
        rises: Whether the losses end with a rise.
    """

    positions: np.ndarray
    smoothed: np.ndarray
    slopes: np.ndarray
    errors: np.ndarray
    start: int
    lowest: int
    rise: int
    rises: bool

    @classmethod
    def of(cls, learning_rates, losses, diverged):
        """The curve of finite losses, at increasing learning rates."""
        positions = np.log10(learning_rates)
        logarithmic = np.min(losses) >= 0 and losses[0] > 0
        values = losses
        if logarithmic:
            values = np.log(np.maximum(losses, RESOLUTION * losses[0]))
        middle = _running_median(values)
        bottom = int(np.argmin(middle))
        noise = _noise(values[: max(bottom + 1, len(values) // 2)])
        tolerance = max(4 * noise, 0.1 if logarithmic else 0.05 * np.ptp(values[: bottom + 1]))
        rise = int(np.flatnonzero(middle <= middle[bottom] + tolerance)[-1])
        level, slope, variance = np.empty((3, len(values)))
        # The explosion at the end would lift the fit before it: each side has its own.
        for part in (slice(0, rise + 1), slice(rise + 1, None)):
            level[part], slope[part], variance[part] = local_lines(positions[part], values[part])
        errors = noise * np.sqrt(variance)
        smoothed = level
        if logarithmic:
            smoothed = np.exp(level)
            slope = slope * smoothed
            errors = errors * smoothed
        lowest = int(np.argmin(smoothed[: rise + 1]))
        return cls(
            positions,
            smoothed,
            slope,
            errors,
            start=int(np.argmax(smoothed[: lowest + 1])),
            lowest=lowest,
            rise=rise,
            rises=bool(diverged or rise < len(values) - 1),
        )


def local_lines(positions, values):
    """A straight line fitted around each position, with Gaussian weights, centred.

    A line, unlike a weighted mean, follows a slope to the edges of the data without a lag.

    Returns:
        The level of each line at its position, its slope, and by which factor the noise of the
        values enters the variance of the level.
    """
    level, slope, variance = np.empty((3, len(values)))
    neighbours = _neighbours(positions)
    for i, position in enumerate(positions):
        distance = positions - position
        # As many neighbours at the ends, and where the steps are far apart, as in the middle.
        width = max(SMOOTHING_DECADES, np.sort(np.abs(distance))[neighbours])
        near = np.abs(distance) < 4 * width
        distance = distance[near]
        weight = np.exp(-0.5 * (distance / width) ** 2)
        weight /= weight.sum()
        centre = weight @ distance
        spread = weight @ (distance - centre) ** 2
        along = (distance - centre) / spread if spread > 0 else np.zeros_like(distance)
        slope[i] = (weight * along) @ values[near]
        share = weight * (1 - centre * along)
        level[i] = share @ values[near]
        variance[i] = share @ share
    return level, slope, variance


def _neighbours(positions):
    """How many steps the smoothing reaches, to both sides together."""
    count = len(positions)
    if count < 2:
        return 0
    within = 2 * SMOOTHING_DECADES / np.median(np.diff(positions))
    return int(min(max(4, min(within, count / 8)), count - 1))


def _running_median(values, reach=2):
    """Each value's median with its neighbours, fewer at the ends: keeps every rise and fall."""
    last = len(values) - 1
    reaches = [min(reach, i, last - i) for i in range(len(values))]
    return np.array([np.median(values[i - r : i + r + 1]) for i, r in enumerate(reaches)])


def _noise(values):
    """The standard deviation of the values about any smooth curve."""
    if len(values) < 4:
        return 0.0
    bends = np.diff(values, 2)
    return float(1.4826 * np.median(np.abs(bends)) / np.sqrt(6))
