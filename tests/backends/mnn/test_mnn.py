"""MNN: what its converter is kept from, weights in fewer bits, files made elsewhere."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import base, mnn
from deploymark.backends.inputs import Size
from deploymark.backends.layout import OutputSpec
from deploymark.backends.mnn import convert as mnn_convert
from tests.backends import one_to_one


def options(**changes: Any) -> base.LoadOptions:
    plain = base.LoadOptions(device="cpu", precision="fp32", threads=1, input_shape=(1, 3, 64, 64))
    return dataclasses.replace(plain, **changes)


def test_options_of_8_bit_weights_are_explicit() -> None:
    backend = mnn.MnnBackend()
    assert backend.resolve_options("int8-weights", {}) == {"asymmetric": True}
    given = {"asymmetric": False}
    assert backend.resolve_options("int8-weights", given) == given
    assert backend.resolve_options("fp16", {}) == {}
    for wrong in ({"asymmetric": 1}, {"block": 32}):
        with pytest.raises(base.UnsupportedError, match=next(iter(wrong))):
            backend.resolve_options("int8-weights", wrong)


@pytest.mark.parametrize("precision", ["bf16", "int8", "int8-dynamic"])
def test_what_is_not_offered_has_a_reason(precision: str, tmp_path: Path) -> None:
    assert precision in mnn.NOT_OFFERED
    request = dataclasses.replace(_request(tmp_path), precision=precision)
    with pytest.raises(base.UnsupportedError, match="MNN"):
        mnn.MnnBackend().export(request)


def _request(folder: Path) -> Any:
    from deploymark.backends.base import ExportRequest

    return ExportRequest(
        model=one_to_one.network,
        detector=base.Detector(names=("a", "b", "c"), output=OutputSpec("detections")),
        precision="fp32",
        device="cpu",
        imgsz=Size.of(64),
        batch=1,
        folder=folder,
    )


def test_the_random_identifier_is_made_from_the_contents() -> None:
    files = [b"head" + str(uuid.uuid4()).encode() + b"graph" for _ in range(2)]
    first, second = (mnn_convert.with_fixed_uuid(file) for file in files)
    assert first == second
    assert len(first) == len(files[0])
    other = mnn_convert.with_fixed_uuid(files[0].replace(b"graph", b"GRAPH"))
    assert other[4:40] != first[4:40]
    assert mnn_convert.with_fixed_uuid(b"none") == b"none"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1.0, -2.5, 0.0078125], "bf16"),
        ([1.0009765625, 3.5], "f16"),
        ([1.0009765625, 1e5], "f32"),
        ([0.1, 3.5], "f32"),
    ],
)
def test_values_tell_the_type_that_holds_them(values: list[float], found: str) -> None:
    assert mnn.value_type(np.array(values, np.float32)) == found


@pytest.mark.heavy
def test_weights_are_rounded_to_the_nearest() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.BatchNorm2d(1)
    layer.weight.data[0] = 2049 / 2048
    layer.running_mean[0] = 0.1
    mnn_convert.round_weights(layer)
    assert layer.weight.item() == 1
    assert layer.running_mean.item() == float(np.float16(0.1))
    assert layer.num_batches_tracked.dtype == torch.int64


@pytest.mark.heavy
def test_a_file_that_cannot_be_converted_is_an_export_error(tmp_path: Path) -> None:
    pytest.importorskip("MNN")
    source = tmp_path / "model.onnx"
    source.write_bytes(b"no ONNX file")
    with pytest.raises(base.ExportError, match="MNN's converter ended with"):
        mnn_convert.convert(source, tmp_path / "model.mnn", ())
    assert not (tmp_path / "model.mnn").exists()


@pytest.fixture(scope="module")
def exported(
    detector: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., base.Artifact]:
    """The small detector in one precision, converted once."""
    for package in ("torch", "onnx", "MNN"):
        pytest.importorskip(package)
    done: dict[tuple[str, bool], base.Artifact] = {}

    def export(precision: str, *, asymmetric: bool = True) -> base.Artifact:
        key = (precision, asymmetric)
        if key not in done:
            given = {} if asymmetric else {"asymmetric": False}
            folder = tmp_path_factory.mktemp(precision)
            request = detector.request(folder, precision, options=given)
            done[key] = mnn.MnnBackend().export(request)
        return done[key]

    return export


def error_of(artifact: base.Artifact, detector: Any, **changes: Any) -> float:
    """Mean error of boxes, pixels."""
    session = mnn.MnnBackend().load(artifact, options(**changes))
    return float(np.abs(session.infer(detector.images[:1]) - detector.expected[:1])[:, :4].mean())


@pytest.mark.heavy
def test_a_zero_point_keeps_boxes_in_place(
    exported: Callable[..., base.Artifact], detector: Any
) -> None:
    with_it = exported("int8-weights")
    without = exported("int8-weights", asymmetric=False)
    assert with_it.path.read_bytes() != without.path.read_bytes()
    assert error_of(with_it, detector) < error_of(without, detector)


@pytest.mark.heavy
def test_fp16_weights_are_not_cut_off(
    exported: Callable[..., base.Artifact],
    detector: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounded = error_of(exported("fp16"), detector)
    monkeypatch.setattr(mnn_convert, "round_weights", lambda model: None)
    cut = mnn.MnnBackend().export(detector.request(tmp_path, "fp16"))
    assert rounded < 0.3 * error_of(cut, detector)


@pytest.mark.heavy
def test_an_own_export_describes_itself(exported: Callable[..., base.Artifact]) -> None:
    artifact = exported("fp32")
    facts = mnn.MnnBackend().describe(artifact.path)
    assert facts.input_shape == (1, 3, 64, 64)
    assert (facts.output.layout, facts.classes, facts.names) == ("anchors", 3, ())
    assert (facts.artifact, facts.files) == (artifact, ("model.mnn",))


@pytest.mark.heavy
def test_convolutions_are_counted_by_the_values_they_put_out(
    exported: Callable[..., base.Artifact],
) -> None:
    session = mnn.MnnBackend().load(exported("fp32"), options())
    executed = session.executed_precision()
    assert executed.layers["Convolution:f32"] == 81
    assert executed.layers["ConvolutionDepthwise:f32"] == 7
    assert "values" in executed.source


@pytest.mark.heavy
def test_predictions_outlive_their_session(
    exported: Callable[..., base.Artifact], detector: Any
) -> None:
    found = [
        mnn.MnnBackend().load(exported("fp32"), options()).infer(image[None])
        for image in detector.images
    ]
    for index, predictions in enumerate(found):
        np.testing.assert_allclose(predictions[0], detector.expected[index], atol=0.01)


@pytest.mark.heavy
def test_detections_are_given_too(tmp_path: Path, detector: Any) -> None:
    for package in ("onnx", "MNN"):
        pytest.importorskip(package)
    torch = pytest.importorskip("torch")
    backend = mnn.MnnBackend()
    artifact = backend.export(_request(tmp_path))
    facts = backend.describe(tmp_path)
    assert facts.artifact == artifact
    assert facts.output.layout == "detections"
    found = backend.load(artifact, options()).infer(detector.images[:1])
    with torch.no_grad():
        expected = one_to_one.network()(torch.from_numpy(detector.images[:1])).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.heavy
def test_a_converter_leaves_no_files(
    exported: Callable[..., base.Artifact], tmp_path: Path
) -> None:
    artifact = exported("fp32")
    assert [path.name for path in artifact.folder.iterdir()] == ["model.mnn"]
    with pytest.raises(base.UnavailableError, match="vulkan"):
        mnn.MnnBackend().load(artifact, options(device="vulkan"))
    assert "MNN.tools.mnnconvert" not in sys.modules


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # Ultralytics' exporter's, not ours
@pytest.mark.parametrize(
    ("arguments", "shape", "precision", "largest"),
    [
        ({"dynamic": True}, (1, 3, None, None), "fp32", 0.01),
        ({"quantize": 8}, (1, 3, 64, 64), "int8-weights", 16),
    ],
)
def test_a_real_export_of_ultralytics_is_described_and_opened(
    arguments: dict[str, Any],
    shape: tuple[int | None, ...],
    precision: str,
    largest: float,
    digits: Path,
    detector: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for package in ("onnx", "MNN"):
        pytest.importorskip(package)
    torch = pytest.importorskip("torch")
    ultralytics = pytest.importorskip("ultralytics")
    # Its exporter imports what calls home.
    monkeypatch.setitem(sys.modules, "MNN.tools.utils.log", None)
    exporter = ultralytics.YOLO(Path(shutil.copy(digits / "digits.pt", tmp_path)))
    made = Path(exporter.export(format="mnn", imgsz=64, simplify=False, **arguments))
    backend = mnn.MnnBackend()
    assert made.name.endswith(backend.artifact_endings)
    facts = backend.describe(made)
    assert facts.input_shape == shape
    assert (facts.names, facts.stride) == (tuple("0123456789"), 32)
    assert (facts.output.layout, facts.classes, facts.precision) == ("anchors", 10, precision)
    found = backend.load(facts.artifact, options()).infer(detector.images[:1])
    with torch.no_grad():
        images = torch.from_numpy(detector.images[:1])
        expected = exporter.model.float().eval()(images)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=largest)


@pytest.mark.heavy
def test_other_files_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("MNN")
    backend = mnn.MnnBackend()
    with pytest.raises(base.LoadError, match="there is no file"):
        backend.describe(tmp_path / "model.mnn")
    path = tmp_path / "model.mnn"
    path.write_bytes(b"no model " * 99)
    with pytest.raises(base.LoadError, match=r"MNN refuses .*model\.mnn"):
        backend.describe(path)
