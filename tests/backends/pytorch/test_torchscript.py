from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import base
from deploymark.backends.onnx.graph import quiet
from deploymark.backends.pytorch import runtime as torch_runtime
from deploymark.backends.pytorch import torchscript, torchscript_file

pytestmark = pytest.mark.heavy

BACKEND = torchscript.TorchScriptBackend()


def options(size: int = 64, batch: int = 1, **given: Any) -> base.LoadOptions:
    return base.LoadOptions("cpu", "fp32", 1, (batch, 3, size, size), given)


@pytest.fixture(scope="module")
def traced(detector: Any, tmp_path_factory: pytest.TempPathFactory) -> base.Artifact:
    return BACKEND.export(detector.request(tmp_path_factory.mktemp("traced")))


@pytest.fixture(scope="module")
def foreign_file(
    detector: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, dict[str, Any] | None], Path]:
    """The small detector as others save it: with Ultralytics' own exporter, or with no note."""
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("foreign")

    def save(name: str, note: dict[str, Any] | None) -> Path:
        from ultralytics.utils.export.torchscript import torch2torchscript

        path = folder / f"{name}.torchscript"
        if not path.exists():
            model, images = detector.model(), torch.zeros(1, 3, 64, 64)
            with torch.no_grad(), quiet("torch"):
                model(images)
                torch2torchscript(model, images, path, metadata=note)
        return path

    return save


NOTED = {
    "task": "detect",
    "batch": 1,
    "imgsz": [64, 64],
    "stride": 32,
    "names": {0: "a", 1: "b", 2: "c"},
    "args": {"batch": 1, "quantize": None, "dynamic": False},
    "end2end": False,
}


def infer(session: base.Session, detector: Any, batch: int = 1) -> Any:
    return session.infer(detector.images[:batch])


def test_an_ultralytics_file_is_described_and_run(
    detector: Any, foreign_file: Callable[..., Path]
) -> None:
    facts = BACKEND.describe(foreign_file("noted", NOTED))
    assert facts.input_shape == (1, 3, 64, 64)
    assert (facts.output.layout, facts.classes, facts.precision) == ("anchors", 3, "fp32")
    assert facts.names == ("a", "b", "c")
    assert facts.files == ("noted.torchscript",)
    session = BACKEND.load(facts.artifact, options())
    np.testing.assert_allclose(infer(session, detector), detector.expected[:1], atol=2e-3)


def test_a_file_without_a_note_is_tried(
    detector: Any, foreign_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchscript_file, "TRIED_SIZES", (96, 64, 128))
    facts = BACKEND.describe(foreign_file("silent", None))
    assert facts.input_shape == (1, 3, 64, 64)
    assert facts.names == ()
    assert facts.classes == 3
    session = BACKEND.load(facts.artifact, options())
    np.testing.assert_allclose(infer(session, detector), detector.expected[:1], atol=2e-3)
    with pytest.raises(base.LoadError, match=r"fails on images of shape \(1, 3, 96, 96\)"):
        BACKEND.load(facts.artifact, options(size=96))
    monkeypatch.setattr(torchscript_file, "TRIED_SIZES", (96, 128))
    with pytest.raises(base.LoadError, match="fails on those of 96, 128 pixels"):
        BACKEND.describe(facts.artifact.path)


def test_open_sizes_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")

    class AnySize(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.repeat(1, 3, 1, 1).flatten(2)

    path = tmp_path / "any.torchscript"
    with quiet("torch"):
        torch.jit.trace(AnySize(), torch.zeros(1, 3, 64, 64)).save(str(path))
    monkeypatch.setattr(torchscript_file, "TRIED_SIZES", (64, 32))
    facts = BACKEND.describe(path)
    assert facts.input_shape == (None, 3, None, None)
    assert facts.classes == 5
    assert facts.precision is None
    noted = torchscript_file.noted_shape(NOTED | {"args": {"dynamic": True}})
    assert noted == (None, 3, None, None)


def test_a_burnt_in_batch_is_seen(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class FirstOnly(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x[:1].repeat(1, 3, 1, 1).flatten(2)

    path = tmp_path / "first.torchscript"
    with quiet("torch"):
        torch.jit.trace(FirstOnly(), torch.zeros(1, 3, 64, 64)).save(str(path))
    with pytest.raises(base.LoadError, match=r"gives \(1, 9, 4096\) for images of shape \(2, 3,"):
        BACKEND.load(base.Artifact(tmp_path, path.name), options(batch=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "segment"}, "'segment' model"),
        ({"imgsz": [32, 32]}, "fails on images of shape"),
    ],
)
def test_what_is_no_square_detector_is_refused(
    changes: dict[str, Any], message: str, foreign_file: Callable[..., Path]
) -> None:
    name = "-".join(map(str, changes.values())).replace(" ", "")
    with pytest.raises(base.LoadError, match=message):
        BACKEND.describe(foreign_file(name, NOTED | changes))


def test_several_outputs_are_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Pair(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x, x

    path = tmp_path / "pair.torchscript"
    with quiet("torch"):
        traced_pair = torch.jit.trace(Pair(), torch.zeros(1, 3, 64, 64))
        traced_pair.save(str(path), _extra_files={"config.txt": json.dumps(NOTED)})
    with pytest.raises(base.LoadError, match=r"pair\.torchscript has 2 outputs"):
        BACKEND.describe(path)


def test_a_halved_file_takes_halved_images(
    detector: Any, foreign_file: Callable[..., Path], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "half.torchscript"
    with quiet("torch"):
        module = torch.jit.load(foreign_file("noted", NOTED)).half()
        module.save(str(path), _extra_files={"config.txt": json.dumps(NOTED)})
    facts = BACKEND.describe(path)
    assert facts.precision == "fp16"
    session = BACKEND.load(facts.artifact, options())
    found = infer(session, detector)
    assert found.dtype == np.float32
    # Halved boxes: an error of some tenths of a pixel.
    assert np.abs(found - detector.expected[:1]).max() < 2
    layers = session.executed_precision().layers
    assert layers["_convolution:f16"] == 88


def test_our_files_say_what_they_take(traced: base.Artifact) -> None:
    torch = pytest.importorskip("torch")
    note = torchscript_file.open_file(torch, traced.path, "cpu").note
    assert torchscript_file.noted_shape(note) == (1, 3, 64, 64)
    assert note["names"] == {"0": "a", "1": "b", "2": "c"}
    assert note["input_dtype"] == "float32"


def test_optimize_for_inference_moves_convolutions_to_onednn(
    detector: Any, traced: base.Artifact
) -> None:
    torch = pytest.importorskip("torch")
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch without oneDNN")
    session = BACKEND.load(traced, options(optimize_for_inference=True))
    np.testing.assert_allclose(infer(session, detector), detector.expected[:1], atol=2e-3)
    layers = session.executed_precision().layers
    assert layers["onednn_convolution:f32"] == 88
    assert "_convolution:f32" not in layers


@pytest.mark.parametrize("given", [{"optimise": True}, {"optimize_for_inference": 1}])
def test_other_runtime_options_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(base.UnsupportedError, match=next(iter(given))):
        BACKEND.load(base.Artifact(Path(), "none.torchscript"), options(**given))


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_the_cpu_has_fp32_alone(detector: Any, tmp_path: Path, precision: str) -> None:
    with pytest.raises(base.UnsupportedError, match=f"no {precision} on cpu"):
        BACKEND.export(detector.request(tmp_path, precision))
    assert not list(tmp_path.iterdir())


def test_cuda_is_traced_where_it_is(detector: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(base.UnavailableError, match="CUDA"):
        BACKEND.export(detector.request(tmp_path, device="cuda"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cuda", [True, False])
@pytest.mark.usefixtures("all_installed")
def test_devices_and_precisions(monkeypatch: pytest.MonkeyPatch, *, cuda: bool) -> None:
    monkeypatch.setattr(torch_runtime, "serves_cuda", lambda: cuda)
    probe = BACKEND.probe()
    assert probe.devices == (("cpu", "cuda") if cuda else ("cpu",))
    assert probe.service("cpu", "fp32").served
    for precision in ("fp16", "bf16", "int8"):
        service = probe.service("cpu", precision)
        assert not service.exists
        assert service.reason
    assert probe.service("cuda", "fp16").served is cuda
