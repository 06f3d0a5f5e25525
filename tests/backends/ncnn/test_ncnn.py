"""ncnn: graphs that say their image size, options spelled out, files made elsewhere."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import base, ncnn
from deploymark.backends.hardware import accelerators
from deploymark.backends.inputs import Size
from deploymark.backends.layout import OutputSpec
from deploymark.backends.ncnn import convert as ncnn_convert
from deploymark.backends.ncnn import files as ncnn_files
from deploymark.backends.ncnn import net as ncnn_net
from deploymark.backends.ncnn.files import Layer
from tests.backends import one_to_one

GRAPH = """7767517
3 3
Input                    in0                      0 1 in0
Convolution              conv_0                   1 1 in0 1 0=16 1=3 -23301=2,1,2 6=432
Swish                    silu_1                   1 1 1 out0
"""


def options(**changes: Any) -> base.LoadOptions:
    plain = base.LoadOptions(device="cpu", precision="fp32", threads=1, input_shape=(1, 3, 64, 64))
    return dataclasses.replace(plain, **changes)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A small graph that does not say its image size."""
    path = tmp_path / "model.ncnn.param"
    path.write_text(GRAPH, encoding="utf-8")
    return path


def test_fp32_switches_off_what_ncnn_switches_on_by_itself() -> None:
    settings = ncnn_net.net_settings(options(threads=3), {})
    sixteen = {name for name in settings if "fp16" in name or "bf16" in name}
    assert len(sixteen) == 5
    assert not any(settings[name] for name in sixteen)
    assert settings["num_threads"] == 3
    assert settings["use_vulkan_compute"] is False


def test_fp16_is_switched_on_and_bfloat16_never() -> None:
    settings = ncnn_net.net_settings(options(precision="fp16", device="vulkan"), {})
    assert all(settings[name] for name in settings if "fp16" in name)
    assert not any(settings[name] for name in settings if "bf16" in name)
    assert settings["use_vulkan_compute"] is True


def test_threads_spin_as_long_as_ncnn_has_them_unless_asked() -> None:
    assert "openmp_blocktime" not in ncnn_net.net_settings(options(), {"wait": "default"})
    assert ncnn_net.net_settings(options(), {"wait": "passive"})["openmp_blocktime"] == 0


@pytest.mark.heavy
def test_all_else_is_ncnns_own_and_told() -> None:
    runtime = pytest.importorskip("ncnn")
    net = runtime.Net()
    own = ncnn_net.told(net)
    changed = ncnn_net.net_settings(options(), {})
    for name, value in changed.items():
        setattr(net.opt, name, value)
    assert ncnn_net.told(net) == {**own, **changed}
    assert "use_winograd_convolution" in own


@pytest.mark.parametrize("driver", [True, False])
@pytest.mark.usefixtures("all_installed")
def test_vulkan_is_served_where_the_system_shows_a_driver(
    monkeypatch: pytest.MonkeyPatch, *, driver: bool
) -> None:
    monkeypatch.setattr(accelerators, "has_vulkan_driver", lambda: driver)
    service = ncnn.NcnnBackend().probe().service("vulkan", "fp16")
    assert (service.served, service.exists) == (driver, True)
    assert bool(service.remedy) is not driver


def test_a_graph_is_read_as_layers(graph: Path) -> None:
    layers = ncnn_files.read_graph(graph)
    assert [layer.kind for layer in layers] == ["Input", "Convolution", "Swish"]
    assert layers[1].parameters == {0: "16", 1: "3", 6: "432"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line"),
        (GRAPH.removeprefix("7"), "first line"),
        (GRAPH[: GRAPH.index("Swish")], "has 2 layers and says 3"),
        (GRAPH[: GRAPH.index("432")], "has 2 layers and says 3"),
        (GRAPH[: GRAPH.index(" 1 1 in0")], "no layer"),
        (GRAPH.replace("Swish", "torch.topk"), r"does not have: torch\.topk"),
        ("7767517\n", "no layer"),
    ],
)
def test_a_damaged_graph_is_a_load_error(graph: Path, text: str, message: str) -> None:
    graph.write_text(text, encoding="utf-8")
    with pytest.raises(base.LoadError, match=message):
        ncnn_files.read_graph(graph)


def test_binary_rubbish_is_a_load_error(graph: Path) -> None:
    graph.write_bytes(bytes(range(256)))
    with pytest.raises(base.LoadError, match="cannot be read"):
        ncnn_files.read_graph(graph)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.yaml", "batch: 1\nimgsz:\n- 96\n- 64\nnames:\n  0: a\n"),
        ("metadata.yaml", "imgsz: [96, 64]\n"),
        ("model_ncnn.py", "    in0 = torch.rand(1, 3, 96, 64, dtype=torch.float)\n"),
    ],
)
def test_the_image_size_is_told_by_a_file_beside_the_graph(
    graph: Path, name: str, text: str
) -> None:
    layers = ncnn_files.read_graph(graph)
    with pytest.raises(base.LoadError, match="nothing beside"):
        ncnn_files.image_size(graph, layers)
    graph.with_name(name).write_text(text, encoding="utf-8")
    assert ncnn_files.image_size(graph, layers) == Size(height=96, width=64)


def test_the_image_size_is_noted_in_the_graph_and_wins(graph: Path) -> None:
    graph.with_name("metadata.yaml").write_text("imgsz: [96, 96]\n", encoding="utf-8")
    noted = ncnn_files.with_size(GRAPH, Size(height=32, width=64))
    assert noted.splitlines()[2].endswith("0 1 in0 0=64 1=32 2=3")
    graph.write_text(noted, encoding="utf-8")
    layers = ncnn_files.read_graph(graph)
    assert ncnn_files.image_size(graph, layers) == Size(height=32, width=64)
    with pytest.raises(ValueError, match="Input"):
        ncnn_files.with_size(noted, Size(height=32, width=64))


@pytest.mark.parametrize(
    ("tag", "precision"), [("00000000", "fp32"), ("476b3001", "fp16"), ("384b0d00", "int8")]
)
def test_the_first_weights_tell_the_precision(graph: Path, tag: str, precision: str) -> None:
    weights = graph.with_suffix(".bin")
    layers = ncnn_files.read_graph(graph)
    weights.write_bytes(bytes.fromhex(tag) + bytes(100))
    assert ncnn_files.stored_precision(weights, layers) == precision
    other = (Layer("Input", "in0", {}), Layer("MemoryData", "anchors", {}))
    assert ncnn_files.stored_precision(weights, other) is None
    weights.write_bytes(b"no weights")
    with pytest.raises(base.LoadError, match="does not begin"):
        ncnn_files.stored_precision(weights, layers)


def test_weights_are_missed(graph: Path) -> None:
    with pytest.raises(base.LoadError, match=r"there is no file .*model\.ncnn\.bin"):
        ncnn.NcnnBackend().load(base.Artifact(graph.parent, graph.name), options())


@pytest.mark.heavy
def test_a_one_to_one_head_is_refused_with_a_way_out(detector: Any, tmp_path: Path) -> None:
    found = base.Detector(names=("a", "b", "c"), output=OutputSpec("detections"))
    with pytest.raises(base.UnsupportedError, match="top-k") as caught:
        ncnn.NcnnBackend().export(detector.request(tmp_path, detector=found))
    assert "one-to-many" in caught.value.remedy


@pytest.mark.heavy
def test_operators_that_ncnn_lacks_are_told(detector: Any, tmp_path: Path) -> None:
    pytest.importorskip("pnnx")
    with pytest.raises(base.UnsupportedError, match=r"torch\.topk"):
        ncnn.NcnnBackend().export(detector.request(tmp_path, model=one_to_one.network))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_the_converters_own_words_are_in_the_error(tmp_path: Path) -> None:
    pytest.importorskip("pnnx")
    source = tmp_path / "model.torchscript"
    source.write_bytes(b"no TorchScript")
    with pytest.raises(base.ExportError, match="pnnx ended with"):
        ncnn_convert.convert(
            source, tmp_path / "a.param", tmp_path / "a.bin", size=Size.of(64), half=False
        )


@pytest.fixture(scope="module")
def exported(
    detector: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], base.Artifact]:
    """The small detector in one precision, converted once."""
    for package in ("torch", "pnnx", "ncnn"):
        pytest.importorskip(package)
    done: dict[str, base.Artifact] = {}

    def export(precision: str) -> base.Artifact:
        if precision not in done:
            request = detector.request(tmp_path_factory.mktemp(precision), precision)
            done[precision] = ncnn.NcnnBackend().export(request)
        return done[precision]

    return export


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_own_export_describes_itself(
    exported: Callable[[str], base.Artifact], precision: str
) -> None:
    artifact = exported(precision)
    facts = ncnn.NcnnBackend().describe(artifact.path)
    assert facts.input_shape == (None, 3, 64, 64)
    assert (facts.output.layout, facts.classes, facts.names) == ("anchors", 3, ())
    assert facts.precision == precision
    assert facts.files == ("model.ncnn.bin", "model.ncnn.param")
    assert facts.artifact == artifact


@pytest.mark.heavy
def test_a_batch_goes_through_image_by_image(
    exported: Callable[[str], base.Artifact], detector: Any
) -> None:
    backend = ncnn.NcnnBackend()
    pair = backend.load(exported("fp32"), options(input_shape=(2, 3, 64, 64)))
    alone = backend.load(exported("fp32"), options())
    found = pair.infer(detector.images)
    assert found.shape == detector.expected.shape
    for image, predictions in zip(detector.images, found, strict=True):
        np.testing.assert_array_equal(alone.infer(image[None])[0], predictions)


@pytest.mark.heavy
def test_layers_are_counted_by_the_type_of_their_blobs(
    exported: Callable[[str], base.Artifact],
) -> None:
    executed = ncnn.NcnnBackend().load(exported("fp32"), options()).executed_precision()
    assert executed.layers["Convolution:f32"] == 81
    assert executed.layers["ConvolutionDepthWise:f32"] == 7
    assert "Input:f32" not in executed.layers
    assert executed.source


@pytest.mark.heavy
def test_16_bits_are_told_from_32(exported: Callable[[str], base.Artifact]) -> None:
    # A session never asks for bfloat16; here it stands for float16, which x86 has no blobs of.
    runtime = pytest.importorskip("ncnn")
    artifact = exported("fp32")
    net = runtime.Net()
    net.opt.use_bf16_storage = True
    assert net.load_param(str(artifact.path)) == 0
    assert net.load_model(str(artifact.path.with_suffix(".bin"))) == 0
    executed = ncnn.NcnnSession(net, artifact.path, options()).executed_precision()
    assert executed.layers["Convolution:f16"] >= 70


@pytest.mark.heavy
@pytest.mark.parametrize("device", ["cuda", "npu"])
def test_other_devices_are_unavailable(
    exported: Callable[[str], base.Artifact], device: str
) -> None:
    with pytest.raises(base.UnavailableError, match=device):
        ncnn.NcnnBackend().load(exported("fp32"), options(device=device))


@pytest.mark.heavy
def test_vulkan_without_a_device_is_unavailable(exported: Callable[[str], base.Artifact]) -> None:
    if accelerators.has_vulkan_driver():
        pytest.skip("there is a Vulkan driver")
    with pytest.raises(base.UnavailableError, match="Vulkan"):
        ncnn.NcnnBackend().load(exported("fp32"), options(device="vulkan"))


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # Ultralytics' exporter's, not ours
def test_a_real_export_of_ultralytics_is_described_and_opened(
    digits: Path, detector: Any, tmp_path: Path
) -> None:
    for package in ("pnnx", "ncnn"):
        pytest.importorskip(package)
    torch = pytest.importorskip("torch")
    ultralytics = pytest.importorskip("ultralytics")
    exporter = ultralytics.YOLO(Path(shutil.copy(digits / "digits.pt", tmp_path)))
    made = Path(exporter.export(format="ncnn", imgsz=64, quantize=16))
    backend = ncnn.NcnnBackend()
    assert made.name.endswith(backend.artifact_endings[0])
    facts = backend.describe(made)
    assert facts.input_shape == (None, 3, 64, 64)
    assert (facts.names, facts.stride) == (tuple("0123456789"), 32)
    assert (facts.classes, facts.precision) == (10, "fp16")
    assert set(facts.files) >= {"metadata.yaml", "model.ncnn.bin", "model.ncnn.param"}
    found = backend.load(facts.artifact, options(precision="fp16")).infer(detector.images[:1])
    with torch.no_grad():
        images = torch.from_numpy(detector.images[:1])
        expected = exporter.model.float().eval()(images)[0].numpy()
    # Computed in 16 bits where the processor can.
    np.testing.assert_allclose(found, expected, atol=0.5)
    with pytest.raises(base.LoadError, match=r"\(1, 3, 64, 64\), not \(1, 3, 96, 96\)"):
        backend.load(facts.artifact, options(input_shape=(1, 3, 96, 96)))
