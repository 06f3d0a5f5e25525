"""Core ML packages are converted here and read back; predicting is macOS's, and not tried."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import platform
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploymark.backends import base, coreml, packages
from deploymark.backends.coreml import CoreMlBackend
from deploymark.backends.coreml import compress as coreml_compress
from deploymark.backends.coreml import package as coreml_package
from deploymark.backends.layout import OutputSpec
from tests.backends import one_to_one
from tests.backends.coreml.converted_package import Package

pytestmark = pytest.mark.heavy

CONVOLUTIONS = 88
OPTIONS: dict[str, dict[str, Any]] = {"palettized": {"bits": 2}}
"""A small palette is found much faster than the default one."""


@pytest.fixture(scope="module")
def program(detector: Any) -> Callable[[str], tuple[Any, bool]]:
    """The small detector as a program of one arithmetic, converted once."""
    pytest.importorskip("coremltools")
    really_convert = coreml_compress.convert

    @functools.cache
    def convert(arithmetic: str) -> tuple[Any, bool]:
        return really_convert(
            detector.model(), shape=(1, 3, 64, 64), arithmetic=arithmetic, target="iOS17"
        )

    return convert


@pytest.fixture(scope="module")
def converted(
    detector: Any,
    program: Callable[[str], tuple[Any, bool]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Package]:
    """The small detector in one precision. Three of them compress the same float16 program."""

    def convert(model: Any, *, shape: tuple[int, ...], arithmetic: str, target: str) -> Any:
        assert (shape, target) == ((1, 3, 64, 64), "iOS17")
        return program(arithmetic)

    @functools.cache
    def export(precision: str) -> Package:
        request = detector.request(
            tmp_path_factory.mktemp(precision), precision, options=OPTIONS.get(precision, {})
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(coreml_compress, "convert", convert)
            artifact = CoreMlBackend().export(request)
        return Package(artifact, coreml_package.read(artifact.path))

    return export


@pytest.fixture
def small(detector: Any, tmp_path: Path) -> Callable[..., Package]:
    """A network of one convolution and a choice of places: converted in a moment."""
    pytest.importorskip("coremltools")
    numbers = itertools.count()

    def convert(precision: str = "fp16", *, model: Any = None, **changes: Any) -> Package:
        folder = tmp_path / str(next(numbers))
        kind = base.Detector(names=("a", "b", "c"), output=OutputSpec("detections"))
        request = detector.request(
            folder, precision, model=lambda: model or one_to_one.network(), detector=kind, **changes
        )
        artifact = CoreMlBackend().export(request)
        return Package(artifact, coreml_package.read(artifact.path))

    return convert


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-weights", "palettized"])
def test_ends_and_arithmetic_are_those_of_the_precision(
    converted: Callable[[str], Package], precision: str
) -> None:
    package = converted(precision)
    (image,) = package.specification.description.input
    (output,) = package.specification.description.output
    for feature, name, shape in (
        (image, "images", [1, 3, 64, 64]),
        (output, "output0", [1, 7, 84]),
    ):
        array = feature.type.multiArrayType
        assert (feature.name, list(array.shape)) == (name, shape)
        assert array.ArrayDataType.Name(array.dataType) == "FLOAT32"
    types = Counter(coreml_package.type_of(op) for op in package.operations if op.type == "conv")
    assert types == {"f32" if precision == "fp32" else "f16": CONVOLUTIONS}
    # iOS 17 and macOS 14.
    assert package.specification.specificationVersion == 8
    assert coreml_package.precision(package.specification) == precision


@pytest.mark.parametrize(
    ("precision", "unpacked_by"),
    [
        ("fp32", None),
        ("fp16", None),
        ("int8-weights", "constexpr_affine_dequantize"),
        ("palettized", "constexpr_lut_to_dense"),
    ],
)
def test_weights_are_stored_as_the_precision_says(
    converted: Callable[[str], Package], precision: str, unpacked_by: str | None
) -> None:
    package = converted(precision)
    counts = Counter(package.weights)
    if unpacked_by is None:
        assert counts == {"const": CONVOLUTIONS}
        return
    # Small ones, such as the decode's fixed weights, stay as they are.
    assert counts[unpacked_by] >= 80
    assert counts[unpacked_by] + counts["const"] == CONVOLUTIONS
    for operation in (op for op in package.operations if op.type == unpacked_by):
        attributes = {name: value.type.tensorType for name, value in operation.attributes.items()}
        data_types = {
            name: coreml_package.DATA_TYPES.get(kind.dataType) for name, kind in attributes.items()
        }
        if precision == "int8-weights":
            assert data_types["quantized_data"] == "i8"
            assert data_types["scale"] == "f16"
            # One scale an output channel.
            (size,) = attributes["scale"].dimensions
            channels = attributes["quantized_data"].dimensions[0]
            assert size.constant.size == channels.constant.size
        else:
            assert data_types["indices"] == "u8"
            assert data_types["lut"] == "f16"
            assert attributes["lut"].dimensions[0].constant.size == 4


def test_fewer_bits_are_fewer_bytes(converted: Callable[[str], Package]) -> None:
    full = converted("fp32").bytes
    assert 0.45 < converted("fp16").bytes / full < 0.55
    assert 0.22 < converted("int8-weights").bytes / full < 0.3
    assert 0.05 < converted("palettized").bytes / full < 0.1


def test_stored_weights_are_the_models(detector: Any, converted: Callable[[str], Package]) -> None:
    ct = coreml_package.coremltools()
    optimize = pytest.importorskip("coremltools.optimize.coreml")
    path = converted("int8-weights").artifact.path
    with coreml_compress._silent():
        model = optimize.decompress_weights(ct.models.MLModel(str(path), skip_model_load=True))
        stored = optimize.get_weights_metadata(model, weight_threshold=512)
    weight = detector.model().model[1].conv.weight.detach().numpy()
    (name,) = [name for name in stored if name.startswith("model_1_conv_weight")]
    step = abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    assert stored[name].val.shape == weight.shape
    assert (abs(stored[name].val - weight) <= 0.52 * step + 1e-3 * abs(weight)).all()


def test_the_same_request_gives_the_same_bytes_for_all_to_read(
    small: Callable[..., Package],
) -> None:
    first, second = (small().artifact for _ in range(2))
    assert first.folder != second.folder
    files = [path.relative_to(first.folder) for path in coreml_package.files(first.path)]
    assert len(files) == 3
    for file in files:
        assert (first.folder / file).read_bytes() == (second.folder / file).read_bytes(), file
        assert (first.folder / file).stat().st_mode & 0o777 == 0o644


def test_a_one_to_one_head_keeps_its_rows(small: Callable[..., Package]) -> None:
    package = small("fp32", batch=2)
    facts = CoreMlBackend().describe(package.artifact.path)
    assert facts.output.layout == "detections"
    assert facts.input_shape == (2, 3, 64, 64)
    assert coreml_package.output_shapes(package.specification) == [(2, one_to_one.BEST, 6)]


def test_an_index_that_was_divided_can_gather(small: Callable[..., Package]) -> None:
    import torch

    class Divided(torch.nn.Module):
        """As ``Detect.get_topk_index`` finds the place of a chosen class."""

        def forward(self, images: Any) -> Any:
            places = images.flatten(2).permute(0, 2, 1)[:, :60]
            index = places.flatten(1).topk(20)[1]
            rows = places.gather(1, (index // 3)[..., None].expand(-1, -1, 3))
            return torch.cat([rows, rows], dim=-1)

    package = small("fp32", model=Divided().eval())
    (gather,) = [op for op in package.operations if op.type.startswith("gather")]
    made = {output.name: op for op in package.operations for output in op.outputs}
    indices = made[coreml_package.argument(gather, "indices")]
    assert indices.outputs[0].type.tensorType.dataType == 23  # int32


@pytest.mark.parametrize(("share", "sparse"), [(0.5, "auto"), (0.5, "never"), (0.1, "auto")])
def test_pruned_weights_are_stored_without_their_zeros(
    small: Callable[..., Package], share: float, sparse: str
) -> None:
    import torch

    network = one_to_one.network()
    with torch.no_grad():
        weight = network.conv.weight
        threshold = weight.abs().flatten().kthvalue(int(share * weight.numel())).values
        weight[weight.abs() <= threshold] = 0
    package = small(model=network, options={"sparse": sparse})
    stored = "constexpr_sparse_to_dense" if (share, sparse) == (0.5, "auto") else "const"
    assert package.weights == [stored]
    assert coreml_package.precision(package.specification) == "fp16"


def test_the_decode_stays_in_float_and_nothing_else(
    detector: Any, program: Callable[[str], tuple[Any, bool]]
) -> None:
    model = detector.model()
    converted, _ = program("float16")
    modules = [path for path, _ in model.named_modules()]
    floats = coreml_compress.float_operations(
        converted, modules, detector.request(Path()).float_nodes
    )
    types = {op.name: op.op_type for op in converted._mil_program.functions["main"].operations}
    kept = Counter(types[name] for name in floats)
    # The one convolution is the fixed one of the distribution focal loss; two additions join its
    # distances to the anchors.
    assert (kept["conv"], kept["add"], kept["sigmoid"], kept["silu"]) == (1, 2, 1, 0)
    assert set(floats) < set(types)
    with pytest.raises(base.ExportError, match="no operation of the Core ML program"):
        coreml_compress.float_operations(converted, modules, [r"/model\.99/.*"])


@pytest.mark.parametrize("damage", ["garbage", "empty", "truncated", "weights"])
def test_a_damaged_package_is_a_load_error(
    small: Callable[..., Package], tmp_path: Path, damage: str
) -> None:
    artifact = small().artifact
    folder = tmp_path / "damaged"
    shutil.copytree(artifact.folder, folder)
    damaged = base.Artifact(folder, artifact.entry)
    model = damaged.path / "Data/com.apple.CoreML/model.mlmodel"
    if damage == "weights":
        file = damaged.path / "Data/com.apple.CoreML/weights/weight.bin"
        file.write_bytes(file.read_bytes()[:-100])
    else:
        data = model.read_bytes()
        left = {"garbage": b"no model " * 99, "empty": b"", "truncated": data[: len(data) // 2]}
        model.write_bytes(left[damage])
    with pytest.raises(base.LoadError, match=artifact.entry):
        CoreMlBackend().load(damaged, load_options())


def load_options(**changes: Any) -> base.LoadOptions:
    plain = base.LoadOptions(device="all", precision="fp16", threads=1, input_shape=(1, 3, 64, 64))
    return dataclasses.replace(plain, **changes)


def test_load_tells_what_does_not_fit_and_then_that_it_needs_macos(
    small: Callable[..., Package], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    backend, artifact = CoreMlBackend(), small().artifact
    with pytest.raises(base.UnavailableError, match="predicting needs macOS"):
        backend.load(artifact, load_options())
    with pytest.raises(base.LoadError, match=r"\(1, 3, 64, 64\), not \(1, 3, 96, 96\)"):
        backend.load(artifact, load_options(input_shape=(1, 3, 96, 96)))
    with pytest.raises(base.UnsupportedError, match="wings"):
        backend.load(artifact, load_options(options={"wings": 2}))
    with pytest.raises(base.UnsupportedError, match="false or true"):
        backend.load(artifact, load_options(options={"fast_prediction": 1}))
    with pytest.raises(base.LoadError, match="there is no file"):
        backend.load(base.Artifact(tmp_path, "nothing.mlpackage"), load_options())


def image_input(package: Path, *, grayscale: bool = False) -> None:
    """Make a package take an image, as Ultralytics' do, and note what Ultralytics notes."""
    import coremltools as ct

    model = ct.models.MLModel(str(package), skip_model_load=True)
    specification = model.get_spec()
    feature = specification.description.input[0]
    colour = ct.proto.FeatureTypes_pb2.ImageFeatureType
    image = feature.type.imageType
    image.width = image.height = 64
    image.colorSpace = colour.GRAYSCALE if grayscale else colour.RGB
    notes = {"task": "detect", "stride": "16", "names": "{0: 'cat', 1: 'dog', 2: 'cow'}"}
    specification.description.metadata.userDefined.update(notes)
    ct.models.MLModel(specification, weights_dir=model.weights_dir, skip_model_load=True).save(
        str(package)
    )


def test_a_package_made_elsewhere_tells_its_image_and_its_names(
    small: Callable[..., Package],
) -> None:
    path = small().artifact.path
    image_input(path)
    facts = CoreMlBackend().describe(path)
    assert facts.input_shape == (1, 3, 64, 64)
    assert facts.names == ("cat", "dog", "cow")
    assert (facts.stride, facts.precision, facts.output.layout) == (16, "fp16", "detections")
    assert facts.artifact == base.Artifact(path.parent, path.name)
    assert f"{path.name}/Manifest.json" in facts.files
    image_input(path, grayscale=True)
    with pytest.raises(base.LoadError, match="not RGB"):
        CoreMlBackend().describe(path)


def test_options_are_explicit() -> None:
    resolve = CoreMlBackend().resolve_options
    assert resolve("fp16", {}) == {"target": "iOS17", "sparse": "auto"}
    assert resolve("palettized", {"bits": 4}) == {
        "target": "iOS17",
        "arithmetic": "float16",
        "bits": 4,
        "mode": "kmeans",
    }
    assert resolve("int8-weights", {})["mode"] == "linear_symmetric"


@pytest.mark.parametrize(
    ("precision", "given"),
    [
        ("fp16", {"wings": 2}),
        ("palettized", {"bits": 5}),
        # Quantized activations came with iOS 17.
        ("int8", {"target": "iOS16"}),
    ],
)
def test_other_options_are_refused(precision: str, given: dict[str, Any]) -> None:
    with pytest.raises(base.UnsupportedError, match=next(iter(given))):
        CoreMlBackend().resolve_options(precision, given)


def test_int8_needs_macos_to_calibrate(
    detector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    with pytest.raises(base.UnavailableError, match="needs macOS"):
        CoreMlBackend().export(detector.request(tmp_path, "int8"))
    with pytest.raises(base.UnsupportedError, match="bf16"):
        CoreMlBackend().export(detector.request(tmp_path, "bf16"))
    assert list(tmp_path.iterdir()) == []


def test_off_macos_everything_is_built_and_nothing_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(packages, "installed_version", lambda *names: "9.0")
    monkeypatch.setattr(packages, "missing", lambda names: ())
    probe = CoreMlBackend().probe()
    assert probe.can_export
    assert CoreMlBackend().portable
    assert set(probe.devices) == {"cpu", "all", "cpu+ne", "cpu+gpu"}
    for service in probe.services.values():
        assert (service.served, service.exists) == (False, True)
        assert service.reason == coreml.NEEDS_MACOS
        assert service.remedy
    assert not probe.service("all", "bf16").exists


@pytest.mark.parametrize(("machine", "served"), [("arm64", True), ("x86_64", False)])
def test_on_macos_a_neural_engine_is_where_apple_silicon_is(
    monkeypatch: pytest.MonkeyPatch, machine: str, *, served: bool
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(packages, "installed_version", lambda *names: "9.0")
    monkeypatch.setattr(packages, "missing", lambda names: ())
    probe = CoreMlBackend().probe()
    assert probe.devices[0] == "cpu"
    assert probe.service("all", "int8").served
    assert probe.service("cpu+ne", "fp16").served is served
    slow = probe.service("cpu+ne", "fp32")
    assert (slow.served and slow.native) is False
    assert slow.reason
