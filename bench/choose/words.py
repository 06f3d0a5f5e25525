"""Figures, estimates and constraints in words."""

from __future__ import annotations

from deploymark.bench.matrix.figures import ABSENT, amount, rounded
from deploymark.bench.records.answer import Estimate, Held

_TITLES = {
    "throughput_ips": "throughput",
    "artifact_bytes": "artifact size",
    "artifact_gzip_bytes": "compressed size",
    "map50_95": "mAP50-95",
    "map50": "mAP50",
    "e2e_p50_ms": "end-to-end p50",
    "cold_ms": "cold start",
    "load_ms": "loading time",
    "peak_rss_bytes": "peak memory",
    "model_rss_bytes": "memory of the model",
    "device_memory_bytes": "device memory",
    "uss_bytes": "unique set size",
    "load_peak_rss_bytes": "peak memory of loading",
    "steady_rss_bytes": "memory held by inference",
    "memory_per_copy_bytes": "memory of a further copy",
    "min_memory_mb": "smallest limit of memory",
    "artifact_zstd_bytes": "size under zstd",
    "energy_j_per_image": "energy per image",
    "energy_gross_j_per_image": "energy per image, idle included",
    "images_per_wh": "images a watt-hour",
    "battery_hours": "hours of the battery",
    "nonzero_fraction": "share of weights that are not zero",
    "imgsz": "image size",
}


def title(figure: str) -> str:
    """``latency p95`` for ``latency_p95_ms``: a figure in a sentence."""
    return _TITLES.get(figure) or figure.removesuffix("_ms").replace("_", " ")


def worse_word(figure: str, *, maximize: bool) -> str:
    """What a figure that is worse than another is called: ``slower``, ``larger``, ``lower``."""
    if maximize:
        return "lower"
    if figure.endswith("_ms"):
        return "slower"
    return "larger" if figure.startswith("artifact_") else "higher"


def with_interval(figure: str, estimate: Estimate, *, signed: bool = False, unit: str = "") -> str:
    """``3.51 ms [3.34, 3.72]``; without the interval where it has no width."""
    value = amount(figure, estimate.value, signed=signed, unit=unit)
    if estimate.low is None or estimate.low == estimate.high:
        return value
    ends = (amount(figure, end, signed=signed, unit=unit) for end in (estimate.low, estimate.high))
    return f"{value} [{', '.join(end.split()[0] for end in ends)}]"


def held_text(item: Held, unit: str) -> str:
    """What is held against a constraint: ``0.741, +0.019 [+0.004, +0.035] beside FP32``.

    In the unit of the bound, so that both can be compared.
    """
    if not item.judged.measured:
        return item.judged.reason
    if item.kind == "figure":
        return with_interval(item.figure, item.judged, unit=unit)
    value = amount(item.figure, item.value.value, unit=unit)
    if item.kind == "difference":
        change = with_interval(item.figure, item.judged, signed=True, unit=unit)
        return f"{value}, {change} beside FP32"
    return f"{value}, {times(item.judged)} that of FP32"


def times(ratio: Estimate) -> str:
    """``0.49 [0.45, 0.53] times``."""
    if ratio.value is None or ratio.low is None or ratio.high is None:
        return ABSENT
    span = "" if ratio.low == ratio.high else f" [{rounded(ratio.low)}, {rounded(ratio.high)}]"
    return f"{rounded(ratio.value)}{span} times"
