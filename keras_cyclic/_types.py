"""Types that many signatures share."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Real: TypeAlias = float | np.floating[Any] | np.integer[Any]
Integer: TypeAlias = int | np.integer[Any]
Integers: TypeAlias = Sequence[Integer] | NDArray[np.integer[Any]]
# A float or an array of Keras's backend, for which Keras has no type.
Tensor: TypeAlias = Any
Logs: TypeAlias = dict[str, Any] | None
