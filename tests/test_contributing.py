"""The policy that CONTRIBUTING.md adds works as it stands there, and so do its other lines."""

import pathlib
import re

import keras
import numpy as np
import pytest

import keras_cyclic as kc
from tests.backends import compiled, countable, step_tensor
from tests.oracles import exact
from tests.schedules.policies import Policy, cycle_ends

CONTRIBUTING = pathlib.Path(__file__).parents[1] / "CONTRIBUTING.md"
TEXT = CONTRIBUTING.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^( *)```python\n(.*?)^ *```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def example():
    """What the code blocks define: the class, its oracle, and the entries of the lists."""
    policy, oracle, entry, good = (
        re.sub(f"^{indent}", "", code, flags=re.MULTILINE) for indent, code in BLOCKS
    )
    namespace = {"__name__": "contributing"}
    exec(compile(policy, str(CONTRIBUTING), "exec"), namespace)
    exec(compile(oracle, str(CONTRIBUTING), "exec"), namespace)
    yield namespace, entry, good
    del keras.saving.get_custom_objects()["keras_cyclic>SquareWave"]


def high_or_low(step):
    return 0.2 if step % 20 < 10 else 0.1


def test_the_policy(example, tmp_path):
    square_wave = example[0]["SquareWave"]
    schedule = square_wave(0.1, max_lr=0.2, step_size=10)
    steps = countable([0, 9, 10, 19, 20, 2**31 - 1, 2**53 - 1, 2**53])
    exact_rates = np.array([high_or_low(int(step)) for step in steps], "float32")
    np.testing.assert_array_equal(schedule(steps), exact_rates)
    np.testing.assert_array_equal(compiled(schedule, "graph")(step_tensor(steps)), exact_rates)
    np.testing.assert_array_equal([float(schedule(int(step))) for step in steps], exact_rates)

    config = schedule.get_config()
    assert config == {"base_lr": 0.1, "max_lr": 0.2, "step_size": 10}
    assert square_wave.from_config(config).get_config() == config
    assert repr(schedule) == "SquareWave(base_lr=0.1, max_lr=0.2, step_size=10)"
    with pytest.raises(ValueError, match="`base_lr` must not be above `max_lr`"):
        square_wave(0.3, 0.2, 10)

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(schedule), "mse")
    x = np.ones((12, 1), "float32")
    model.fit(x, x, batch_size=1, verbose=0)
    model.save(tmp_path / "model.keras")
    optimizer = keras.saving.load_model(tmp_path / "model.keras").optimizer
    assert type(optimizer._learning_rate) is square_wave
    assert float(optimizer.learning_rate) == np.float32(high_or_low(12))


def test_its_oracle_and_the_entries_of_the_lists(example, monkeypatch):
    namespace, entry, good = example
    monkeypatch.setattr(kc.schedules, "SquareWave", namespace["SquareWave"], raising=False)
    monkeypatch.setattr(exact, "square_wave", namespace["square_wave"], raising=False)
    names = {
        "Policy": Policy,
        "cycle_ends": cycle_ends,
        "exact": exact,
        "schedules": kc.schedules,
        "s": kc.schedules,
    }
    policy = eval(entry, names)
    steps = countable(policy.boundaries)
    np.testing.assert_allclose(
        policy.schedule(steps), [policy.oracle(int(step)) for step in steps], 1e-6
    )
    ((cls, arguments),) = eval(f"{{{good}}}", names).items()
    assert cls(**arguments).get_config() == arguments
