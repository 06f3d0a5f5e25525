"""What can be wrong with a meter's readings: each fault once, with its sentence.

A figure that a fault spoils is null, and the sentence is its reason.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

FaultKind = Literal[
    "stuck",
    "wrapped twice",
    "backwards",
    "zero",
    "disagreement",
    "idle drift",
    "no signal",
    "died",
    "garbage",
    "lag",
    "too short",
    "foreign load",
]


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    ``net_only`` where it spoils what is left above idle power, and not the whole energy.
    """

    kind: FaultKind
    text: str
    net_only: bool = False


def _s(seconds: float) -> str:
    """Seconds or milliseconds for people."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def stuck(source: str, seconds: float) -> Fault:
    """A reading that does not move."""
    return Fault("stuck", f"{source} did not move in {_s(seconds)}: the sensor is stuck")


def wrapped_twice(source: str, gap_s: float, range_j: float, watts: float) -> Fault:
    """A gap between two readings in which a counter may have gone round unseen."""
    return Fault(
        "wrapped twice",
        f"{source} was not read for {_s(gap_s)}: at {watts:.3g} W its range of {range_j:.3g} J may "
        "have been passed more than once meanwhile",
    )


def backwards(source: str, joules: float) -> Fault:
    """A counter that counted down."""
    return Fault("backwards", f"{source} went backwards by {joules:.3g} J, which no counter does")


def zero(source: str, what: str) -> Fault:
    """Nothing where something must be."""
    return Fault("zero", f"{source} read zero {what}: something that runs takes energy")


def disagreement(source: str, other: str, gap: float, limit: float, *, net: bool) -> Fault:
    """Two paths to the same sensor that tell different energies."""
    what = "above idle" if net else "under load"
    return Fault(
        "disagreement",
        f"{source} and {other} disagree by {gap:.0%} {what} (limit {limit:.0%}): one of them is "
        "wrong, and nothing tells which",
        net_only=net,
    )


def idle_drift(source: str, before_w: float, after_w: float, signal_w: float) -> Fault:
    """Idle power that moved so far that nothing can be subtracted."""
    return Fault(
        "idle drift",
        f"{source}: idle power was {before_w:.3g} W before and {after_w:.3g} W after, and the "
        f"inferences add {signal_w:.3g} W: the drift is too large against that",
        net_only=True,
    )


def no_signal(source: str, idle_w: float, load_w: float) -> Fault:
    """Inferences that do not show."""
    return Fault(
        "no signal",
        f"{source} read {load_w:.4g} W under load and {idle_w:.4g} W idle: the inferences do not "
        "show in it",
        net_only=True,
    )


def died(source: str, words: str) -> Fault:
    """A meter that stopped half-way."""
    return Fault("died", f"{source} stopped half-way: {words}")


def garbage(source: str, words: str) -> Fault:
    """Something that is no reading."""
    return Fault("garbage", f"{source} gave something that is no reading: {words}")


def silent(source: str, gap_s: float, period_s: float) -> Fault:
    """Readings that do not come when they should."""
    return Fault(
        "lag",
        f"{source} was silent for {_s(gap_s)}, though it updates every {_s(period_s)}: readings "
        "were lost or held back (a program that prints to a pipe must flush each line)",
    )


def late(source: str, behind_s: float, allowed_s: float) -> Fault:
    """Readings that tell of the past."""
    return Fault(
        "lag",
        f"{source} follows the load {_s(behind_s)} late (limit {_s(allowed_s)}): its readings tell "
        "of another time than they come at",
    )


def too_short(source: str, window_s: float, period_s: float, periods: int) -> Fault:
    """A window of fewer update periods than a figure needs."""
    return Fault(
        "too short",
        f"{source} updates every {_s(period_s)}: a window of {_s(window_s)} is shorter than the "
        f"{periods} updates that a figure needs ({_s(periods * period_s)})",
    )


def foreign_load(source: str, words: str) -> Fault:
    """Something else on the same sensor."""
    return Fault("foreign load", f"{source} saw more than the inferences: {words}")
