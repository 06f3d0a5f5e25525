"""What ends a command is one sentence: folders that are read-only, limits, pipes, locales."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import write_run

TIMEOUT_S = 60

ROOT = Path(__file__).resolve().parents[2]


def command(
    *arguments: str, cwd: Path, before: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """``deploymark`` with ``arguments``; ``before`` is run in a shell before it."""
    line = [sys.executable, "-m", "deploymark", *arguments]
    if before:
        line = ["sh", "-c", f'{before}; exec "$@"', "sh", *line]
    known = {
        "DEPLOYMARK_CACHE": str(cwd / "cache"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "HOME": str(cwd / "home"),
        "XDG_STATE_HOME": str(cwd / "state"),
    }
    return subprocess.run(
        line,
        cwd=cwd,
        env=os.environ | known | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def assert_one_message(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit 2, our sentence, nothing of our source."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("deploymark: error: ") == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "    def " not in done.stdout + done.stderr


def test_too_few_open_files(tmp_path: Path) -> None:
    run = str(write_run(tmp_path / "results"))
    done = command("report", run, cwd=tmp_path, before="ulimit -n 7")
    assert_one_message(done, "too many open files", "ulimit -n 1024")


def test_few_open_files_do(tmp_path: Path) -> None:
    run = str(write_run(tmp_path / "results"))
    done = command("report", run, cwd=tmp_path, before="ulimit -n 16")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_report_on_a_run_that_is_read_only(tmp_path: Path) -> None:
    run = write_run(tmp_path / "results")
    run.chmod(0o555)
    try:
        assert_one_message(command("report", str(run), cwd=tmp_path), "permission denied")
    finally:
        run.chmod(0o755)


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    run = write_run(tmp_path / "results")
    for name in ("answer", "choices"):
        (run / f".{name}.json.partial").mkdir()
    done = command("report", str(run), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_a_locale_that_encodes_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "results")
    runs = [str(path) for path in sorted((tmp_path / "results").iterdir())]
    done = command("compare", *runs, cwd=tmp_path, LC_ALL="C", PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


def test_nobody_reads_any_more(tmp_path: Path) -> None:
    write_run(tmp_path / "results")
    runs = [str(path) for path in sorted((tmp_path / "results").iterdir())]
    done = command("compare", *runs, cwd=tmp_path, before="exec 3>&1; exec >/dev/full")
    assert_one_message(done, "the disk is full")


def test_a_run_that_is_running_is_called_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "results")
    (run / "cells.json").unlink()
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_one_message(command("report", str(run), cwd=tmp_path), "is running")
    assert_one_message(command("report", str(run), cwd=tmp_path), "stopped before it ended")


def test_what_was_not_foreseen_leaves_a_crash_report(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import deploymark.bench.compare.compare as it\n"
        "def compare(*_, **__): raise LookupError('of the test')\n"
        "it.compare = compare\n"
    )
    write_run(tmp_path / "results")
    runs = [str(path) for path in sorted((tmp_path / "results").iterdir())]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = command("compare", *runs, cwd=tmp_path, PYTHONPATH=path, A_SECRET="hunter2")
    assert_one_message(done, "LookupError: of the test", "crash report")
    (file,) = [word.rstrip(":") for word in done.stderr.split() if "crash-" in word]
    text = Path(file).read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "compare" in text
    assert "hunter2" not in text
    Path(file).unlink()


def test_a_recorded_matrix_of_another_shape(tmp_path: Path) -> None:
    run = write_run(tmp_path / "results")
    info = json.loads((run / "run.json").read_text())
    info["matrix"]["measure"]["launches"] = "many"
    del info["crc"]
    (run / "run.json").write_text(json.dumps(info))
    done = command("gate", "--baseline", str(run), "--candidate", str(run), cwd=tmp_path)
    assert_one_message(done, "run.json: matrix.measure.launches")


def test_a_launch_of_another_shape(tmp_path: Path) -> None:
    run = write_run(tmp_path / "results")
    lines = (run / "launches.jsonl").read_text().replace("[13000000]", '"soon"', 1)
    (run / "launches.jsonl").write_text(lines)
    for arguments in (["choose"], ["run", "--resume"]):
        done = command(*arguments, str(run), cwd=tmp_path)
        assert_one_message(done, "launches.jsonl:1", "expected numbers (got 'soon')")
