"""A fleet's run: its devices, its directory, and the command that goes on with it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from deploymark.bench.fleet.preflight import Member
from deploymark.bench.records.run import RunInfo
from deploymark.bench.run.run_folder import (
    discard,
    has_launches,
)


@dataclasses.dataclass
class FleetRun:
    """A run that is ready to start or to go on; ``gone`` are devices that left, and when."""

    members: Sequence[Member]
    info: RunInfo
    folder: Path
    resumed: bool
    gone: dict[str, str] = dataclasses.field(default_factory=dict)

    def how_to_go_on(self) -> str:
        """What is left of a run that was stopped, and the command that goes on; half a sentence."""
        if self.resumed or has_launches(self.folder):
            return f"go on with: {resume_command(self.folder, self.info)}"
        discard(self.folder)
        return "nothing was measured yet, and its folder is removed"

    def close(self) -> None:
        """Leave no run directory behind in which nothing was measured."""
        if not self.resumed:
            discard(self.folder)


def resume_command(folder: Path, info: RunInfo) -> str:
    """The command that goes on with a fleet's run."""
    reached = shlex.join(map(str, info.bundle["fleet"]))
    return f"deploymark fleet --resume {shlex.quote(str(folder))} {reached}"
