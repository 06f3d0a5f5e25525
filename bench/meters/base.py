"""A meter: one sensor of energy or power, and what it says of itself.

Meters are opened and read in the recorder's process (``bench.meters.recorder``) and nowhere else.
Third parties bring theirs with the entry point group ``deploymark.meters``, whose value is a
function ``() -> Found`` (``module:function``).
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from deploymark.bench.errors import DeploymarkError

ENTRY_POINT_GROUP = "deploymark.meters"

Kind = Literal["counter", "integrated power", "estimate"]
"""A counter adds energy up in the sensor itself, power is integrated here, an estimate is a model
of the vendor's that reads like a counter."""

KINDS: tuple[Kind, ...] = get_args(Kind)
"""The best first."""

Scope = Literal["GPU", "package", "board", "wall"]
"""What a sensor sees: one GPU, a processor's package, all of a board, or all that a socket feeds.
"""

Unit = Literal["j", "w"]


class MeterError(DeploymarkError):
    """A meter cannot be opened or read."""


class MeterDiedError(MeterError):
    """The process or the device behind a meter is gone."""


class GarbageError(MeterError):
    """A meter gave what is no reading."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a meter says of itself; JSON throughout.

    ``name`` tells it from the others of a machine and ``source`` names it for people. ``unit`` is
    that of its readings: joules of a counter, watts of power. Meters with the same ``sums_as`` are
    parts of a whole (the packages of a machine): their figures are added. Meters with the same
    ``sensor`` are two paths to the same: their figures must agree. ``device`` is the number of the
    GPU that it sees, empty where it sees no GPU alone. A counter begins again at 0 after
    ``wraps_at_j`` joules. ``every_line`` tells that each reading is a new one; else the sensor's
    updates are found by the change of its readings. ``told_period_s`` is what the sensor's maker or
    the user says of its update period, for where reading does not show it.
    """

    name: str
    source: str
    kind: Kind
    scope: Scope
    unit: Unit
    sums_as: str = ""
    sensor: str = ""
    device: str = ""
    wraps_at_j: float | None = None
    every_line: bool = False
    told_period_s: float | None = None


class Meter(abc.ABC):
    """One sensor, open. Its process has it alone, and one thread reads it."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    @abc.abstractmethod
    def read(self) -> float:
        """What the sensor says now, in the unit of its facts.

        Where every reading is a new one this waits for the next. Raises MeterError.
        """

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Let go of what it holds."""


@dataclasses.dataclass(frozen=True)
class Missing:
    """A kind of meter that is not here, why, and what would bring it."""

    what: str
    reason: str
    remedy: str = ""


@dataclasses.dataclass(frozen=True)
class Found:
    """The meters that a source has, open, and what it misses."""

    meters: Sequence[Meter] = ()
    missing: Sequence[Missing] = ()
