"""A short sample of the fuzzer: the same executions each time. ``tests/fuzz/fuzz.py`` goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.fuzz import mutant
from tests.fuzz.targets import TARGETS, execute, fresh

COUNT = 25

OF_RUNS = {name for name in TARGETS if ".json" in name}


@pytest.mark.parametrize("name", [name for name in TARGETS if not name.endswith(" page")])
def test_a_sample_raises_our_errors_alone(tmp_path: Path, name: str) -> None:
    target = TARGETS[name]
    path = fresh(target, tmp_path / "case")
    good = path.read_bytes()
    execute(target, path, good)
    for number in range(1, 8 if name in OF_RUNS else COUNT):
        execute(target, path, mutant(target, good, name, 0, number))


def test_the_same_number_is_the_same_mutant(tmp_path: Path) -> None:
    target = TARGETS["labels"]
    good = fresh(target, tmp_path / "case").read_bytes()
    mutants = [mutant(target, good, "labels", 0, number) for number in (1, 1, 2)]
    assert mutants[0] == mutants[1] != mutants[2]


def test_what_a_reader_raises_is_found(tmp_path: Path) -> None:
    target = TARGETS["labels"]
    path = fresh(target, tmp_path / "case")
    (path.parents[2] / "data.yaml").unlink()
    (path.parents[2] / "data.yaml").mkdir()
    broken = type(target)(target.make, target.change, (lambda _path: {}["no key"],))
    with pytest.raises(KeyError):
        execute(broken, path, b"")
