"""Judging the figures of a cell that are not its latency: mAP, size, memory, energy and budgets."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from deploymark.bench.gate.rule import Interval, interval, verdict
from deploymark.bench.matrix.gate_settings import Limit
from deploymark.bench.records.verdicts import Check, Verdict
from deploymark.bench.score.map_interval import MapChange

MEMORY_FLOOR = 0.002
"""Least half-width of an interval of memory, of the log-ratio.

Memory comes in pages and arenas, so a few pairs can agree exactly by chance: peaks of the same
artifact were seen to differ by 0.1 to 0.4 % from process to process.
"""

_PAIRED = "Student's interval of the mean log-ratio over pairs"
_MOST_IMAGES_TOLD = 1_000_000


def map_check(change: MapChange, max_drop: float) -> Check:
    """Judge a change of average precision, a difference; ``max_drop`` is what may be lost.

    Regressed: a drop is shown (the whole interval lies below 0) and the drop measured is beyond
    ``max_drop``. Improved: the mirror image. Unchanged: a drop beyond ``max_drop`` is ruled out
    (the interval's lower end lies above it, a test of non-inferiority: Piaggio et al., Reporting of
    Noninferiority and Equivalence Randomized Trials, JAMA 308, 2012). Else inconclusive.

    A latency is measured until its interval is as narrow as it must be; images are as many as there
    are, and a hundred give an interval of ±0.01 to ±0.02. To ask that the whole interval lie below
    ``-max_drop``, as for latency, finds a drop of 0.02 hardly ever.
    """
    said: Verdict = "inconclusive"
    if change.high < 0 and change.change < -max_drop:
        said = "regressed"
    elif change.low > 0 and change.change > max_drop:
        said = "improved"
    elif change.low >= -max_drop:
        said = "unchanged"
    return Check(
        figure=change.figure,
        kind="change",
        verdict=said,
        baseline=change.baseline,
        candidate=change.candidate,
        relative=False,
        change=change.change,
        change_low=change.low,
        change_high=change.high,
        confidence=change.confidence,
        threshold=max_drop,
        method=change.method,
        reason=_map_reason(said, change, max_drop),
    )


def _map_reason(said: Verdict, change: MapChange, max_drop: float) -> str:
    span = f"{change.change:+.4f}, interval [{change.low:+.4f}, {change.high:+.4f}]"
    match said:
        case "regressed":
            return f"a drop is shown and beyond {max_drop:g}: {span}"
        case "improved":
            return f"a gain is shown and beyond {max_drop:g}: {span}"
        case "unchanged":
            return f"a drop beyond {max_drop:g} is ruled out: {span}"
    images = _images_needed(change, max_drop)
    more = f"; about {images} would" if images else ""
    return f"{span}: {change.images} images cannot tell a drop beyond {max_drop:g}{more}"


def _images_needed(change: MapChange, max_drop: float) -> int | None:
    """Images after which the verdict would likely be clear, if the drop is what it seems to be.

    An interval narrows with the root of the number of images.
    """
    if change.change < -max_drop:
        reach, wanted = change.high - change.change, -change.change
    else:
        reach, wanted = change.change - change.low, change.change + max_drop
    if wanted <= 0 or reach <= 0:
        return None
    images = math.ceil(change.images * (reach / wanted) ** 2)
    return images if change.images < images <= _MOST_IMAGES_TOLD else None


def size_check(baseline_bytes: int, candidate_bytes: int, threshold: float) -> Check:
    """Judge the size of an artifact, which is exact: a relative change beyond ``threshold``."""
    change = candidate_bytes / baseline_bytes - 1
    return Check(
        figure="artifact_bytes",
        kind="change",
        verdict=_plain(change, threshold),
        baseline=baseline_bytes,
        candidate=candidate_bytes,
        change=change,
        change_low=change,
        change_high=change,
        threshold=threshold,
        method="exact",
        reason=f"{change:+.2%} of {baseline_bytes:,} bytes, {threshold:.1%} matters",
    )


def memory_check(
    baseline: Sequence[float], candidate: Sequence[float], threshold: float, *, confidence: float
) -> Check:
    """Judge the peak resident memory of the workers, bytes, a pair each.

    Regressed and improved by the rule of latency: the whole interval lies beyond ``threshold``
    (relative). Unchanged where a rise beyond it is ruled out, as for mAP: there are as many pairs
    as latency needed, and none are measured to tell a small gain from none. A single pair is
    compared as it is. Raises ValueError where the sides differ in length, or there is no pair.
    """
    return _paired_check("peak_rss_bytes", baseline, candidate, threshold, confidence, MEMORY_FLOOR)


def energy_check(
    baseline: Sequence[float], candidate: Sequence[float], threshold: float, *, confidence: float
) -> Check:
    """Judge the energy of an image, joules, a pair each, as a meter measured it.

    The rule is that of ``memory_check``. A modelled energy is not to be given here.
    """
    return _paired_check("energy_j_per_image", baseline, candidate, threshold, confidence, 0.0)


def _paired_check(
    figure: str,
    baseline: Sequence[float],
    candidate: Sequence[float],
    threshold: float,
    confidence: float,
    floor: float,
) -> Check:
    pairs = list(zip(baseline, candidate, strict=True))
    if not pairs:
        raise ValueError(f"{figure}: no pair")
    if min(*baseline, *candidate) <= 0:
        return Check(
            figure=figure,
            kind="change",
            verdict="inconclusive",
            threshold=threshold,
            pairs=len(pairs),
            reason="a pair measured nothing above zero, so there is no ratio",
        )
    ratios = [math.log(after / before) for before, after in pairs]
    found = None
    if len(ratios) > 1:
        found = _widened(interval(ratios, 1 - confidence), floor)
    change = math.expm1(statistics.fmean(ratios))
    low, high = (None, None) if found is None else (math.expm1(found.low), math.expm1(found.high))
    span = "one pair" if found is None else f"interval [{low:+.2%}, {high:+.2%}]"
    return Check(
        figure=figure,
        kind="change",
        verdict=_plain(change, threshold) if found is None else _not_worse(found, threshold),
        baseline=statistics.median(baseline),
        candidate=statistics.median(candidate),
        change=change,
        change_low=low,
        change_high=high,
        confidence=None if found is None else confidence,
        threshold=threshold,
        pairs=len(ratios),
        method="a single pair" if found is None else _PAIRED,
        reason=f"{change:+.2%}, {span}, {threshold:.1%} matters",
    )


def _widened(found: Interval, floor: float) -> Interval:
    """The interval, reaching ``floor`` to both sides of the mean at least."""
    low, high = min(found.low, found.mean - floor), max(found.high, found.mean + floor)
    return Interval(found.mean, low, high, found.pairs)


def _not_worse(found: Interval, threshold: float) -> Verdict:
    """As latency's, but unchanged wherever a rise beyond ``threshold`` is ruled out."""
    said = verdict(found, threshold)
    ruled_out = found.high <= math.log1p(threshold)
    return "unchanged" if said == "inconclusive" and ruled_out else said


def _plain(change: float, threshold: float) -> Verdict:
    """The verdict on a relative change that is known."""
    if change > threshold:
        return "regressed"
    # The mirror image, as for latency: what would be a regression the other way round.
    return "improved" if change < 1 / (1 + threshold) - 1 else "unchanged"


def budget_checks(
    figures: Mapping[str, float | None], limits: Sequence[Limit], slowed_by: str = ""
) -> list[Check]:
    """Hold a candidate's figures, by column of ``cells.json``, against budgets.

    The figures are taken as they are, with no interval. A figure that was not measured leaves its
    budget inconclusive: it is never met in silence. So does a latency beyond its budget where it
    was ``slowed_by`` a setting that the gate needs and nobody ships.
    """
    return [_budget_check(limit, figures.get(limit.figure), slowed_by) for limit in limits]


def _budget_check(limit: Limit, value: float | None, slowed_by: str) -> Check:
    allowed = f"the budget ({limit.bound} {_shown(limit.figure, limit.value)})"
    said: Verdict = "inconclusive"
    reason = f"not measured, so {allowed} cannot be checked"
    known = value is not None and math.isfinite(value)
    if value is not None and known:
        beyond = value > limit.value if limit.bound == "max" else value < limit.value
        said = "regressed" if beyond else "unchanged"
        where = "within" if not beyond else "over" if limit.bound == "max" else "under"
        reason = f"{_shown(limit.figure, value)}, {where} {allowed}"
        if beyond and slowed_by and limit.figure.startswith("latency_"):
            said, reason = "inconclusive", f"{reason}; {slowed_by}"
    return Check(
        figure=limit.figure,
        kind="budget",
        verdict=said,
        candidate=value if known else None,
        limit=limit.value,
        bound=limit.bound,
        method="the figure against its limit",
        reason=reason,
    )


def _shown(figure: str, value: float) -> str:
    """A figure for people, with the unit that its name ends in."""
    if figure.endswith("_bytes"):
        return f"{value:,.0f} bytes"
    if figure.endswith("_ms"):
        return f"{value:.4g} ms"
    return f"{value:.4g}"
