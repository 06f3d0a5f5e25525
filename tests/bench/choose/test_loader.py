"""The loader that ships gives the boxes that were measured, where nothing of ours is installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploymark.backends.base import Artifact, Detector, ExportRequest, LoadOptions
from deploymark.backends.families import FAMILIES
from deploymark.backends.inputs import ExtraInput, InputSpec, Size
from deploymark.backends.layout import OutputSpec
from deploymark.backends.registry import BUILTIN, resolve
from deploymark.bench.choose.loader import written
from deploymark.bench.data.images import letterboxed
from deploymark.bench.worker.detections import DEPLOYMENT_CONFIDENCE, decode
from deploymark.bench.worker.letterbox import to_input, unletterbox_boxes
from tests.backends.bare_loops import plain_environment
from tests.bench.choose import small_files

DIGITS = Path(str(importlib.util.find_spec("deploymark.bench.assets").origin)).parent / "digits"

RUNTIMES = ("onnxruntime", "openvino")

PROBE = """
import json, runpy, sys
known = runpy.run_path(sys.argv[1])
found = [known["detect"](path) for path in sys.argv[2:]]
modules = {name.partition(".")[0] for name in sys.modules} - {"__main__", *sys.stdlib_module_names}
print(json.dumps({"boxes": found, "modules": sorted(modules), "path": sys.path}))
"""

BareRun = Callable[..., str]


@pytest.fixture(scope="module", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def bare(runtime: str, tmp_path_factory: pytest.TempPathFactory) -> BareRun:
    """Python with one runtime, numpy and Pillow, which are linked into a fresh environment."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = next(folder.rglob("site-packages"))
    for name in (runtime, "numpy", "PIL"):
        package = Path(str(importlib.util.find_spec(name).origin)).parent
        libraries = package.with_name({"PIL": "pillow"}.get(name, name) + ".libs")
        for path in (package, libraries):
            if path.exists():
                (site / path.name).symlink_to(path, target_is_directory=True)

    def run(*arguments: str) -> str:
        return subprocess.run(
            [str(python), "-I", *arguments],
            check=True,
            timeout=120,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=plain_environment(os.environ) | {"ORT_DISABLE_TELEMETRY": "1"},
        ).stdout

    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two digits pictures side by side; a high one; one that its EXIF tag turns."""
    folder = tmp_path_factory.mktemp("photos")
    first, second, third = (
        Image.open(path) for path in sorted((DIGITS / "images" / "val").glob("*.jpg"))[:3]
    )
    wide = Image.new("RGB", (first.width + second.width, first.height))
    wide.paste(first)
    wide.paste(second, (first.width, 0))
    wide.save(folder / "wide.png")
    third.crop((40, 0, 240, 320)).save(folder / "high.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = wide.crop((100, 0, 500, 320)).transpose(Image.Transpose.ROTATE_90)
    lying.save(folder / "turned.jpg", exif=exif, quality=95)
    return sorted(folder.iterdir())


def as_measured(
    name: str, artifact: Artifact, detector: Detector, size: Size, photos: list[Path]
) -> list[list[tuple[str, Any]]]:
    """The boxes by the harness's own way: names, and score and corners in pixels of the photo."""
    spec, output = detector.spec.at(size), detector.output
    options = LoadOptions("cpu", "fp32", 1, (1, 3, *size), spec=spec, output=output)
    session = resolve(BUILTIN[name]).load(artifact, options)
    found = []
    for path in photos:
        pixels, place = letterboxed(path, spec)
        raw = session.infer(to_input(pixels[None], spec))
        (boxes,) = decode(raw, output, size, conf=DEPLOYMENT_CONFIDENCE)
        corners = unletterbox_boxes(boxes.boxes, place)
        found.append(
            [
                (detector.names[index], [float(score), *map(float, box)])
                for index, score, box in zip(boxes.classes, boxes.scores, corners, strict=True)
            ]
        )
    return found


def check(
    bare: BareRun, name: str, artifact: Artifact, detector: Detector, size: Size, photos: list[Path]
) -> None:
    """The written loader, alone, gives what the harness gives."""
    expected = as_measured(name, artifact, detector, size, photos)
    assert all(expected), "photos without a box show nothing"
    loader = artifact.folder / "load.py"
    loader.write_text(
        written(
            resolve(BUILTIN[name]),
            detector,
            size,
            file="load.py",
            entry=artifact.entry,
            device="cpu",
            precision="fp32",
            threads=1,
            batch=1,
        )
    )
    told = json.loads(bare("-c", PROBE, str(loader), *map(str, photos)))
    assert set(told["modules"]) <= {name, "numpy", "PIL"}
    for ours, theirs in zip(told["boxes"], expected, strict=True):
        assert [row[0] for row in ours] == [row[0] for row in theirs]
        np.testing.assert_allclose(
            [row[1:] for row in ours], [row[1] for row in theirs], rtol=1e-5, atol=1e-3
        )
    first = bare(str(loader), str(photos[0])).splitlines()
    label, score, *corners = first[0].split()
    assert (label, len(first)) == (expected[0][0][0], len(expected[0]))
    np.testing.assert_allclose([float(score), *map(float, corners)], expected[0][0][1], atol=0.051)
    none = bare(str(loader), str(photos[0]), "--conf", "1")
    assert none == ""


@pytest.mark.heavy
@pytest.mark.parametrize("size", ["320", "192x320"])
def test_the_embedded_detector(
    runtime: str, bare: BareRun, size: str, photos: list[Path], tmp_path: Path
) -> None:
    """A square, and a rectangle, of photos that are neither."""
    from deploymark.bench.variants.checkpoint import describe, model_factory

    shape = Size.of(size)
    factory = model_factory(DIGITS / "digits.pt", shape)
    request = ExportRequest(
        model=factory,
        detector=describe(factory(), shape),
        precision="fp32",
        device="cpu",
        imgsz=shape,
        batch=1,
        folder=tmp_path,
    )
    artifact = resolve(BUILTIN[runtime]).export(request)
    check(bare, runtime, artifact, request.detector, shape, photos)


@pytest.mark.parametrize("size", ["96x160", "160x96"])
def test_yolox_takes_bgr_at_the_top_left(
    runtime: str, bare: BareRun, size: str, photos: list[Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    shape, family = Size.of(size), FAMILIES["yolox"]
    path = small_files.yolox(tmp_path / "model.onnx", shape)
    detector = Detector(("a", "b", "c"), output=family.outputs[0], spec=family.input)
    check(bare, runtime, Artifact(tmp_path, path.name), detector, shape, photos)


def test_rtdetr_has_three_outputs_and_an_input_of_sizes(
    runtime: str, bare: BareRun, photos: list[Path], tmp_path: Path
) -> None:
    """Stretched as Pillow does it; outputs are found by name, in whatever order the file has."""
    pytest.importorskip("onnx")
    size = Size(96, 160)
    path = small_files.rtdetr(tmp_path / "model.onnx", size)
    detector = Detector(
        ("a", "b", "c"),
        output=OutputSpec("rtdetr", names=("labels", "boxes", "scores")),
        spec=InputSpec(
            resize="stretch",
            interpolation="bilinear-antialias",
            mean=(0.485, 0.456, 0.406),
            deviation=(0.229, 0.224, 0.225),
            extra=(ExtraInput("orig_target_sizes", "orig_target_sizes"),),
        ),
    )
    check(bare, runtime, Artifact(tmp_path, path.name), detector, size, photos)
