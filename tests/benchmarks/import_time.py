"""Seconds that `import keras_cyclic` takes over `import keras`, in new processes that take turns.

python tests/benchmarks/import_time.py [turns]
"""

import os
import subprocess
import sys

import numpy as np

SCRIPT = "import time; begin = time.perf_counter(); {}; print(time.perf_counter() - begin)"
STATEMENTS = ("import keras", "import keras, keras_cyclic")


def seconds(statement):
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", SCRIPT.format(statement)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main(turns):
    taken = np.array([[seconds(statement) for statement in STATEMENTS] for _ in range(turns)])
    for statement, column in zip(STATEMENTS, taken.T):
        low, median, high = np.quantile(column, (0.25, 0.5, 0.75))
        print(f"{statement:28} {median:.3f} s ({low:.3f} to {high:.3f})")
    low, median, high = np.quantile(taken[:, 1] / taken[:, 0], (0.25, 0.5, 0.75))
    print(f"ratio                        {median:.3f}   ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
