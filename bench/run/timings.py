"""Where the time of a run went, for people who wait for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

from deploymark.bench.progress import duration_text
from deploymark.bench.records.launches import Record

WORDS = {
    "plan_s": "plan",
    "build_s": "build",
    "measure_s": "launches",
    "memory_s": "memory",
    "energy_s": "energy",
    "scenarios_s": "scenarios",
    "fit_s": "smallest limits",
    "profile_s": "profiles",
    "score_s": "score",
    "compare_s": "compare",
    "answer_s": "answer",
    "report_s": "report",
    "import_s": "imports",
    "load_s": "loading",
    "warmup_s": "warm-up",
    "timed_s": "timing",
    "e2e_s": "end to end",
    "boxes_s": "boxes to score",
    "rest_s": "starting, ending and the rest",
}

OF_LAUNCHES = ("import_s", "load_s", "warmup_s", "timed_s", "e2e_s", "boxes_s", "rest_s")
"""Parts of ``measure_s``, over all launches of the run, those of before a ``--resume`` too."""


class Timings:
    """Seconds by part of a run; a part that comes again adds up."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the block's seconds to a part, however it is left."""
        started = time.monotonic()
        try:
            yield
        finally:
            took = time.monotonic() - started
            self.seconds[name] = round(self.seconds.get(name, 0.0) + took, 3)


def of_launches(launches: Mapping[str, Sequence[Record]]) -> dict[str, float]:
    """Seconds of the parts of all launches, failed ones as a whole."""
    parts = dict.fromkeys(OF_LAUNCHES, 0.0)
    for records in launches.values():
        for record in records:
            known = _of_one(record) if record["status"] == "ok" else {}
            for name, seconds in known.items():
                parts[name] += seconds
            parts["rest_s"] += max(0.0, record.get("duration_s", 0.0) - sum(known.values()))
    return {name: round(seconds, 3) for name, seconds in parts.items()}


def _of_one(record: Record) -> dict[str, float]:
    timed_ns = sum(record["latency_ns"]) + sum(record.get("set_aside_ns") or ())
    return {
        "import_s": record["import_ms"] / 1e3,
        "load_s": (record["load_ms"] + record["cold_ms"]) / 1e3,
        "warmup_s": record["warmup"]["seconds"],
        "timed_s": timed_ns / 1e9,
        "e2e_s": sum(record["e2e_ns"]) / 1e9,
        "boxes_s": record.get("boxes_s") or 0.0,
    }


def timing_lines(seconds: Mapping[str, float]) -> list[str]:
    """Where the time went, in words: the parts of the run, and those of its launches."""
    run = {name: value for name, value in seconds.items() if name not in OF_LAUNCHES}
    lines = [f"time: {duration_text(sum(run.values()))}: {_said(run)}"]
    launches = {name: seconds[name] for name in OF_LAUNCHES if name in seconds}
    if any(launches.values()):
        lines.append(f"  launches: {_said(launches)}")
    return lines


def _said(seconds: Mapping[str, float]) -> str:
    shown = {name: value for name, value in seconds.items() if value >= 0.1}  # noqa: PLR2004 - s
    return ", ".join(f"{WORDS.get(name, name)} {value:.1f} s" for name, value in shown.items())
