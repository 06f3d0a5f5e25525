"""Bad input: exit code 2, one clear message, no run directory."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from deploymark.bench.cli.main import app

MODEL = "models:\n  - {path: builtin:digits, data: builtin:digits}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def refused(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["run", *arguments])
    assert done.exit_code == 2, done.output
    assert not (folder / "results").exists()
    return done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "m.yaml:1:1: the matrix is empty"),
        (MODEL + "backends: [onnxruntme]\n", "m.yaml:3:12: backends[0]: unknown backend"),
        (MODEL + "backends: [torch]\nprecison: [fp32]\n", "m.yaml:4:1: precison: unknown key"),
        (
            MODEL + "backends: [torch]\ninclude: [{backend: torch, precision: fp32}]\n",
            "m.yaml:4:11: include[0]: duplicate cell",
        ),
        (
            "models:\n  - {path: my.pt, data: my.yaml}\nbackends: [torch]\n",
            "m.yaml:2:6: models[0].path: no such file",
        ),
    ],
)
def test_a_bad_matrix(folder: Path, text: str, words: str) -> None:
    (folder / "m.yaml").write_text(text)
    assert words in refused(folder, "m.yaml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.yaml"], "no such matrix file"),
        (["--model", "my.pt"], "--model and --data belong together"),
        (["--model", "my.pt", "--data", "my.yaml"], "no such file"),
        (["--imgsz", "big"], "--imgsz big"),
        (["--backends", "tensorflow"], "unknown backend"),
        (["-k", "nothing_like_it"], "selects none of the"),
        (["--resume", "nowhere"], "is not a run directory"),
        (["--resume", "nowhere", "-k", "torch"], "takes no other choice"),
        (["--resume", "nowhere", "--strict"], "the strictness of its run"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_a_bad_command(folder: Path, arguments: list[str], words: str) -> None:
    assert words in refused(folder, *arguments)


@pytest.fixture
def data(folder: Path, digits: Path) -> Path:
    """A copy of a few of the embedded images that a test may spoil."""
    copy = folder / "data"
    for split in ("val", "calib"):
        for kind in ("images", "labels"):
            (copy / kind / split).mkdir(parents=True)
        for image in sorted((digits / "images" / split).iterdir())[:6]:
            shutil.copy(image, copy / "images" / split)
            label = digits / "labels" / split / f"{image.stem}.txt"
            shutil.copy(label, copy / "labels" / split)
    names = ", ".join(f"'{digit}'" for digit in range(10))
    (copy / "data.yaml").write_text(f"train: images/calib\nval: images/val\nnames: [{names}]\n")
    matrix = "models:\n  - {path: builtin:digits, data: data/data.yaml}\n"
    (folder / "m.yaml").write_text(matrix + "backends: [onnxruntime]\n")
    return copy


def test_missing_labels(folder: Path, data: Path) -> None:
    shutil.rmtree(data / "labels")
    assert "label" in refused(folder, "m.yaml")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "photos: no image in this folder or below it"),
        ({"notes.txt": b"no image"}, "photos: no image in this folder or below it"),
        ({"a.jpg": b"no image"}, "a.jpg: cannot be decoded as an image"),
        ({"data.yaml": b""}, "photos: holds a data.yaml"),
    ],
)
def test_a_folder_that_is_no_data_set(folder: Path, files: dict[str, bytes], words: str) -> None:
    (folder / "photos").mkdir()
    for name, content in files.items():
        (folder / "photos" / name).write_bytes(content)
    arguments = ["--model", "builtin:digits", "--data", "photos", "--backends", "onnxruntime"]
    text = refused(folder, *arguments)
    assert words in text
    assert "Traceback" not in text


@pytest.mark.heavy
def test_a_corrupt_image(folder: Path, data: Path) -> None:
    pytest.importorskip("ultralytics")
    image = sorted((data / "images" / "val").iterdir())[3]
    image.write_bytes(image.read_bytes()[:2000])
    assert image.name in refused(folder, "m.yaml")


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["text", "pickle", "weights", "classifier"])
def test_a_checkpoint_that_is_no_detector(folder: Path, data: Path, kind: str) -> None:
    torch = pytest.importorskip("torch")
    path = folder / "model.pt"
    if kind == "text":
        path.write_text("these are no weights")
    elif kind == "pickle":
        torch.save({"epoch": 3}, path)
    elif kind == "weights":
        torch.save({"model": {"a": torch.zeros(1)}}, path)
    else:
        tasks = pytest.importorskip("ultralytics.nn.tasks")
        torch.save({"model": tasks.ClassificationModel("yolo11n-cls.yaml", nc=3)}, path)
    text = refused(folder, "--model", "model.pt", "--data", "data/data.yaml")
    assert "model.pt" in text
    if kind == "classifier":
        assert "classify" in text


@pytest.mark.heavy
def test_a_size_that_the_model_cannot_take(folder: Path) -> None:
    pytest.importorskip("ultralytics")
    assert "imgsz 100 is no multiple of 32" in refused(folder, "default", "--imgsz", "100")


def test_an_image_of_another_shape_is_fine_to_read(data: Path) -> None:
    """The fixture's images are what they are said to be: the tests above spoil good ones."""
    image = next((data / "images" / "val").iterdir())
    assert np.asarray(Image.open(image)).shape == (320, 320, 3)
