from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from deploymark.backends import base, litert, packages
from deploymark.backends.layout import AS_SEEN, OutputSpec, ReadAs
from deploymark.backends.litert import (
    convert as litert_convert,
)
from deploymark.backends.litert import (
    file as litert_file,
)
from deploymark.backends.litert import (
    quantize as litert_quantize,
)

pytestmark = pytest.mark.heavy

FAMILY = ReadAs(family="yolov8")
"""Must be told where nothing is noted: so few places are no head's."""

BACKEND = litert.LiteRtBackend()
IMGSZ = 64
NOTES = {"names": {0: "cat", 1: "dog"}, "task": "detect", "stride": 32, "args": {"quantize": 8}}
F32, F16, I8, U8 = np.float32, np.float16, np.int8, np.uint8


def options(**changes: Any) -> base.LoadOptions:
    given = {"device": "cpu", "precision": "fp32", "threads": 1, "input_shape": (1, 3, 64, 64)}
    return base.LoadOptions(**(given | changes))


@pytest.mark.parametrize(
    ("name", "operands", "results", "expected"),
    [
        ("CONV_2D", [F32, F32, F32], [F32], "f32"),
        ("CONV_2D", [I8, I8, np.int32], [I8], "i8"),
        ("CONV_2D", [U8, U8], [U8], "u8"),
        ("DEPTHWISE_CONV_2D", [F32, I8, F32], [F32], "i8"),
        ("TRANSPOSE_CONV", [np.int32, I8, F32], [F32], "i8"),
        ("FULLY_CONNECTED", [np.int16, I8], [np.int16], "i16"),
        ("DEQUANTIZE", [F16], [F32], "f32"),
        ("QUANTIZE", [F32], [I8], "i8"),
        ("NO_OUTPUT", [], [], "none"),
    ],
)
def test_operators_compute_in_the_type_of_what_they_multiply(
    name: str, operands: list[Any], results: list[Any], expected: str
) -> None:
    assert litert_file.compute_type(name, operands, results) == expected


def test_boxes_of_an_image_tell_their_unit() -> None:
    boxes = np.zeros((1, 6, 4), np.float32)
    boxes[:, 0] = [0.25, 0.75, 0.25, 0.75]
    boxes[:, 4:] = 0.9
    assert litert_file.looks_normalised(boxes, "anchors")
    assert not litert_file.looks_normalised(boxes * 64, "anchors")
    rows = np.array([[[0.1, 0.2, 0.5, 0.9, 0.8, 70.0]]], np.float32)
    assert litert_file.looks_normalised(rows, "detections")
    assert not litert_file.looks_normalised(np.zeros_like(rows), "detections")


def test_int8_options_are_explicit() -> None:
    assert BACKEND.resolve_options("int8", {}) == {"calibration": "minmax"}
    given = {"calibration": "moving_average"}
    assert BACKEND.resolve_options("int8", given) == given
    with pytest.raises(base.UnsupportedError, match="calibration"):
        BACKEND.resolve_options("int8", {"calibration": "entropy"})
    with pytest.raises(base.UnsupportedError, match="calibration"):
        BACKEND.resolve_options("int8-dynamic", given)


@pytest.mark.usefixtures("all_installed")
def test_float16_is_said_to_be_computed_in_float32() -> None:
    probe = BACKEND.probe()
    assert probe.service("cpu", "fp16").served
    assert not probe.service("cpu", "fp16").native
    assert "float32" in probe.service("cpu", "fp16").reason
    assert not probe.service("cpu", "bf16").exists


def test_what_is_missing_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "installed_version", lambda *names: "1.0")
    monkeypatch.setattr(
        packages, "missing", lambda names: [name for name in names if name == "litert_torch"]
    )
    assert not BACKEND.probe().can_export
    assert "litert_torch" in BACKEND.probe().reason
    monkeypatch.setattr(packages, "installed_version", lambda *names: None)
    assert not BACKEND.probe().installed
    assert BACKEND.probe().remedy == "pip install 'deploymark[litert]'"


@pytest.mark.parametrize(("entry", "write"), [("metadata.json", json.dumps), ("notes.txt", repr)])
def test_notes_are_read_from_the_archive_behind_the_model(
    tmp_path: Path, entry: str, write: Callable[[Any], str]
) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"a model")
    assert litert_file.read_notes(path).names == ()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, write(NOTES))
    notes = litert_file.read_notes(path)
    assert (notes.names, notes.task, notes.precision) == (("cat", "dog"), "detect", "int8")


def decoded(torch: Any, unit: float) -> Any:
    """A detector of four places and two classes, whose boxes are ``unit`` times shares of 64."""

    class Decode(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.stem = torch.nn.Conv2d(3, 16, 32, stride=32)
            self.cv2 = torch.nn.Conv2d(16, 6, 1)
            centres = torch.tensor([[0.25, 0.75, 0.25, 0.75], [0.25, 0.25, 0.75, 0.75]])
            self.register_buffer("centres", centres[None])

        def forward(self, x: Any) -> Any:
            raw = self.cv2(self.stem(x).relu()).flatten(2)
            centre = self.centres + raw[:, :2] / 16
            return torch.cat((centre * unit, raw[:, 2:4].sigmoid() * unit, raw[:, 4:].sigmoid()), 1)

    torch.manual_seed(0)
    return Decode().eval()


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).random((1, 3, IMGSZ, IMGSZ), np.float32)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Files as other exporters write them, each converted once."""
    torch = pytest.importorskip("torch")
    litert_torch = pytest.importorskip("litert_torch")
    folder = tmp_path_factory.mktemp("elsewhere")

    def make(*, unit: float = 1.0, channels_last: bool = False, noted: bool = True) -> Path:
        path = folder / f"{unit}-{channels_last}-{noted}.tflite"
        if not path.exists():
            model, example = decoded(torch, unit), torch.zeros(1, 3, IMGSZ, IMGSZ)
            if channels_last:
                model = litert_torch.to_channel_last_io(model, args=[0])
                example = example.permute(0, 2, 3, 1)
            with litert_convert.held_back():
                litert_torch.convert(model, (example,)).export(str(path))
            if noted:
                with zipfile.ZipFile(path, "a") as archive:
                    archive.writestr("metadata.json", json.dumps(NOTES))
        return path

    return make


@pytest.fixture(scope="module")
def expected(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        predictions: npt.NDArray[np.float32] = decoded(torch, IMGSZ)(
            torch.from_numpy(images)
        ).numpy()
    return predictions


def in_pixels(found: npt.NDArray[np.float32], output: OutputSpec) -> npt.NDArray[np.float32]:
    """Predictions of the layout ``anchors`` with boxes in pixels, by their contract."""
    if output.boxes == "normalised":
        found = found.copy()
        found[:, :4] *= IMGSZ
    return found


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"channels_last": True},
        {"noted": False},
        {"unit": float(IMGSZ), "noted": False},
    ],
)
def test_files_made_elsewhere_tell_the_unit_of_their_boxes(
    elsewhere: Callable[..., Path],
    images: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    form: dict[str, Any],
) -> None:
    noted = form.get("noted", True)
    facts = BACKEND.describe(elsewhere(**form), AS_SEEN if noted else FAMILY)
    assert facts.input_shape == (1, 3, IMGSZ, IMGSZ)
    assert (facts.output.layout, facts.classes, facts.precision) == ("anchors", 2, "fp32")
    assert facts.names == (("cat", "dog") if noted else ())
    assert facts.output.boxes == ("pixels" if form.get("unit") else "normalised")
    found = BACKEND.load(facts.artifact, options(output=facts.output)).infer(images)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(in_pixels(found, facts.output), expected, atol=1e-4)


def test_quantized_inputs_and_outputs_are_of_real_numbers(
    elsewhere: Callable[..., Path],
    images: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    tmp_path: Path,
) -> None:
    quantizer = pytest.importorskip("ai_edge_quantizer.quantizer")
    recipe = pytest.importorskip("ai_edge_quantizer.recipe")
    path = tmp_path / "int8.tflite"
    with litert_convert.held_back():
        work = quantizer.Quantizer(str(elsewhere(channels_last=True, noted=False)))
        work.load_quantization_recipe(recipe.static_wi8_ai8())
        given = [{"args_0": images.transpose(0, 2, 3, 1)}]
        ranges = work.calibrate({"serving_default": given})
        work.quantize(ranges).export_model(str(path))
    facts = BACKEND.describe(path, FAMILY)
    assert facts.precision == "int8"
    session = BACKEND.load(facts.artifact, options(precision="int8", output=facts.output))
    assert facts.output.boxes == "normalised"
    raw = session.infer(images)
    assert isinstance(raw, np.ndarray)
    assert raw.dtype == np.float32
    found = in_pixels(raw, facts.output)
    # One scale serves boxes and scores; 1 of 255 steps is 0.25 pixels.
    np.testing.assert_allclose(found[:, :4], expected[:, :4], atol=2)
    np.testing.assert_allclose(found[:, 4:], expected[:, 4:], atol=0.04)
    assert session.executed_precision().layers["CONV_2D:i8"] == 2


def test_float16_weights_are_told_from_what_computes(
    elsewhere: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("ai_edge_quantizer")
    path = tmp_path / "half.tflite"
    with litert_convert.held_back():
        litert_quantize.quantize(elsewhere(noted=False), path, "fp16")
    facts = BACKEND.describe(path, FAMILY)
    assert facts.precision == "fp16"
    executed = BACKEND.load(facts.artifact, options(output=facts.output)).executed_precision()
    assert executed.layers["CONV_2D:f32"] == 2
    assert "XNNPACK runs 2 of 2" in executed.source


def test_scopes_that_stay_in_float_are_the_modules_named(
    images: npt.NDArray[np.float32],
) -> None:
    torch = pytest.importorskip("torch")

    class Head(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.cv2 = torch.nn.Conv2d(3, 3, 1)
            self.dfl = torch.nn.Conv2d(3, 3, 1)

        def forward(self, x: Any) -> Any:
            return self.dfl(self.cv2(x))

    model = torch.nn.Sequential(Head())
    example = torch.from_numpy(images)
    with torch.no_grad():
        scopes = litert_quantize.float_scopes(model, example, [r"/0/(?!cv2).*"])
        assert len(scopes) == 3
        assert scopes[0].endswith("Head_0;")
        assert scopes[1].endswith("Conv2d_dfl;")
        assert scopes[2] == "^deploymark_pixels_"
        with pytest.raises(base.ExportError, match="no module"):
            litert_quantize.float_scopes(model, example, ["/model.99/.*"])


def test_what_is_no_detector_is_a_load_error(
    elsewhere: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "segment.tflite"
    path.write_bytes(elsewhere(noted=False).read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("metadata.json", json.dumps(NOTES | {"task": "segment"}))
    with pytest.raises(base.LoadError, match="segment"):
        BACKEND.describe(path)
    with pytest.raises(base.LoadError, match="there is no file"):
        BACKEND.describe(tmp_path / "nothing.tflite")


def test_other_devices_are_unavailable(elsewhere: Callable[..., Path]) -> None:
    path = elsewhere()
    with pytest.raises(base.UnavailableError, match="gpu"):
        BACKEND.load(base.Artifact(path.parent, path.name), options(device="gpu"))
