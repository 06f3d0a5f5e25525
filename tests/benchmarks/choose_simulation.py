"""How often ``choose`` names a cell that is worse than the best by more than the indifference.

Twelve cells, some close to the best, with launches in rounds that drift by 3 %; the launches of a
cell scatter by a spread that is the same for all cells, or differs between them. By hand::

    python tests/benchmarks/choose_simulation.py
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter

import numpy as np

from deploymark.bench.choose.rule import Decision, Entrant, decide
from deploymark.bench.records.answer import Estimate
from deploymark.bench.statistics.paired_ratio import Prior, fit_prior, log_ratios, paired_interval

RUNS = 600
INDIFFERENCE = 0.02
DRIFT = 0.03
MEANS = {
    "a second at 3 %, the rest at twice": [1.0, 1.03] + [2.0] * 10,
    "a second at 5 %, the rest at twice": [1.0, 1.05] + [2.0] * 10,
    "steps of 3 %": [1.03**step for step in range(12)],
    "all others at 2.5 %": [1.0] + [1.025] * 11,
}


def trial(
    random: np.random.Generator, means: list[float], rounds: int, spread: float, unlike: float
) -> Decision:
    """One run: the launches of all cells, and what the rule says of them."""
    count = len(means)
    spreads = spread * np.exp(random.normal(0, unlike, count))
    logs = np.log(means)[:, None] + random.normal(0, DRIFT, rounds)
    logs = logs + random.normal(0, 1, (count, rounds)) * spreads[:, None]
    launches = {
        f"{index:02d}": {number: math.exp(value) for number, value in enumerate(row)}
        for index, row in enumerate(logs)
    }
    medians = {name: statistics.median(values.values()) for name, values in launches.items()}
    priors: dict[str, Prior] = {}

    def cost(cell: str, leader: str, error: float) -> Estimate:
        if cell == leader:
            return Estimate(1.0, 1.0, 1.0)
        if leader not in priors:
            others = [launches[name] for name in launches if name != leader]
            priors[leader] = fit_prior([log_ratios(launches[leader], one) for one in others])
        pairs = log_ratios(launches[leader], launches[cell])
        ends = paired_interval(pairs, error, priors[leader]) or (0.0, math.inf)
        ratio = medians[cell] / medians[leader]
        return Estimate(ratio, min(ends[0], ratio), max(ends[1], ratio))

    entrants = [Entrant(name, (), Estimate(value, value, value)) for name, value in medians.items()]
    return decide(entrants, cost, indifference=INDIFFERENCE)


def main() -> None:
    """A line a setting."""
    random = np.random.default_rng(2)
    settings = itertools.product(MEANS, (3, 6), ((0.02, 0.8), (0.05, 0.0), (0.05, 0.8), (0.1, 0.8)))
    for what, rounds, (spread, unlike) in settings:
        means = MEANS[what]
        decisions = [trial(random, means, rounds, spread, unlike) for _ in range(RUNS)]
        wrong = sum(
            decision.winner is not None
            and means[int(decision.winner)] > (1 + INDIFFERENCE) * min(means)
            for decision in decisions
        )
        outcomes = dict(Counter(decision.outcome for decision in decisions))
        print(
            f"{what}; {rounds} launches, spread {spread:.0%}{' unlike' if unlike else ''}: "
            f"{outcomes}, wrong {wrong / RUNS:.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
