"""What a variant brings, in one sentence of plain words."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.reports.page import figures
from deploymark.reports.run.effectiveness import Effect, VariantEffects, Verdict, known

_NAMED = 3
"""Cells that a sentence names; more are counted."""

_HALF = (48, 52)
"""Percent of zeros that are called half of the weights."""


def sentence(group: VariantEffects, *, with_model: bool = False) -> str:
    """``l1_50: half of the weights are zero; no backend is faster for it; gzip 38 % smaller; …``.

    The figures are those of all cells of the variant: a range where they differ. The precision of
    dense is named where it is another than the variant's own.
    """
    effects = group.effects
    name = f"{group.model} {group.variant}" if with_model else group.variant
    others = {
        e.dense.precision for e in effects if e.dense and e.dense.precision != e.cell.precision
    }
    if others:
        name += f", beside dense {' and '.join(sorted(others))}"
    parts = [*_model(effects), _speed(effects), *_sizes(effects), *_accuracy(effects)]
    return f"{name}: {'; '.join(parts)}."


def _model(effects: Sequence[Effect]) -> list[str]:
    parts = []
    zeros = {round(100 * share) for share in known(effect.zeros for effect in effects)}
    if zeros:
        low, high = min(zeros), max(zeros)
        half = _HALF[0] <= low and high <= _HALF[1]
        share = "half" if half else f"{_range(low, high)} %"
        parts.append(f"{share} of the weights are zero")
    macs = _percents(effects, "macs")
    if macs and max(macs) < 0:
        parts.append(f"MACs {_range(-max(macs), -min(macs))} % lower")
    params = _percents(effects, "params")
    if params and max(params) < 0:
        parts.append(f"{_range(-max(params), -min(params))} % fewer parameters")
    return parts or ["as many weights and MACs as dense"]


def _speed(effects: Sequence[Effect]) -> str:
    by_verdict: dict[Verdict, list[Effect]] = {}
    for effect in effects:
        if effect.speed_up is not None:
            by_verdict.setdefault(effect.speed_up.verdict, []).append(effect)
    measured = sum(len(some) for some in by_verdict.values())
    if not measured:
        return "no dense cell to compare its speed with"
    if len(by_verdict.get("no faster", ())) == measured:
        backends = {effect.cell.backend for effect in effects if effect.speed_up is not None}
        if len(backends) > 1:
            return "no backend is faster for it"
        return f"{backends.pop()} is no faster for it"
    told = [
        _which(words, by_verdict[verdict], measured)
        for verdict, words in (
            ("faster", "faster"),
            ("no faster", "no faster"),
            ("slower", "slower"),
            ("not told", "no verdict by a single launch"),
        )
        if verdict in by_verdict
    ]
    return ", ".join(told)


def _which(words: str, effects: Sequence[Effect], measured: int) -> str:
    """``faster in openvino fp32 (1.31×)``, or ``faster in 5 of 8 cells (1.10× to 1.42×)``."""
    ratios = [f"{ratio:.2f}×" for ratio in sorted(known(_ratio(effect) for effect in effects))]
    if len(effects) > _NAMED:
        ends = ratios[0] if ratios[0] == ratios[-1] else f"{ratios[0]} to {ratios[-1]}"
        if len(effects) == measured:
            return f"{words} in all {measured} cells ({ends})"
        return f"{words} in {len(effects)} of {measured} cells ({ends})"
    *others, last = [
        f"{effect.cell.backend} {effect.cell.precision} ({_ratio(effect) or 0:.2f}×)"
        for effect in effects
    ]
    return f"{words} in {', '.join(others)}{' and ' if others else ''}{last}"


def _ratio(effect: Effect) -> float | None:
    return effect.speed_up.ratio if effect.speed_up is not None else None


def _sizes(effects: Sequence[Effect]) -> list[str]:
    percents = _percents(effects, "artifact_gzip_bytes")
    if not percents:
        return []
    low, high = min(percents), max(percents)
    if high < 0:
        return [f"gzip {_range(-high, -low)} % smaller"]
    if low > 0:
        return [f"gzip {_range(low, high)} % larger"]
    if low == high == 0:
        return ["gzip no smaller"]
    return [f"gzip {figures.signed_percent(low / 100)} to {figures.signed_percent(high / 100)}"]


def _accuracy(effects: Sequence[Effect]) -> list[str]:
    points = known(effect.map_points for effect in effects)
    if points:
        ends = dict.fromkeys(figures.signed(point, 1) for point in (min(points), max(points)))
        return [f"mAP50-95 {' to '.join(ends)} points"]
    shares = known(figures.measured(effect.cell.agreement) for effect in effects)
    if shares:
        ends = dict.fromkeys(f"{share:.3f}" for share in (min(shares), max(shares)))
        return [f"agreement {' to '.join(ends)}"]
    return []


def _percents(effects: Sequence[Effect], key: str) -> list[int]:
    return [round(100 * share) for share in known(effect.change(key) for effect in effects)]


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"
