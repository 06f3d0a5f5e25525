"""Which meters of energy this machine has, how often they are updated, and what would bring one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from deploymark.bench.doctor.findings import Finding
from deploymark.bench.meters.base import Facts, MeterDiedError, Missing
from deploymark.bench.meters.recording import recorded
from deploymark.bench.meters.windows import least_window_s

_ANY_METER = (
    "Or any meter that a program can read, a smart plug or a USB meter: energy.meter of a matrix "
    "(docs/energy.md)"
)


def meter_findings(roots: Mapping[str, str] | None = None) -> list[Finding]:
    """One finding a meter; where there is none, what each kind misses."""
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        try:
            with recorded(None, Path(folder) / "meters.log", roots=roots) as recording:
                facts, missing = recording.facts, recording.missing
                periods_s = recording.periods_s()
        except MeterDiedError as error:
            return [Finding("problem", "energy", error.message)]
    return list(_findings(facts, periods_s, missing))


def _findings(
    facts: Sequence[Facts], periods_s: Sequence[float | None], missing: Sequence[Missing]
) -> Iterator[Finding]:
    for item, period_s in zip(facts, periods_s, strict=True):
        what = f"{item.source}: {item.kind}, sees the {item.scope}"
        if period_s is None:
            yield Finding("note", "energy", f"{what}; it did not move in some seconds")
            continue
        window = f"windows of {max(10.0, least_window_s(period_s)):.0f} s"
        yield Finding("ok", "energy", f"{what}, updated every {period_s * 1e3:.3g} ms: {window}")
    if not facts:
        # What has no remedy of its own is told here, the others with theirs below.
        others = dict.fromkeys(item.reason for item in missing if not item.remedy)
        why = f" ({'; '.join(others)})" if others else ""
        yield Finding("note", "energy", f"not measured: there is no meter{why}", _ANY_METER)
    for kind in missing:
        told = not facts or "may not be read" in kind.reason or "not installed" in kind.reason
        if kind.remedy and told:
            yield Finding("note", "energy", f"{kind.what}: {kind.reason}", kind.remedy)
