"""Files of strangers through the command line: one sentence, no traceback, and no waiting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 60

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: str, cwd: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """``deploymark`` with ``arguments``; ``before`` is run in a shell before it."""
    environment = os.environ | {
        "DEPLOYMARK_CACHE": str(cwd / "cache"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
    }
    line = [sys.executable, "-m", "deploymark", *arguments]
    if before:
        line = ["sh", "-c", f'{before}; exec "$@"', "sh", *line]
    return subprocess.run(
        line,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def assert_one_message(done: subprocess.CompletedProcess[str], words: str) -> None:
    """Exit 2, our sentence, nothing of our source."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("deploymark: error: ") == 1
    assert words in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "crash report" not in done.stderr


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "nodes, aliases written out"),
        ("[" * 5000 + "]" * 5000, "levels deep"),
        ("x: &x {<<: *x}\n", "refers to what it is part of"),
        ("a: 1\n" * 1_000_000, "characters"),
    ],
    ids=["laughs", "deep", "itself", "large"],
)
def test_yaml_has_limits(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "my.yaml").write_text(text)
    assert_one_message(command("list", "my.yaml", cwd=tmp_path), words)


def write_run(folder: Path, cells: str) -> None:
    """A run directory whose ``cells.json`` is ``cells``."""
    folder.mkdir(parents=True)
    info: dict[str, Any] = {
        "schema_version": 1,
        "matrix": {},
        "matrix_file": "my.yaml",
        "machine": {},
        "packages": {},
        "seed": 0,
        "started": "2026-01-01T00:00:00+00:00",
    }
    (folder / "run.json").write_text(json.dumps(info))
    (folder / "cells.json").write_text(cells)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ('[{"cell": "a", "status": "ok", "latency_p50_ms": NaN}]', "NaN is no figure"),
        ('[{"cell": "a", "status": "ok", "latency_p50_ms": "fast"}]', "[0].latency_p50_ms"),
        ('[{"cell": "a", "status": "ok", "launches": [1]}]', "[0].launches"),
        ('{"cell": "a"}', "expected a list"),
        ("[" * 100_000, "cannot be read"),
    ],
    ids=["nan", "text", "shape", "mapping", "deep"],
)
def test_cells_that_are_none_are_one_sentence(tmp_path: Path, cells: str, words: str) -> None:
    write_run(tmp_path / "one", cells)
    assert_one_message(command("report", "one", cwd=tmp_path), words)


def test_compare_refuses_nan(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / name, '[{"cell": "a", "status": "ok", "map50": NaN}]')
    assert_one_message(command("compare", "one", "two", cwd=tmp_path), "cells.json")


def test_a_working_folder_that_was_deleted(tmp_path: Path) -> None:
    done = command("report", cwd=tmp_path, before="mkdir gone; cd gone; rmdir ../gone")
    assert done.returncode == 2, done.stderr
    assert "deploymark: error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_on_a_full_disk(tmp_path: Path) -> None:
    write_run(tmp_path / "one", "[]")
    (tmp_path / "one/.report.html.partial").symlink_to("/dev/full")
    done = command("report", "one", cwd=tmp_path)
    assert_one_message(done, "the disk is full")
