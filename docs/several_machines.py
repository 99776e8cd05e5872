"""Trains one model on several machines with the JAX backend.

Run it on every machine at the same time, with the address of the first one, the number of machines,
and the machine's own number from 0:

    python several_machines.py 10.0.0.1:1234 2 0
    python several_machines.py 10.0.0.1:1234 2 1
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
import tensorflow as tf

import keras_cyclic as kc

tf.config.set_visible_devices([], "GPU")  # only reads the data; the GPUs are for JAX
address, machines, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
keras.distribution.initialize(address, machines, number)  # calls jax.distributed.initialize
keras.distribution.set_distribution(keras.distribution.DataParallel())
keras.utils.set_random_seed(0)

x = np.random.default_rng(0).normal(size=(960, 4)).astype("float32")
y = np.abs(x).sum(axis=1, keepdims=True)
# The same on each machine, with the batches of all of them together: Keras gives each its share.
dataset = tf.data.Dataset.from_tensor_slices((x, y))
dataset = dataset.shuffle(960, seed=0).batch(32, drop_remainder=True)

schedule = kc.schedules.CosineAnnealingWarmRestarts(0.05, first_decay_steps=30)
model = keras.Sequential(
    [keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)]
)
model.compile(keras.optimizers.SGD(schedule, momentum=0.9), loss="mse")
snapshots = kc.callbacks.SnapshotEnsemble("snapshots/{cycle}.keras")
history = model.fit(
    dataset,
    epochs=2,
    callbacks=[kc.callbacks.CyclicalMomentum(), snapshots],
    verbose=2 if number == 0 else 0,
)
model.save(f"model_{number}.keras")  # on every machine, or Keras waits for the others
