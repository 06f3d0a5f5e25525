"""Data sets as users give them: refused in one message, or measured and counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from deploymark.bench.cli.main import app
from tests.data_sets import write_image, yolo

if TYPE_CHECKING:
    from conftest import CommandLine

MODEL = ("--model", "builtin:digits", "--backends", "onnxruntime", "--imgsz", "160")

SMALL = """
models:
  - {path: builtin:digits, data: data.yaml}
imgsz: [160]
calibration: {images: 2}
backends: [onnxruntime]
precisions: PRECISIONS
measure:
  {launches: 2, target_interval: null, warmup_max_s: 0.2, latency_s: 0.05,
   min_iterations: 3, max_iterations: 10, e2e_iterations: 2}
validity: {enabled: false}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "config"))
    return work


def refused(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["run", *arguments])
    assert done.exit_code == 2, done.output
    assert not (folder / "results").exists()
    return " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("https://x.org/coco8.zip", "is an address, and nothing is downloaded"),
        ("set.zip", "is an archive Unpack it"),
        ("photo.jpg", "is a single image Give the folder"),
        ("film.mp4", "is a video"),
        ("list.txt", "a list of images names no classes"),
        ("gone.yaml", "A set by a name of Ultralytics is looked for in"),
        ("gone", "no such file or folder"),
        ("model.onnx", "is a model or a label file"),
    ],
)
def test_the_wrong_kind_of_data_is_named(folder: Path, data: str, words: str) -> None:
    for name in ("set.zip", "photo.jpg", "film.mp4", "list.txt", "model.onnx"):
        (folder / name).write_bytes(b"x")
    assert words in refused(folder, *MODEL, "--data", data)


def test_no_box_of_a_common_class_is_refused_before_anything(folder: Path) -> None:
    yolo(folder, ["1 .5 .5 .2 .2\n"], "val: images/val\nnames: ['0', widget]\n")
    told = refused(folder, *MODEL, "--data", "data.yaml")
    assert "none of its 1 boxes is of a class that the model has: 'widget' (1)" in told


def test_faults_are_told_at_once(folder: Path) -> None:
    yolo(folder, ["0 .5 .5 .2 .2\n99 .5 .5 .1 .1\n0,5\n"])
    told = refused(folder, *MODEL, "--data", "data.yaml")
    assert "2 faults of 2 kinds" in told
    assert "--skip-bad" in told


def run_of(done: subprocess.CompletedProcess[str], deploymark: CommandLine) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        "info": json.loads((deploymark.latest / "run.json").read_text()),
        "cells": {
            cell["precision"]: cell
            for cell in json.loads((deploymark.latest / "cells.json").read_text())
        },
    }


def digits_set(digits: Path, folder: Path) -> Path:
    """Sixteen images of the embedded detector's, in ``folder``."""
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for image in sorted((digits / "images" / "val").iterdir())[:16]:
        label = digits / "labels" / "val" / f"{image.stem}.txt"
        (folder / "images" / image.name).write_bytes(image.read_bytes())
        (folder / "labels" / label.name).write_bytes(label.read_bytes())
    names = (digits / "data.yaml").read_text().split("names:")[1]
    (folder / "data.yaml").write_text(f"train: gone\nval: images\nnames:{names}")
    return folder


@pytest.mark.heavy
@pytest.mark.real
def test_bad_rows_are_skipped_and_recorded(
    deploymark: CommandLine, shared_cache: Path, digits: Path
) -> None:
    """A train split that is not there leaves INT8 without, and FP32 as it is."""
    pytest.importorskip("ultralytics")
    pytest.importorskip("onnxruntime")
    digits_set(digits, deploymark.folder)
    label = next((deploymark.folder / "labels").iterdir())
    label.write_text(label.read_text() + "99 .5 .5 .1 .1\n")
    (deploymark.folder / "m.yaml").write_text(SMALL.replace("PRECISIONS", "[fp32, int8]"))
    refusal = deploymark("run", "m.yaml")
    assert refusal.returncode == 2
    assert "class 99 is out of range" in refusal.stderr
    done = deploymark("run", "m.yaml", "--skip-bad")
    run = run_of(done, deploymark)
    assert "left out: 1 × a class out of range" in done.stderr
    assert run["info"]["matrix"]["on_fault"] == "skip"
    census = run["info"]["datasets"][0]["census"]
    assert (census["images"], census["rows_skipped"]) == (16, 1)
    assert run["cells"]["fp32"]["map_images"] == 16
    assert run["cells"]["int8"]["status"] == "unavailable"
    assert "gone: no such folder" in run["cells"]["int8"]["reason"]
    summary = (deploymark.latest / "summary.md").read_text()
    assert "1 × a class out of range (leaves out a row)" in summary
    assert "Skipped for their faults: 1 row." in summary
    gate = deploymark(
        "gate", "--baseline", "results/latest", "--candidate", "results/latest", "--max-pairs", "2"
    )
    assert gate.returncode in {0, 3}, gate.stdout + gate.stderr


@pytest.mark.heavy
@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_names_that_are_no_text_survive_a_run_and_its_resumption(
    deploymark: CommandLine, shared_cache: Path, digits: Path
) -> None:
    pytest.importorskip("ultralytics")
    pytest.importorskip("onnxruntime")
    folder = digits_set(digits, deploymark.folder)
    yaml = folder / "data.yaml"
    yaml.write_text(yaml.read_text().replace("train: gone\n", ""))
    for number, image in enumerate(sorted((folder / "images").iterdir())):
        name = os.fsdecode(b"\xfe\xff%d" % number)
        image.rename(image.with_name(f"{name}{image.suffix}"))
        (folder / "labels" / f"{image.stem}.txt").rename(folder / "labels" / f"{name}.txt")
    write_image(folder / "images" / f"{os.fsdecode(bytes([254]))}.png").write_bytes(b"")
    (folder / "m.yaml").write_text(SMALL.replace("PRECISIONS", "[fp32, int8]"))
    with subprocess.Popen(
        deploymark.command("run", "m.yaml", "--skip-bad"),
        cwd=folder,
        env=deploymark.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        until = time.monotonic() + 300
        files = folder.glob("results/2*/launches.jsonl")
        while not any(file.stat().st_size for file in files) and time.monotonic() < until:
            time.sleep(0.1)
            files = folder.glob("results/2*/launches.jsonl")
        process.send_signal(signal.SIGINT)
    (stopped,) = folder.glob("results/2*")
    run = run_of(deploymark("run", "--resume", str(stopped)), deploymark)
    assert {cell["status"] for cell in run["cells"].values()} == {"ok"}
    assert (run["info"]["datasets"][0]["scored_images"], run["info"]["exit_status"]) == (14, 0)
    assert "\\udcfe" in (deploymark.latest / "run.json").read_text()
    assert "\\udcfe\\udcff" in (deploymark.latest / "fidelity.json").read_text()
    assert (deploymark.latest / "report.html").stat().st_size > 0
    again = deploymark("report", "results/latest")
    assert again.returncode == 0, again.stderr
