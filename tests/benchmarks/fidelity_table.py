"""The fidelity suite's records as a table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from deploymark.bench.statistics.intervals import launch_interval

Record = Mapping[str, Any]

LIMITS = {1: 0.03, 2: 0.05}
"""How far the harness may be from the bare loop, by threads; more threads are as two."""

SAME_WORK = 0.05
"""Largest difference of predictions, pixels or score, up to which two sides do the same work."""

HEAD = (
    "backend",
    "precision",
    "threads",
    "harness, ms",
    "bare loop, ms",
    "harness / bare loop",
    "within",
    "vendor's tool, ms",
    "harness / tool",
)


def limit(threads: int) -> float:
    """The largest difference allowed, a share."""
    return LIMITS.get(threads, LIMITS[2])


def ratio_of(log_ratios: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Geometric mean over pairs, and its 95 % t-interval where there are two pairs or more."""
    centre = math.exp(statistics.fmean(log_ratios))
    return centre, launch_interval([math.exp(value) for value in log_ratios], centre)


def ratio_text(log_ratios: Sequence[float]) -> str:
    """``1.004 [0.998, 1.010]``."""
    centre, interval = ratio_of(log_ratios)
    return f"{centre:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def within(log_ratios: Sequence[float], threads: int) -> str:
    """Whether the ratio is within the limit: ``yes``, ``**no**``, and ``?`` where it may be not so.

    It may be otherwise where the interval reaches over the limit to the other side.
    """
    centre, interval = ratio_of(log_ratios)
    reach = math.log1p(limit(threads))
    inside = abs(math.log(centre)) <= reach
    ends = [abs(math.log(end)) <= reach for end in interval or (centre, centre)]
    sure = all(ends) if inside else interval is None or _apart(interval, reach)
    return ("yes" if inside else "**no**") + f", {limit(threads):.0%}" + ("" if sure else " ?")


def _apart(interval: tuple[float, float], reach: float) -> bool:
    """Whether all of an interval is beyond the limit, on one side."""
    return math.log(interval[0]) > reach or math.log(interval[1]) < -reach


def rows(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """A row for each backend, precision and number of threads, in the order of the matrix."""
    found: dict[tuple[int, int], list[Record]] = {}
    for record in records:
        if record["kind"] == "pair":
            found.setdefault((record["position"], record["threads"]), []).append(record)
    return [_row(found[key]) for key in sorted(found)]


def _row(pairs: Sequence[Record]) -> tuple[str, ...]:
    threads = pairs[0]["threads"]
    ratios = [pair["log_ratio"] for pair in pairs]
    timed = [pair for pair in pairs if pair.get("tool_ms")]
    tool = f"{_median(timed, 'tool_ms')} ({timed[0]['tool']})" if timed else ""
    over = [math.log(pair["harness_ms"] / pair["tool_ms"]) for pair in timed]
    return (
        pairs[0]["backend"],
        pairs[0]["precision"],
        str(threads),
        _median(pairs, "harness_ms"),
        _median(pairs, "bare_ms"),
        ratio_text(ratios),
        within(ratios, threads),
        tool,
        ratio_text(over) if over else "",
    )


def _median(records: Sequence[Record], figure: str) -> str:
    return f"{statistics.median(record[figure] for record in records):.2f}"


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(records: Sequence[Record]) -> str:
    """The table, and below it what else there is to tell."""
    pairs = [record for record in records if record["kind"] == "pair"]
    if not pairs:
        return "no pair was measured yet"
    body = rows(records)
    counts = sorted({sum(row["cell"] == one["cell"] for row in pairs) for one in pairs})
    passed = sum(row[6].startswith("yes") for row in body)
    summary = (
        f"{passed} of {len(body)} within their limit; {len(pairs)} pairs "
        f"({counts[0]} to {counts[-1]} a row), geometric mean and 95 % t-interval over pairs; "
        f"{', '.join(sorted({pair['machine'] for pair in pairs}))}; "
        f"{min(pair['date'] for pair in pairs)} to {max(pair['date'] for pair in pairs)}."
    )
    told = [markdown(HEAD, body), "", summary]
    told += [
        f"{record['cell']}: the predictions of the two differ by "
        f"{record['largest_difference']:.3g}."
        for record in records
        if record["kind"] == "check" and not record["largest_difference"] <= SAME_WORK
    ]
    told += _failures(records)
    return "\n".join(told)


def _failures(records: Sequence[Record]) -> list[str]:
    """What failed and was not made good since."""
    done = {(record["cell"], record["pair"]) for record in records if record["kind"] == "pair"}
    last = {
        (record["cell"], record["pair"]): record["reason"]
        for record in records
        if record["kind"] == "failed" and (record["cell"], record["pair"]) not in done
    }
    tools = {
        f"{record['cell']}: {record['tool_reason']}"
        for record in records
        if record.get("tool_reason")
    }
    return [f"{cell}, pair {pair}: {reason}" for (cell, pair), reason in last.items()] + sorted(
        tools
    )
