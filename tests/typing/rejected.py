"""What a type checker must refuse, each line for the reason that stands behind it."""

import keras_cyclic as kc

s = kc.schedules
c = kc.callbacks
rates = [1e-3, 1e-2, 1e-1]
result = kc.RangeTestResult(rates, rates)

kc.profiles.get("cubic")  # error: arg-type
kc.profiles.Exponential("4")  # error: arg-type
kc.profiles.REX(alpha=0.5)  # error: call-arg
s.Cyclical(0.1, "x", 10)  # error: arg-type
s.Cyclical(0.1, 0.2)  # error: call-arg
s.Cyclical(0.1, 0.2, 10, profile=3)  # error: arg-type
s.Cyclical(0.1, 0.2, 10, scale_fn="double")  # error: arg-type
s.Cyclical(0.1, 0.2, 10, scale_mode="epoch")  # error: arg-type
s.Triangular(0.1, 0.2, "10")  # error: arg-type
s.Triangular2(0.1, 0.2, 10, mode="triangular2")  # error: call-arg
s.ExpRange(0.1, 0.2, 10)  # error: call-arg
s.OneCycle(max_lr="x", total_steps=100)  # error: arg-type
s.OneCycle(0.1, epochs=10, steps_per_epoch=100)  # error: call-arg
s.OneCycle(0.1, 100, profile=("linear", 3))  # error: arg-type
s.OneCycle(0.1, 100, three_phase="yes")  # error: arg-type
s.MultiStepDecay(0.1, 30)  # error: arg-type
s.Sequential(3, [10])  # error: arg-type
result.suggest(method="best")  # error: arg-type
result.suggest("best")  # error: arg-type
kc.RangeTestResult.load(3)  # error: arg-type
c.LRRangeTest(spacing="log")  # error: arg-type
c.LRRangeTest(num_steps=100)  # error: call-arg
c.CyclicalMomentum("0.85")  # error: arg-type
c.HyperparameterSchedule(3, s.Constant(0.1))  # error: arg-type
c.HyperparameterSchedule("momentum")  # error: call-arg
c.ReduceLROnPlateau(mode="lowest")  # error: arg-type
c.ReduceLROnPlateau(epsilon=1e-4)  # error: call-arg
c.AdaptiveBounds(bound="all")  # error: arg-type
c.CycleEarlyStopping(patience="3")  # error: arg-type
c.SnapshotEnsemble(3)  # error: arg-type
c.SnapshotEnsemble("{cycle}.keras", keep="all")  # error: arg-type
c.LearningRateMonitor(per_step=10)  # error: arg-type
c.LossDiagnostics(patience="10")  # error: arg-type
kc.lr_range_test(None, rates, rates, epochs=3)  # error: call-arg
kc.fit_one_cycle(None, rates, rates)  # error: call-arg
kc.load_ensemble(3)  # error: arg-type
kc.optimizers.layerwise_decay(None, decay="0.9")  # error: arg-type
kc.plot_schedule(s.Constant(0.1), 10, yscale="symlog")  # error: arg-type
