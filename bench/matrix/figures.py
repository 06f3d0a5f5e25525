"""The figures that can be asked for, their units, and how an amount of one is written."""

from __future__ import annotations

import math
from typing import Literal

Replicate = Literal["exact", "launch", "image"]
"""What a figure scatters over: nothing, launches, or images."""

FIGURES: dict[str, Replicate] = {
    "latency_p50_ms": "launch",
    "latency_p90_ms": "launch",
    "latency_p95_ms": "launch",
    "latency_p99_ms": "launch",
    "latency_mean_ms": "launch",
    "e2e_p50_ms": "launch",
    "cold_ms": "launch",
    "load_ms": "launch",
    "throughput_ips": "launch",
    "peak_rss_bytes": "launch",
    "model_rss_bytes": "launch",
    "device_memory_bytes": "launch",
    "uss_bytes": "launch",
    "load_peak_rss_bytes": "launch",
    "steady_rss_bytes": "launch",
    "memory_per_copy_bytes": "launch",
    "min_memory_mb": "exact",
    "energy_j_per_image": "launch",
    "energy_gross_j_per_image": "launch",
    "images_per_wh": "launch",
    "battery_hours": "launch",
    "artifact_bytes": "exact",
    "artifact_gzip_bytes": "exact",
    "artifact_zstd_bytes": "exact",
    "params": "exact",
    "macs": "exact",
    "nonzero_fraction": "exact",
    "sparsity": "exact",
    "imgsz": "exact",
    "batch": "exact",
    "threads": "exact",
    "map50_95": "image",
    "map50": "image",
    "agreement": "image",
}
"""Columns of ``cells.json`` that a constraint or an objective may name."""

MORE_IS_BETTER = frozenset(
    {
        "throughput_ips",
        "map50_95",
        "map50",
        "agreement",
        "sparsity",
        "images_per_wh",
        "battery_hours",
    }
)

_TIME = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
_SIZE = {
    "B": 1.0,
    "KB": 1e3,
    "kB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
}
_BY_ENDING = {
    "_ms": _TIME,
    "_bytes": _SIZE,
    "_mb": {unit: size / 2**20 for unit, size in _SIZE.items()},
    "_j_per_image": {"mJ": 1e-3, "J": 1.0},
    "_w": {"mW": 1e-3, "W": 1.0},
}

_SHOWN = {
    "_ms": ("ms", 1.0),
    "_bytes": ("MiB", 2.0**20),
    "_mb": ("MiB", 1.0),
    "_j_per_image": ("J", 1.0),
}
"""The unit that an amount is written in, as the reports have it."""

_DIGITS = 3

ABSENT = "\N{EN DASH}"
"""Stands for a figure that was not measured."""


def units_of(figure: str) -> dict[str, float]:
    """The units that a bound on a figure may have, each with what it is of the column's unit."""
    return next((units for end, units in _BY_ENDING.items() if figure.endswith(end)), {})


def amount(figure: str, value: float | None, *, signed: bool = False, unit: str = "") -> str:
    """A figure with its unit: ``3.51 ms``, ``3.19 MiB``, ``0.720``; a dash where there is none.

    ``unit`` is one of ``units_of`` instead of the one that reports have.
    """
    if value is None:
        return ABSENT
    shown, scale = next((seen for end, seen in _SHOWN.items() if figure.endswith(end)), ("", 1.0))
    if unit:
        shown, scale = unit, units_of(figure)[unit]
    if FIGURES.get(figure) == "image":
        text = f"{round(value, _DIGITS) + 0.0:{'+' if signed else ''}.{_DIGITS}f}"
    else:
        text = rounded(value / scale, signed=signed)
    return f"{text} {shown}".rstrip().replace("-", "\N{MINUS SIGN}")


def rounded(value: float, *, signed: bool = False) -> str:
    """To three significant digits, never in exponent notation and no whole digit rounded away."""
    sign = "+" if signed else ""
    if value == 0 or not math.isfinite(value):
        return f"{value:{sign}g}"
    exponent = int(f"{value:.{_DIGITS - 1}e}".partition("e")[2])
    return f"{value:{sign}.{max(0, _DIGITS - 1 - exponent)}f}"
