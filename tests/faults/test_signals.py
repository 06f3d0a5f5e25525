"""Signals to a whole run, through the command line."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.faults.interrupted import Place, launches_of, wait_until

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

pytest.importorskip("ultralytics")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place in which a run was made: artifacts in the store, ``latest`` a run."""
    place = Place(tmp_path_factory.mktemp("signals"), launches=4)
    code, said = place.finish("run", "m.yaml")
    assert code == 0, said
    return place


def _measuring(place: Place, known: set[Path], count: int) -> bool:
    new = [run for run in place.runs() if run not in known]
    return bool(new) and len(launches_of(new[-1])) >= count


def _worker(place: Place) -> int | None:
    for process in place.processes():
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        if b"deploymark.bench.worker.main" in command:
            return process
    return None


@pytest.mark.parametrize(
    ("name", "times", "code"), [("SIGINT", 3, 130), ("SIGTERM", 1, 143), ("SIGHUP", 2, 129)]
)
def test_a_signal_stops_a_run_that_goes_on(warm: Place, name: str, times: int, code: int) -> None:
    known, latest = set(warm.runs()), warm.latest.resolve()
    process = warm.start("run", "m.yaml")
    assert wait_until(lambda: _measuring(warm, known, 2))
    for _ in range(times):
        process.send_signal(getattr(signal, name))
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    (run,) = set(warm.runs()) - known
    assert f"stopped by {name}; go on with: deploymark run --resume results/{run.name}" in said
    assert "Traceback" not in said
    assert warm.latest.resolve() == latest
    assert warm.processes_gone()
    assert not warm.leftovers()
    before = launches_of(run)
    ended, said = warm.finish("run", "--resume", str(run))
    assert ended == 0, said
    after = launches_of(run)
    assert after[: len(before)] == before
    assert [record["launch"] for record in after] == list(range(4))
    assert warm.latest.resolve() == run


def test_a_stop_during_the_build_says_what_is_kept(tmp_path: Path) -> None:
    place = Place(tmp_path)
    process = place.start("run", "m.yaml")
    assert wait_until(lambda: any((run / "logs").glob("*.log") for run in place.runs()))
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "nothing was measured yet, and its folder is removed" in said
    assert "--resume" not in said
    assert not place.runs()
    assert not place.latest.is_symlink()
    assert not place.leftovers()


def test_what_a_killed_run_leaves_is_swept_at_the_next_start(warm: Place) -> None:
    known = set(warm.runs())
    process = warm.start("run", "m.yaml")
    assert wait_until(lambda: _measuring(warm, known, 1) and bool(warm.leftovers()))
    process.kill()
    process.communicate(timeout=60)
    assert warm.processes_gone()
    assert warm.leftovers()
    somebody_elses = warm.temporary / "deploymark-child-notours"
    somebody_elses.mkdir()
    (run,) = set(warm.runs()) - known
    code, said = warm.finish("run", "--resume", str(run))
    assert code == 0, said
    assert warm.leftovers() == [somebody_elses]
    somebody_elses.rmdir()
    assert [record["launch"] for record in launches_of(run)] == list(range(4))


def test_a_worker_killed_by_hand_is_launched_again(warm: Place) -> None:
    known = set(warm.runs())
    process = warm.start("run", "m.yaml")
    assert wait_until(lambda: _measuring(warm, known, 1))
    found: list[int] = []
    assert wait_until(lambda: (worker := _worker(warm)) is not None and not found.append(worker))
    os.kill(found[0], signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    (run,) = set(warm.runs()) - known
    failed = [record for record in launches_of(run) if record["status"] != "ok"]
    assert [(record["status"], record["outside"]) for record in failed] == [("crashed", True)]
    again = [record for record in launches_of(run) if record["launch"] == failed[0]["launch"]]
    assert [record["attempt"] for record in again] == [0, 1]
    (cell,) = json.loads((run / "cells.json").read_text())
    assert (cell["status"], cell["launches"]) == ("ok", 4)
    assert any("made again after a failure" in note for note in cell["notes"])


def test_a_gate_that_was_stopped_says_that_it_is_unfinished(warm: Place) -> None:
    run = str(warm.latest.resolve())
    process = warm.start("gate", "--baseline", run, "--candidate", run, "--max-pairs", "200")
    results = warm.work / "results"
    assert wait_until(
        lambda: any(file.stat().st_size for file in results.glob("gate-*/pairs.jsonl"))
    )
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 143, said
    (gate,) = results.glob("gate-*")
    assert f"stopped by SIGTERM; nothing was decided; its pairs are in results/{gate.name}" in said
    assert "Traceback" not in said
    assert "unfinished" in (gate / "summary.md").read_text()
    assert not (results / "latest-gate").is_symlink()
    assert warm.processes_gone()
    assert not warm.leftovers()
