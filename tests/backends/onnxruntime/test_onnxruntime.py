from __future__ import annotations

import copy
import dataclasses
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import onnxruntime, packages
from deploymark.backends.base import (
    Artifact,
    LoadError,
    LoadOptions,
    UnavailableError,
    UnsupportedError,
)
from deploymark.backends.hardware import accelerators


def options(threads: int = 1, **given: Any) -> LoadOptions:
    return LoadOptions("cpu", "fp32", threads, (1, 3, 64, 64), given)


BACKEND = onnxruntime.OnnxRuntimeBackend()


def test_the_defaults_are_the_runtimes_own() -> None:
    """As ``SessionOptions`` has them where nothing is set."""
    assert BACKEND.resolve_runtime_options(options(2)) == {
        "spinning": True,
        "stop_spinning": False,
        "arena": True,
        "memory_pattern": True,
        "avx2_exact": False,
    }


def test_given_settings_win() -> None:
    found = BACKEND.resolve_runtime_options(options(1, spinning=False, avx2_exact=True))
    assert (found["spinning"], found["avx2_exact"], found["arena"]) == (False, True, True)


def test_nodes_fall_back_to_the_cpu_only_where_asked() -> None:
    cuda = dataclasses.replace(options(), device="cuda")
    assert BACKEND.resolve_runtime_options(cuda)["cpu_fallback"] is False
    allowed = dataclasses.replace(cuda, options={"cpu_fallback": True})
    assert BACKEND.resolve_runtime_options(allowed)["cpu_fallback"] is True
    # On the CPU there is nothing to fall back from.
    with pytest.raises(UnsupportedError, match="cpu_fallback"):
        BACKEND.resolve_runtime_options(options(cpu_fallback=True))


@pytest.mark.parametrize("given", [{"spining": True}, {"spinning": 1}])
def test_other_settings_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(given))):
        BACKEND.resolve_runtime_options(options(1, **given))


def install(monkeypatch: pytest.MonkeyPatch, *distributions: str, missing: str = "") -> None:
    monkeypatch.setattr(
        packages,
        "installed_version",
        lambda *names: next(("1.0" for name in names if name in distributions), None),
    )
    monkeypatch.setattr(
        packages, "missing", lambda names: tuple(name for name in names if name in missing)
    )


def test_a_runtime_without_exporter_still_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "onnxruntime", missing="torch onnx")
    probe = onnxruntime.OnnxRuntimeBackend().probe()
    assert probe.installed
    assert not probe.can_export
    assert probe.reason == "cannot export without torch, onnx"
    assert probe.service("cpu", "fp32").served


def test_a_build_without_accelerators_has_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "onnxruntime")
    monkeypatch.setattr(accelerators, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    assert onnxruntime.OnnxRuntimeBackend().probe().devices == ("cpu",)


def test_dynamic_int8_has_options_of_its_own() -> None:
    backend = onnxruntime.OnnxRuntimeBackend()
    assert backend.resolve_options("int8-dynamic", {"weights": "int8"}) == {
        "weights": "int8",
        "per_channel": False,
        "reduce_range": False,
    }
    with pytest.raises(UnsupportedError, match="calibration"):
        backend.resolve_options("int8-dynamic", {"calibration": "minmax"})


@pytest.fixture(scope="module")
def plain(detector: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small detector's FP32 file."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("plain")
    return onnxruntime.OnnxRuntimeBackend().export(detector.request(folder)).path


def as_it_is(path: Path) -> Path:
    return path


def half_ends(path: Path) -> Path:
    """Another maker's file: float16 inside and at its ends, other names."""
    import onnx
    from onnxconverter_common import float16

    model = float16.convert_float_to_float16(onnx.load(path), keep_io_types=False)
    for node in model.graph.node:
        node.input[:] = ["pixels" if name == "images" else name for name in node.input]
        node.output[:] = ["boxes" if name == "output0" else name for name in node.output]
    model.graph.input[0].name, model.graph.output[0].name = "pixels", "boxes"
    onnx.save(model, path)
    return path


def open_batch(path: Path) -> Path:
    import onnx

    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, path)
    return path


def weights_beside(path: Path) -> Path:
    import onnx

    model = onnx.load(path)
    path.unlink()
    onnx.save(model, path, save_as_external_data=True, location="model.onnx.data")
    return path.parent


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("change", "batch", "precision", "files", "largest"),
    [
        (as_it_is, 1, "fp32", ("model.onnx",), (2e-3, 1e-4)),
        (half_ends, 1, "fp16", ("model.onnx",), (1, 0.01)),
        (open_batch, None, "fp32", ("model.onnx",), (2e-3, 1e-4)),
        (weights_beside, 1, "fp32", ("model.onnx", "model.onnx.data"), (2e-3, 1e-4)),
    ],
)
def test_files_made_elsewhere_are_described_and_opened(
    change: Callable[[Path], Path],
    batch: int | None,
    precision: str,
    files: tuple[str, ...],
    largest: tuple[float, float],
    plain: Path,
    detector: Any,
    tmp_path: Path,
) -> None:
    mine = tmp_path / "model.onnx"
    mine.write_bytes(plain.read_bytes())
    backend = onnxruntime.OnnxRuntimeBackend()
    facts = backend.describe(change(mine))
    assert facts.input_shape == (batch, 3, 64, 64)
    assert (facts.precision, facts.files) == (precision, files)
    assert (facts.output.layout, facts.classes, facts.names) == ("anchors", 3, ())
    session = backend.load(facts.artifact, options())
    found = session.infer(detector.images[:1])
    assert found.dtype == np.float32
    error = np.abs(found - detector.expected[:1])
    assert error[:, :4].max() <= largest[0]
    assert error[:, 4:].max() <= largest[1]
    assert session.executed_precision().layers["Conv:f32"] > 70


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # Ultralytics' exporter's, not ours
def test_a_real_export_of_ultralytics_is_described_and_opened(
    digits: Path, detector: Any, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    ultralytics = pytest.importorskip("ultralytics")
    checkpoint = Path(shutil.copy(digits / "digits.pt", tmp_path))
    exporter = ultralytics.YOLO(checkpoint)
    made = exporter.export(format="onnx", imgsz=64, dynamic=True, simplify=False)
    backend = onnxruntime.OnnxRuntimeBackend()
    facts = backend.describe(Path(made))
    assert facts.input_shape == (None, 3, None, None)
    assert (facts.names, facts.stride) == (tuple("0123456789"), 32)
    assert (facts.classes, facts.precision, facts.files) == (10, "fp32", ("digits.onnx",))
    two = dataclasses.replace(options(), input_shape=(2, 3, 64, 64))
    found = backend.load(facts.artifact, two).infer(detector.images)
    with torch.no_grad():
        expected = exporter.model.float().eval()(torch.from_numpy(detector.images))[0].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["fp16", "int8-dynamic"])
def test_a_one_to_one_head_gives_detections(precision: str, detector: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    model = tasks.DetectionModel("yolo26n.yaml", nc=3, verbose=False)
    model.end2end = True
    model.eval().fuse(verbose=False)
    head = model.model[-1]
    head.export, head.format, head.max_det = True, "onnx", 20
    backend = onnxruntime.OnnxRuntimeBackend()
    request = detector.request(tmp_path, precision, model=lambda: copy.deepcopy(model))
    facts = backend.describe(backend.export(request).path)
    assert (facts.output.layout, facts.precision) == ("detections", precision)
    found = backend.load(facts.artifact, options()).infer(detector.images[:1])
    assert found.shape == (1, 20, 6)
    with torch.no_grad():
        expected = copy.deepcopy(model)(torch.from_numpy(detector.images[:1])).numpy()
    np.testing.assert_allclose(found[..., 4], expected[..., 4], atol=1e-3)


@pytest.mark.heavy
def test_other_files_are_refused(plain: Path, tmp_path: Path) -> None:
    backend = onnxruntime.OnnxRuntimeBackend()
    with pytest.raises(LoadError, match="there is no file"):
        backend.describe(tmp_path / "model.onnx")
    with pytest.raises(LoadError, match="holds 0 files"):
        backend.describe(tmp_path)
    (tmp_path / "model.onnx").write_bytes(plain.read_bytes()[:-1000])
    with pytest.raises(LoadError, match=r"model\.onnx"):
        backend.describe(tmp_path / "model.onnx")


@pytest.mark.heavy
def test_a_device_without_its_provider_is_unavailable(plain: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    if "CoreMLExecutionProvider" in runtime.get_available_providers():
        pytest.skip("this build has Core ML")
    backend = onnxruntime.OnnxRuntimeBackend()
    artifact = Artifact(plain.parent, plain.name)
    with pytest.raises(UnavailableError, match="CoreMLExecutionProvider"):
        backend.load(artifact, dataclasses.replace(options(), device="coreml"))
    with pytest.raises(UnsupportedError, match="abacus"):
        backend.load(artifact, dataclasses.replace(options(), device="abacus"))
