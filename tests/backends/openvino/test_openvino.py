from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import openvino
from deploymark.backends.base import (
    Artifact,
    LoadError,
    LoadOptions,
    UnavailableError,
    UnsupportedError,
)
from deploymark.backends.hardware import accelerators, cpu
from deploymark.backends.inputs import Size
from deploymark.backends.openvino import files as ov_files
from deploymark.backends.openvino import settings as ov_settings

INTEL = cpu.Cpu("Xeon", "x86_64", frozenset({"avx512_vnni", "avx512_bf16", "avx512_fp16"}))
OLD = cpu.Cpu("EPYC", "x86_64", frozenset({"avx2"}))


@pytest.mark.parametrize(
    ("runtime_precision", "kernel", "executed"),
    [
        ("f32", "brgconv_avx2_f32", "f32"),
        ("f16", "brgconv_avx2_1x1_f32", "f32"),
        ("f16", "jit_avx512_core_amx_FP16", "f16"),
        ("bf16", "brgconv_avx512_amx_bf16", "bf16"),
        ("u8", "jit_avx2_I8", "u8"),
        ("f32", "jit_avx2_FP32", "f32"),
        ("f32", "", "f32"),
    ],
)
def test_the_kernel_tells_what_a_layer_computes_in(
    runtime_precision: str, kernel: str, executed: str
) -> None:
    assert ov_settings.executed_type(runtime_precision, kernel) == executed


@pytest.mark.parametrize(
    ("precision", "capabilities", "hint"),
    [
        ("fp16", ["BF16", "FP32", "INT8"], "f32"),
        ("fp16", ["FP32", "FP16"], "f16"),
        ("bf16", ["BF16", "FP32", "INT8"], "bf16"),
        ("bf16", ["FP32"], "bf16"),
        ("fp32", ["BF16", "FP32", "FP16"], "f32"),
        ("int8", ["BF16", "FP32", "FP16", "INT8"], "f32"),
    ],
)
def test_half_precision_never_runs_in_bfloat16(
    precision: str, capabilities: list[str], hint: str
) -> None:
    assert ov_settings.precision_hint(precision, capabilities) == hint


def options(**given: Any) -> LoadOptions:
    return LoadOptions("cpu", "fp32", 1, (1, 3, 64, 64), given)


@pytest.mark.parametrize("pinning", [True, False])
def test_openvino_decides_about_pinning_unless_told(*, pinning: bool) -> None:
    def properties(**given: Any) -> dict[str, Any]:
        settings = openvino.OpenVinoBackend().resolve_runtime_options(options(**given))
        return ov_settings.properties(options(), "CPU", {"CPU": ["FP32"]}, settings)

    assert "ENABLE_CPU_PINNING" not in properties()
    assert properties(pinning=pinning)["ENABLE_CPU_PINNING"] is pinning


@pytest.mark.parametrize("given", [{"pin": True}, {"pinning": "yes"}])
def test_other_runtime_options_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(given))):
        openvino.OpenVinoBackend().resolve_runtime_options(options(**given))


def test_files_of_smaller_weights_compute_in_f32() -> None:
    assert ov_settings.precision_hint("int8-weights", ["FP32", "BF16"]) == "f32"


def test_threads_and_precision_are_explicit() -> None:
    """All else is the plugin's own affair."""
    settings = {"pinning": "default"}
    known = {"CPU": ["FP32", "BF16"], "GPU": ["FP32", "FP16"]}
    two = dataclasses.replace(options(), precision="fp16", threads=2)
    on_cpu = ov_settings.properties(two, "CPU", known, settings)
    assert on_cpu["INFERENCE_NUM_THREADS"] == 2
    assert on_cpu["INFERENCE_PRECISION_HINT"] == "f32"
    assert on_cpu["NUM_STREAMS"] == "1"
    on_gpu = ov_settings.properties(two, "GPU", known, settings)
    assert on_gpu["INFERENCE_PRECISION_HINT"] == "f16"
    assert "INFERENCE_NUM_THREADS" not in on_gpu
    # AUTO is told all of it for each device that it may choose.
    auto = ov_settings.properties(two, "AUTO", known, settings)
    assert auto["ENABLE_STARTUP_FALLBACK"] is auto["ENABLE_RUNTIME_FALLBACK"] is False
    for device, properties in auto["DEVICE_PROPERTIES"].items():
        own = ov_settings.properties(two, device, known, settings)
        assert properties == {key: own[key] for key in own if key != "PERFORMANCE_HINT"}
    assert set(auto["DEVICE_PROPERTIES"]) == {"CPU", "GPU"}


@pytest.mark.parametrize(("here", "native"), [(INTEL, True), (OLD, False)])
def test_16_bits_are_native_where_the_cpu_has_them(
    monkeypatch: pytest.MonkeyPatch, here: cpu.Cpu, *, native: bool
) -> None:
    monkeypatch.setattr(accelerators, "has_intel_gpu", lambda: False)
    monkeypatch.setattr(cpu, "detect", lambda: here)
    for device in ("cpu", "auto"):
        for precision in ("fp16", "bf16"):
            service = ov_settings.services()[device, precision]
            assert service.served
            assert service.native is native
            assert bool(service.reason) is not native


@pytest.mark.parametrize("present", [True, False])
@pytest.mark.usefixtures("all_installed")
def test_accelerators_are_served_where_the_system_shows_them(
    monkeypatch: pytest.MonkeyPatch, *, present: bool
) -> None:
    monkeypatch.setattr(accelerators, "has_intel_gpu", lambda: present)
    monkeypatch.setattr(accelerators, "has_intel_npu", lambda: present)
    probe = openvino.OpenVinoBackend().probe()
    assert probe.devices == ("cpu", "gpu", "npu", "auto")
    for device in ("gpu", "npu"):
        service = probe.service(device, "fp16")
        assert service.served is present
        assert service.exists
        assert bool(service.reason) is bool(service.remedy) is not present
    # What no machine has is told apart.
    assert not probe.service("npu", "fp32").exists
    assert not probe.service("gpu", "bf16").exists
    # AUTO would take the GPU, and then serves what it serves.
    assert probe.service("auto", "fp32").served
    assert probe.service("auto", "bf16").exists is not present


@pytest.fixture(scope="module")
def plain(detector: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small detector as ``.xml`` and ``.onnx``."""
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    from deploymark.backends.onnx.graph import write_onnx

    folder = tmp_path_factory.mktemp("plain")
    write_onnx(detector.model(), folder / "model.onnx", batch=1, imgsz=Size.of(64))
    artifact = openvino.OpenVinoBackend().export(detector.request(folder))
    return {"xml": artifact.path, "onnx": folder / "model.onnx"}


def as_ir(plain: dict[str, Path], folder: Path) -> Path:
    for file in (plain["xml"], plain["xml"].with_suffix(".bin")):
        shutil.copy(file, folder)
    return folder / "model.xml"


def as_onnx(plain: dict[str, Path], folder: Path) -> Path:
    return Path(shutil.copy(plain["onnx"], folder))


def half_ends_and_open_sizes(plain: dict[str, Path], folder: Path) -> Path:
    """Another maker's folder: float16 ends, sizes left open, float16 weights."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    model = ov.Core().read_model(plain["xml"])
    model.reshape([-1, 3, -1, -1])
    processor = PrePostProcessor(model)
    processor.input().tensor().set_element_type(ov.Type.f16)
    processor.output().tensor().set_element_type(ov.Type.f16)
    ov.save_model(processor.build(), folder / "other.xml", compress_to_fp16=True)
    (folder / "metadata.yaml").write_text("names: {0: a, 1: b, 2: c}\nstride: 32\ntask: detect\n")
    return folder


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("make", "shape", "precision", "files", "largest"),
    [
        (as_ir, (1, 3, 64, 64), "fp32", ("model.bin", "model.xml"), (2e-3, 1e-4)),
        (as_onnx, (1, 3, 64, 64), "fp32", ("model.onnx",), (2e-3, 1e-4)),
        (
            half_ends_and_open_sizes,
            (None, 3, None, None),
            "fp16",
            ("metadata.yaml", "other.bin", "other.xml"),
            (1, 0.01),
        ),
    ],
)
def test_files_made_elsewhere_are_described_and_opened(
    make: Callable[[dict[str, Path], Path], Path],
    shape: tuple[int | None, ...],
    precision: str,
    files: tuple[str, ...],
    largest: tuple[float, float],
    plain: dict[str, Path],
    detector: Any,
    tmp_path: Path,
) -> None:
    backend = openvino.OpenVinoBackend()
    facts = backend.describe(make(plain, tmp_path))
    assert (facts.input_shape, facts.precision, facts.files) == (shape, precision, files)
    assert (facts.output.layout, facts.classes) == ("anchors", 3)
    assert facts.names == (("a", "b", "c") if "metadata.yaml" in files else ())
    asked = dataclasses.replace(options(), precision=precision)
    found = backend.load(facts.artifact, asked).infer(detector.images[:1])
    assert found.dtype == np.float32
    error = np.abs(found - detector.expected[:1])
    assert error[:, :4].max() <= largest[0]
    assert error[:, 4:].max() <= largest[1]


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # Ultralytics' exporter's, not ours
def test_a_real_export_of_ultralytics_is_described_and_opened(
    digits: Path, detector: Any, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    torch = pytest.importorskip("torch")
    ultralytics = pytest.importorskip("ultralytics")
    exporter = ultralytics.YOLO(Path(shutil.copy(digits / "digits.pt", tmp_path)))
    made = exporter.export(format="openvino", imgsz=64, dynamic=True)
    backend = openvino.OpenVinoBackend()
    assert str(made).rstrip("/").endswith(backend.artifact_endings[1])
    facts = backend.describe(Path(made))
    assert facts.input_shape == (None, 3, None, None)
    assert (facts.names, facts.stride) == (tuple("0123456789"), 32)
    assert (facts.classes, facts.precision) == (10, "fp32")
    assert facts.files == ("digits.bin", "digits.xml", "metadata.yaml")
    two = dataclasses.replace(options(), input_shape=(2, 3, 64, 64))
    found = backend.load(facts.artifact, two).infer(detector.images)
    with torch.no_grad():
        expected = exporter.model.float().eval()(torch.from_numpy(detector.images))[0].numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.heavy
def test_other_files_are_refused(plain: dict[str, Path], tmp_path: Path) -> None:
    import openvino as ov

    backend = openvino.OpenVinoBackend()
    with pytest.raises(LoadError, match="there is no file"):
        backend.describe(tmp_path / "model.xml")
    with pytest.raises(LoadError, match="holds 0 files"):
        backend.describe(tmp_path)
    shutil.copy(plain["xml"], tmp_path)
    with pytest.raises(LoadError, match=r"no file .*model\.bin"):
        backend.describe(tmp_path / "model.xml")
    x = ov.opset13.parameter([1, 3, 64, 64], np.uint8, name="x")
    ov.save_model(ov.Model([ov.opset13.abs(x)], [x]), tmp_path / "bytes.xml")
    with pytest.raises(LoadError, match="an output of uint8"):
        backend.describe(tmp_path / "bytes.xml")


@pytest.mark.heavy
@pytest.mark.parametrize(("precision", "ran"), [("fp32", {"f32"}), ("bf16", {"f32", "bf16"})])
def test_auto_tells_what_it_chose(
    precision: str, ran: set[str], plain: dict[str, Path], detector: Any
) -> None:
    asked = dataclasses.replace(options(), device="auto", precision=precision)
    session = openvino.OpenVinoBackend().load(Artifact(plain["xml"].parent, "model.xml"), asked)
    found = session.infer(detector.images[:1])
    if precision == "fp32":
        np.testing.assert_allclose(found, detector.expected[:1], atol=2e-3)
    executed = session.executed_precision()
    assert executed.source.startswith("runtime model of ")
    assert executed.source.endswith(", which AUTO chose")
    kinds = {key.rpartition(":")[2] for key in executed.layers if key.startswith("Convolution:")}
    assert kinds <= ran


@pytest.mark.heavy
def test_a_device_that_is_not_there_is_unavailable(plain: dict[str, Path]) -> None:
    runtime = pytest.importorskip("openvino")
    if "NPU" in runtime.Core().available_devices:
        pytest.skip("there is an NPU here")
    asked = dataclasses.replace(options(), device="npu", precision="fp16")
    artifact = Artifact(plain["xml"].parent, "model.xml")
    with pytest.raises(UnavailableError, match="no device 'npu'") as caught:
        openvino.OpenVinoBackend().load(artifact, asked)
    assert "NPU driver" in caught.value.remedy


def test_an_exception_is_told_without_its_source_lines() -> None:
    error = RuntimeError("Exception from src/a.cpp:1:\nCheck 'x' failed at b.cpp:2:\nno such op\n")
    assert ov_files.first_line(error) == "no such op"
    assert ov_files.first_line(RuntimeError("")) == "RuntimeError"
