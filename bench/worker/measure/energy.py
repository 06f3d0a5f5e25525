"""The energy pass: a meter reads before and after a window of inferences, idle power subtracted.

A figure is measured or it is not there: where no sensor can be read the null meter says why.
Python 3.10 and the standard library alone: the worker's side.
"""

from __future__ import annotations

import abc
import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")


@dataclasses.dataclass(frozen=True)
class Energy:
    """Energy of one image. ``joules_per_image`` and ``idle_watts`` are None where not measured.

    ``source`` names the sensor; ``reason`` says why there is no figure.
    """

    joules_per_image: float | None
    idle_watts: float | None
    source: str | None
    reason: str


class Meter(abc.ABC):
    """A sensor of energy."""

    @abc.abstractmethod
    def measure(self, work: Callable[[], object], images_per_call: int) -> Energy:
        """Energy of ``work``, called as often as the sensor's update period needs."""


class NullMeter(Meter):
    """No sensor: no figure, and the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def measure(self, work: Callable[[], object], images_per_call: int) -> Energy:
        """Nothing measured; ``work`` is not called."""
        del work, images_per_call
        return Energy(joules_per_image=None, idle_watts=None, source=None, reason=self.reason)


def no_sensor_reason(powercap: Path = _POWERCAP) -> str:
    """Why no energy sensor is read here, for people."""
    if sys.platform != "linux":
        return f"no energy meter for {sys.platform} in this release"
    counters = sorted(powercap.glob("intel-rapl:*/energy_uj")) if powercap.is_dir() else []
    if not counters:
        return "no RAPL energy counter here: virtual machines and many boards have none"
    if not any(os.access(counter, os.R_OK) for counter in counters):
        return f"{counters[0]} is there but only root may read it"
    return "RAPL is there, but this release has no meter for it"


def find_meter() -> Meter:
    """The meter of this machine."""
    return NullMeter(no_sensor_reason())
