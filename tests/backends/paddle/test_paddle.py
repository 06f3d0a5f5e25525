from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import base, packages, paddle
from deploymark.backends.hardware import accelerators
from deploymark.backends.layout import OutputSpec
from deploymark.backends.paddle import convert as paddle_convert
from deploymark.backends.paddle import program as paddle_program

BACKEND = paddle.PaddleBackend()

METADATA = """
task: detect
stride: 32
batch: 1
imgsz: [64, 64]
names: {0: a, 1: b, 2: c}
args: {quantize: null}
end2end: false
"""
"""As ``ultralytics.engine.exporter`` writes it."""


def options(device: str = "cpu", **given: Any) -> base.LoadOptions:
    return base.LoadOptions(device, "fp32", 1, (1, 3, 64, 64), given)


def test_onednn_is_on_for_the_processor() -> None:
    backend = paddle.PaddleBackend()
    assert backend.resolve_runtime_options(options())["onednn"] is True
    assert backend.resolve_runtime_options(options(onednn=False))["onednn"] is False
    assert backend.resolve_runtime_options(options("cuda"))["onednn"] is False


@pytest.mark.parametrize(
    ("device", "given"),
    [("cpu", {"mkldnn": True}), ("cpu", {"onednn": 1}), ("cuda", {"onednn": True})],
)
def test_other_runtime_options_are_refused(device: str, given: Mapping[str, Any]) -> None:
    with pytest.raises(base.UnsupportedError, match=next(iter(given))):
        paddle.PaddleBackend().resolve_runtime_options(options(device, **given))


@pytest.mark.parametrize(
    ("distribution", "driver", "served"),
    [
        ("paddlepaddle", True, False),
        ("paddlepaddle-gpu", False, False),
        ("paddlepaddle-gpu", True, True),
    ],
)
def test_cuda_is_served_by_its_own_build_where_a_driver_is_loaded(
    monkeypatch: pytest.MonkeyPatch, distribution: str, *, driver: bool, served: bool
) -> None:
    def version(*names: str) -> str | None:
        return "3.2.2" if distribution in names else None

    monkeypatch.setattr(packages, "installed_version", version)
    monkeypatch.setattr(packages, "missing", lambda names: ())
    monkeypatch.setattr(accelerators, "has_nvidia_gpu", lambda: driver)
    service = BACKEND.probe().service("cuda", "fp32")
    assert service.served is served
    assert service.exists
    assert bool(service.reason) is not served
    assert not BACKEND.probe().service("cpu", "int8").exists


@pytest.mark.heavy
def test_a_one_to_one_head_is_unsupported(detector: Any, tmp_path: Path) -> None:
    known = base.Detector(("a", "b", "c"), output=OutputSpec("detections"))
    with pytest.raises(base.UnsupportedError) as caught:
        BACKEND.export(detector.request(tmp_path, detector=known))
    assert "one-to-many" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def exported(detector: Any, tmp_path_factory: pytest.TempPathFactory) -> base.Artifact:
    pytest.importorskip("paddle")
    pytest.importorskip("x2paddle")
    before = list(sys.path)
    artifact = BACKEND.export(detector.request(tmp_path_factory.mktemp("paddle")))
    assert sys.path == before
    assert paddle_convert.GENERATED_MODULE not in sys.modules
    return artifact


@pytest.mark.heavy
@pytest.mark.parametrize("onednn", [True, False])
def test_what_ran_is_in_the_optimised_program(
    detector: Any, exported: base.Artifact, *, onednn: bool
) -> None:
    session = BACKEND.load(exported, options(onednn=onednn))
    found = session.infer(detector.images[:1])
    np.testing.assert_allclose(found, detector.expected[:1], atol=2e-3)
    executed = session.executed_precision()
    convolutions = {key: n for key, n in executed.layers.items() if "conv" in key}
    assert sum(convolutions.values()) == 88
    assert all(key.endswith(":f32") for key in convolutions)
    assert any(key.startswith("fused_conv2d") for key in convolutions) is onednn


@pytest.mark.heavy
def test_no_file_but_the_programs_own_is_kept(exported: base.Artifact) -> None:
    names = sorted(path.name for path in exported.folder.iterdir())
    assert names == sorted(paddle_convert.FILES)


@pytest.mark.heavy
def test_a_program_is_read_without_paddle(exported: base.Artifact) -> None:
    program = paddle_program.read_program(exported.path)
    assert program.inputs == (paddle_program.Value("f32", (1, 3, 64, 64)),)
    assert program.outputs == (paddle_program.Value("f32", (1, 7, 84)),)
    assert program.operators["depthwise_conv2d:f32"] + program.operators["conv2d:f32"] == 88
    paddle_program.require_whole(exported.path.with_suffix(".pdiparams"), program)


@pytest.mark.heavy
@pytest.mark.parametrize("damage", ["shorter", "longer", "garbage", "gone"])
def test_damaged_weights_are_a_load_error(
    exported: base.Artifact, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "artifact"
    shutil.copytree(exported.folder, folder)
    weights = folder / "model.pdiparams"
    data = weights.read_bytes()
    if damage == "gone":
        weights.unlink()
    else:
        changed = {"shorter": data[:-1], "longer": data + b"\0" * 9, "garbage": b"\0none" * 999}
        weights.write_bytes(changed[damage])
    with pytest.raises(base.LoadError, match=r"model\.pdiparams"):
        BACKEND.load(base.Artifact(folder, exported.entry), options())


@pytest.fixture
def foreign(exported: base.Artifact, tmp_path: Path) -> Path:
    """The files as ``YOLO.export(format="paddle")`` lays them out."""
    folder = tmp_path / "yolo11n_paddle_model"
    shutil.copytree(exported.folder, folder / "inference_model")
    (folder / "metadata.yaml").write_text(METADATA, encoding="utf-8")
    (folder / "x2paddle_code.py").touch()
    return folder


@pytest.mark.heavy
def test_a_folder_of_ultralytics_describes_itself_and_runs(detector: Any, foreign: Path) -> None:
    facts = BACKEND.describe(foreign)
    assert facts.artifact == base.Artifact(foreign, "inference_model/model.json")
    assert facts.files == (
        "inference_model/model.json",
        "inference_model/model.pdiparams",
        "metadata.yaml",
    )
    assert facts.input_shape == (1, 3, 64, 64)
    assert facts.names == ("a", "b", "c")
    assert (facts.output.layout, facts.classes, facts.precision) == ("anchors", 3, "fp32")
    found = BACKEND.load(facts.artifact, options()).infer(detector.images[:1])
    np.testing.assert_allclose(found, detector.expected[:1], atol=2e-3)


@pytest.mark.heavy
def test_a_folder_without_weights_is_a_load_error(foreign: Path) -> None:
    (foreign / "inference_model" / "model.pdiparams").unlink()
    with pytest.raises(base.LoadError, match=r"0 files \*\.pdiparams"):
        BACKEND.describe(foreign)
    with pytest.raises(base.LoadError, match="there is no file"):
        BACKEND.describe(foreign / "nothing_paddle_model")


@pytest.mark.heavy
def test_a_build_without_cuda_says_so(exported: base.Artifact) -> None:
    import paddle as runtime

    if runtime.device.is_compiled_with_cuda():
        pytest.skip("this build has CUDA")
    with pytest.raises(base.UnavailableError, match="no CUDA"):
        BACKEND.load(exported, options("cuda"))
    with pytest.raises(base.UnavailableError, match="'npu'"):
        BACKEND.load(exported, options("npu"))


@pytest.mark.heavy
def test_an_operator_that_x2paddle_lacks_is_an_export_error(detector: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("x2paddle")

    class Erf(torch.nn.Module):
        def forward(self, images: Any) -> Any:
            return torch.special.erfinv(images)

    with pytest.raises(base.ExportError, match="X2Paddle"):
        BACKEND.export(detector.request(tmp_path, model=Erf))
    assert list(tmp_path.iterdir()) == []
