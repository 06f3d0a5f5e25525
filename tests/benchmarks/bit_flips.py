"""Single flipped bits in a store and in a run directory: found, mended or harmless?

``python tests/benchmarks/bit_flips.py [--flips 200] [--seed 0] [--limit-s 2400]``. Each flip is
made in a fresh copy of a small run and its store: half of them in a file drawn from all files, half
in a byte drawn from all bytes. Then comes what a user would do: of the run directory ``report``,
``run --resume`` and ``report`` again, of the store the same matrix once more. What must be the same
each time (scores, agreement, the artifact's bytes; all figures, of launches that were not made
again) is held against what an untouched copy gives.

* ``found``: a command ends with exit code 2 and one sentence.
* ``mended``: something was made again, and the figures are as they were.
* ``harmless``: nothing is different.
* ``WRONG``: another figure, a traceback, another exit code.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.interrupted import MATRIX, Place, launches_of

STEADY = ("status", "artifact_sha256", "map50_95", "map50", "agreement", "params", "macs")
"""Columns that another run of the same artifact gives again."""

SMALL = MATRIX.replace("latency_s: 0.1", "latency_s: 0.02").replace(
    "e2e_iterations: 1", "e2e_iterations: 0, memory_launches: 0"
)

LAUNCHES = 2

MENDING = ("made again", "made anew", "set aside", "built", "damaged")


@dataclasses.dataclass(frozen=True)
class Ended:
    """A command: its exit code and all that it said."""

    code: int
    said: str


def command(place: Place, *arguments: str) -> Ended:
    """``deploymark`` in a fork of this process, which has imported all of it already."""
    log = place.root / "said.txt"
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            _as_command(place, log, arguments)
        os._exit(70)
    _, status = os.waitpid(pid, 0)
    return Ended(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"))


def _as_command(place: Place, log: Path, arguments: tuple[str, ...]) -> None:
    from deploymark.bench.cli.main import main

    with log.open("wb") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    os.chdir(place.work)
    os.environ["DEPLOYMARK_CACHE"] = str(place.store)
    os.environ["TMPDIR"] = tempfile.tempdir = str(place.temporary)
    sys.argv = ["deploymark", *arguments]
    code = 70
    try:
        main()
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else int(left.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def rows_of(run: Path) -> dict[str, dict[str, Any]]:
    """The rows of ``cells.json`` by cell, without their checksums."""
    rows = json.loads((run / "cells.json").read_text())
    return {row["cell"]: {key: value for key, value in row.items() if key != "crc"} for row in rows}


def steady(run: Path) -> dict[str, list[Any]]:
    """What another run gives again."""
    return {cell: [row.get(name) for name in STEADY] for cell, row in rows_of(run).items()}


def flip(folder: Path, chance: random.Random, *, by_file: bool) -> str:
    """Flip one bit of a file below the folder; which."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    files = [path for path in found if path.stat().st_size and path.suffix != ".lock"]
    sizes = [path.stat().st_size for path in files]
    path = chance.choice(files) if by_file else chance.choices(files, sizes)[0]
    data = bytearray(path.read_bytes())
    place, bit = chance.randrange(len(data)), chance.randrange(8)
    data[place] ^= 1 << bit
    path.write_bytes(bytes(data))
    return f"{path.relative_to(folder)} byte {place} bit {bit}"


class Series:
    """A template, and what an untouched copy of it gives."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.template = Place(root / "template", LAUNCHES, SMALL)
        for _ in range(2):  # the second run has nothing to build, and is what runs are held against
            done = command(self.template, "run", "m.yaml")
            if done.code:
                raise SystemExit(f"the template failed: {done.said}")
        shutil.rmtree(self.template.runs()[0])
        self.run_name = self.template.runs()[-1].name
        place = self.fresh()
        run = self.run_of(place)
        command(place, "report", str(run))
        self.page = self.report_of(run)
        command(place, "run", "--resume", str(run))
        self.rows, self.steady = rows_of(run), steady(run)
        self.launches = launches_of(run)

    def fresh(self) -> Place:
        """A copy of the template, at the same path each time."""
        root = self.root / "trial"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.template.root, root, symlinks=True)
        return Place(root, LAUNCHES, SMALL)

    def run_of(self, place: Place) -> Path:
        """The run directory of a copy."""
        return place.work / "results" / self.run_name

    def report_of(self, run: Path) -> str:
        """The report, but for where and when it was made."""
        return (run / "summary.md").read_text()

    def of_run(self, chance: random.Random, *, by_file: bool) -> tuple[str, str, str]:
        """Flip in the run directory; what, the verdict, and why."""
        place = self.fresh()
        run = self.run_of(place)
        what = flip(run, chance, by_file=by_file)
        first = command(place, "report", str(run))
        told = _bad(first)
        if not told and first.code == 0 and self.report_of(run) != self.page:
            told = f"report: other figures: {_changed_lines(self.page, self.report_of(run))}"
        if told:
            return what, "WRONG", told
        resumed = command(place, "run", "--resume", str(run))
        if resumed.code == 2 and not _bad(resumed):
            return what, "found", resumed.said.strip().splitlines()[0]
        told = _bad(resumed) or self._gone_on(place, run, resumed)
        if told:
            return what, "WRONG", told
        again = launches_of(run) != self.launches
        verdict = "mended" if again or first.code else "harmless"
        return what, verdict, first.said.strip().splitlines()[0] if first.code else ""

    def _gone_on(self, place: Place, run: Path, resumed: Ended) -> str:
        """What is wrong after a run was gone on with; empty where nothing is."""
        last = command(place, "report", str(run))
        if last.code:
            return f"report after resuming: {last.code}: {last.said[-500:]}"
        again = launches_of(run) != self.launches
        same = steady(run) == self.steady if again else rows_of(run) == self.rows
        if not same:
            return f"other figures: {_difference(self.rows, rows_of(run))}"
        if again and not any(word in resumed.said for word in MENDING):
            return f"launches made again without a word: {resumed.said[-500:]}"
        return ""

    def of_store(self, chance: random.Random, *, by_file: bool) -> tuple[str, str, str]:
        """Flip in the store; what, the verdict, and why."""
        place = self.fresh()
        what = flip(place.store, chance, by_file=by_file)
        done = command(place, "run", "m.yaml")
        if told := _bad(done):
            return what, "WRONG", told
        if done.code == 2:
            return what, "found", done.said.strip().splitlines()[0]
        run = place.runs()[-1]
        if done.code or steady(run) != self.steady:
            return what, "WRONG", f"other figures: {steady(run)} not {self.steady}"
        mended = "0 artifacts built" not in done.said or any(w in done.said for w in MENDING[:3])
        return what, "mended" if mended else "harmless", ""


def _bad(done: Ended) -> str:
    """What no command may do, whatever it finds."""
    if "Traceback" in done.said or "not foreseen" in done.said:
        return done.said[-800:]
    if done.code not in {0, 2}:
        return f"exit code {done.code}: {done.said[-800:]}"
    if done.code == 2 and done.said.count("deploymark: error: ") != 1:
        return f"not one message: {done.said[-800:]}"
    return ""


def _changed_lines(before: str, after: str) -> list[str]:
    return [line for line in after.splitlines() if line not in before.splitlines()][:5]


def _difference(ours: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]) -> list[str]:
    keys = {(cell, key) for rows in (ours, theirs) for cell, row in rows.items() for key in row}
    found = sorted(keys, key=str)
    return [
        f"{cell} {key}: {ours.get(cell, {}).get(key)} -> {theirs.get(cell, {}).get(key)}"
        for cell, key in found
        if ours.get(cell, {}).get(key) != theirs.get(cell, {}).get(key)
    ][:5]


def main() -> int:
    """Run the series; 1 where a flip had a wrong end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of one flip")
    parser.add_argument("--limit-s", type=float, default=2400.0)
    given = parser.parse_args()
    began, counts = time.monotonic(), collections.Counter[str]()
    with tempfile.TemporaryDirectory(prefix="bit-flips-") as folder:
        series = Series(Path(folder))
        numbers = range(given.flips) if given.only is None else [given.only]
        for number in numbers:
            if time.monotonic() - began > given.limit_s:
                print("no time for more")
                break
            chance = random.Random(f"{given.seed} {number}")  # noqa: S311 - no secret
            trial = series.of_store if number % 2 else series.of_run
            what, verdict, why = trial(chance, by_file=number % 4 < 2)
            counts[verdict] += 1
            print(f"{number} {verdict}: {what} {why}".rstrip(), flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    return int(counts["WRONG"] > 0)


if __name__ == "__main__":
    sys.exit(main())
