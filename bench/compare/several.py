"""Runs for one page: read, told apart by a title, each with its own answer. Nothing is judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from deploymark.bench.compare.compare import labelled
from deploymark.bench.compare.run_differences import differences, machine_of
from deploymark.bench.errors import BadInputError, together
from deploymark.bench.records.comparison import ComparedRun, Difference
from deploymark.bench.records.run import Run, load_run


@dataclasses.dataclass(frozen=True)
class SeveralRuns:
    """The runs in the order given, their titles and details, and what is not the same in all.

    ``of_machines`` tells that no two of them are of the same machine.
    """

    runs: list[Run]
    labels: list[ComparedRun]
    differences: list[Difference]
    of_machines: bool


def read_several(folders: Sequence[Path]) -> SeveralRuns:
    """Read run directories. Raises BadInputError with all that is wrong with them.

    That is a folder that is no run, and the same run twice, by whatever path.
    """
    runs: list[Run] = []
    faults: list[BadInputError] = []
    named: dict[Path, Path] = {}
    for folder in folders:
        other = named.setdefault(folder.resolve(), folder)
        if other is not folder:
            faults.append(BadInputError(f"{folder} and {other} are the same run"))
            continue
        try:
            runs.append(load_run(folder))
        except BadInputError as error:
            faults.append(error)
    if faults:
        raise together(faults)
    machines = len({machine_of(run) for run in runs})
    labels = labelled(runs, several_machines=machines > 1)
    return SeveralRuns(runs, labels, differences(runs), machines == len(runs))
