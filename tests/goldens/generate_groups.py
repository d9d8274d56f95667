"""Intervals of the hierarchical bootstrap over groups and over rows, for `crates/metrics/tests/bootstrap.rs`, by NumPy."""
import numpy as np

REPLICATES, SEEDS, DRAWS = 200_000, 3, 2
sizes = [1 + g * 7 % 5 for g in range(40)]
group = np.repeat(np.arange(40), sizes)
rows = np.arange(len(group))


def right(strategy):
    """Seeds, draws and rows: 1 where the strategy is right."""
    out = np.empty((SEEDS, DRAWS, len(rows)))
    for s in range(SEEDS):
        for d in range(DRAWS):
            alike = (group * 13 + s * 5 + d * 3 + strategy * 7) % 10 < 6 + strategy
            out[s, d] = alike != ((rows * (s + 2) + d + strategy) % 11 == 0)
    return out


def interval(values, unit, rng):
    """Mean and percentiles over seeds, draws within them, and units of rows, which all runs share."""
    units = unit.max() + 1
    sums = np.stack([[np.bincount(unit, values[s, d], units) for d in range(DRAWS)] for s in range(SEEDS)])
    count = np.bincount(unit, minlength=units)
    means = np.empty(REPLICATES)
    for i in range(REPLICATES):
        times = np.bincount(rng.integers(units, size=units), minlength=units)
        of_run = sums @ times / (count @ times)
        seeds = rng.integers(SEEDS, size=SEEDS)
        means[i] = np.mean([of_run[s, rng.integers(DRAWS, size=DRAWS)].mean() for s in seeds])
    return [values.mean(), *np.quantile(means, [0.025, 0.975])]


print("numpy", np.__version__, len(rows), "rows")
for name, unit in [("groups", group), ("rows", rows)]:
    rng = np.random.default_rng(0)
    print(name, "alone", *(f"{v:.9f}" for v in interval(right(0), unit, rng)))
    print(name, "paired", *(f"{v:.9f}" for v in interval(right(1) - right(0), unit, rng)))
