"""What every backend must do, tried on each one that is installed, at each precision it serves.

On those shipped, on the example of docs/adding-a-backend.md, and on those of third parties that
this interpreter finds.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from deploymark.backends import base, registry
from deploymark.bench.score.executed import convolutions
from tests.backends.contract_cells import (
    BACKENDS,
    CELLS,
    EXPORTERS,
    FINDS_PLUGINS,
    PRECISIONS,
    PROBES,
    REFUSED,
    SPECS,
)
from tests.backends.contract_launch import LAUNCH, Launch
from tests.backends.traits import Traits, traits_of

pytestmark = pytest.mark.heavy

LARGEST_ERRORS: dict[str, tuple[float, float]] = {
    "fp32": (2e-3, 1e-4),
    "fp16": (1, 0.01),
    "bf16": (5, 0.05),
    "int8": (30, 0.4),
    "int8-dynamic": (30, 0.4),
    "int8-weights": (10, 0.2),
    "palettized": (20, 0.3),
}
"""Largest error of a box (pixels; boxes are up to 480 wide) and of a score, by precision."""

MEAN_ERRORS: dict[str, tuple[float, float]] = {
    "fp32": (1e-4, 1e-5),
    "fp16": (0.1, 2e-3),
    "bf16": (0.5, 0.01),
    "int8": (2, 0.06),
    "int8-dynamic": (2, 0.06),
    "int8-weights": (1, 0.02),
    "palettized": (2, 0.05),
}
"""Mean errors alike."""

SIZES = {"fp16": 0.6, "int8": 0.45, "int8-dynamic": 0.45, "int8-weights": 0.45}
"""Largest share of the FP32 artifact's size, by precision."""


@pytest.fixture(scope="session")
def exported(
    detector: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., base.Artifact]:
    """Artifacts of the small detector, each exported once."""
    done: dict[tuple[str, str, int], base.Artifact] = {}

    def export(name: str, precision: str = "fp32", batch: int = 1) -> base.Artifact:
        key = (name, precision, batch)
        if key not in done:
            folder = tmp_path_factory.mktemp("-".join(map(str, key)))
            done[key] = BACKENDS[name].export(detector.request(folder, precision, batch))
        return done[key]

    return export


@pytest.fixture(scope="session")
def launched(
    detector: Any,
    exported: Callable[..., base.Artifact],
    fresh_python: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Launch]:
    """Load and infer in a fresh process, as a worker does; each once."""
    done: dict[tuple[str, str, int, int], Launch] = {}

    def launch(name: str, precision: str = "fp32", batch: int = 1, threads: int = 1) -> Launch:
        key = (name, precision, batch, threads)
        if key in done:
            return done[key]
        scratch = tmp_path_factory.mktemp("launch")
        temporary = scratch / "tmp"
        temporary.mkdir()
        np.save(scratch / "images.npy", detector.images[:batch])
        artifact = exported(name, precision, batch)
        job = {
            "backend": SPECS[name],
            "precision": precision,
            "threads": threads,
            "folder": str(artifact.folder),
            "entry": artifact.entry,
            "images": str(scratch / "images.npy"),
            "output": str(scratch / "output.npz"),
        }
        printed = fresh_python(
            LAUNCH, json.dumps(job), environment={**FINDS_PLUGINS, "TMPDIR": str(temporary)}
        )
        arrays = np.load(scratch / "output.npz")
        facts = json.loads(printed.splitlines()[-1])
        facts["left_in_tmp"] = [path.name for path in temporary.iterdir()]
        done[key] = Launch(arrays["first"], arrays["again"], arrays["after"], facts)
        return done[key]

    return launch


def files(folder: Path) -> list[Path]:
    """All files of an artifact, in order; some formats are folders."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def options(**changes: Any) -> base.LoadOptions:
    plain = base.LoadOptions(device="cpu", precision="fp32", threads=1, input_shape=(1, 3, 64, 64))
    return dataclasses.replace(plain, **changes)


def assert_close(
    found: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    precision: str,
    traits: Traits,
) -> None:
    assert found.shape == expected.shape
    error = np.abs(found - expected)
    parts = (error[:, :4], error[:, 4:])
    limits = {**LARGEST_ERRORS, **traits.largest}, {**MEAN_ERRORS, **traits.mean}
    for part, largest, mean in zip(parts, *(limit[precision] for limit in limits), strict=True):
        assert part.max() <= largest
        assert part.mean() <= mean


def test_the_detector_tells_anchors_apart(detector: Any) -> None:
    # Otherwise closeness would prove nothing.
    boxes, scores = detector.expected[:, :4], detector.expected[:, 4:]
    assert scores.std() > 0.15
    assert boxes[:, 2:].std() > 2
    assert np.abs(detector.expected[0] - detector.expected[1]).mean() > 0.1


def test_every_backend_resolves() -> None:
    assert {*registry.BUILTIN, "pocket"} <= set(BACKENDS)
    assert all(isinstance(backend, base.Backend) for backend in BACKENDS.values())
    assert all(backend.name == name for name, backend in BACKENDS.items())


def test_a_probe_imports_no_runtime(fresh_python: Callable[..., str]) -> None:
    printed = fresh_python(
        "import json, sys\n"
        "from deploymark.backends.registry import resolve\n"
        "assert [resolve(spec).probe() for spec in sys.argv[1:]]\n"
        "print(json.dumps([name for name, module in sys.modules.items() if module is not None]))",
        *SPECS.values(),
        environment=FINDS_PLUGINS,
    )
    runtimes = {name for backend in BACKENDS.values() for name in backend.runtime_modules}
    heavy = {"torch", "onnx", "nncf", "ultralytics", "numpy", *runtimes}
    assert heavy.isdisjoint(json.loads(printed))


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_probe_tells_version_devices_and_reasons(name: str) -> None:
    probe = PROBES[name]
    assert probe.version
    assert probe.devices[0] == "cpu"
    for service in probe.services.values():
        assert service.reason or (service.served and service.native)
    assert BACKENDS[name].runtime_modules


@pytest.mark.parametrize(
    ("name", "precision", "batch"),
    [
        (name, precision, batch)
        for name, precision in CELLS
        for batch in (1, 2)
        if batch == 1 or precision == PRECISIONS[name][0] or not traits_of(name).slow_export
    ],
)
def test_predictions_are_those_of_the_model(
    name: str, precision: str, batch: int, detector: Any, launched: Callable[..., Launch]
) -> None:
    launch = launched(name, precision, batch)
    assert launch.facts["dtype"] == "float32"
    assert_close(launch.first, detector.expected[:batch], precision, traits_of(name))
    assert_close(launch.again, detector.expected[:batch][::-1], precision, traits_of(name))
    np.testing.assert_array_equal(launch.first, launch.after)


@pytest.mark.parametrize(("name", "precision"), CELLS)
def test_infer_refuses_other_shapes_and_types(
    name: str, precision: str, launched: Callable[..., Launch]
) -> None:
    assert len(launched(name, precision).facts["refused"]) == 3


@pytest.mark.parametrize(("name", "precision"), CELLS)
def test_a_session_leaves_no_file_behind(
    name: str, precision: str, launched: Callable[..., Launch]
) -> None:
    assert launched(name, precision).facts["left_in_tmp"] == []


@pytest.mark.parametrize(("name", "precision"), CELLS)
def test_a_worker_imports_its_runtime_and_no_framework(
    name: str, precision: str, launched: Callable[..., Launch]
) -> None:
    modules = set(launched(name, precision).facts["modules"])
    assert modules.isdisjoint(traits_of(name).not_imported)
    assert modules.issuperset(BACKENDS[name].runtime_modules)


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
@pytest.mark.parametrize("name", EXPORTERS)
def test_threads_are_as_many_as_asked(name: str, launched: Callable[..., Launch]) -> None:
    wanted = traits_of(name).tasks_a_thread
    if wanted is None:
        pytest.skip("its pool does not show in the number of threads")
    one = launched(name, PRECISIONS[name][0], threads=1).facts["tasks"]
    two = launched(name, PRECISIONS[name][0], threads=2).facts["tasks"]
    assert two - one == wanted


EXPECTED_TYPES = {
    "fp32": {"f32"},
    "fp16": {"f16"},
    "bf16": {"bf16"},
    "int8": {"i8", "u8"},
    "int8-dynamic": {"i8", "u8"},
    # Weights are widened before they are used.
    "int8-weights": {"f32", "f16", "i8", "u8"},
    "palettized": {"f32", "f16"},
}
"""What convolutions of a precision compute in where the hardware does not emulate it."""


@pytest.mark.parametrize(("name", "precision"), CELLS)
def test_the_runtime_tells_what_it_ran(
    name: str, precision: str, launched: Callable[..., Launch]
) -> None:
    facts = launched(name, precision).facts
    wanted = traits_of(name).convolutions
    if wanted is None:
        assert facts["reason"] or facts["layers"]
        return
    found = convolutions(facts["layers"])
    assert facts["source"]
    assert sum(found.values()) == wanted
    expected = EXPECTED_TYPES[precision]
    if not PROBES[name].service("cpu", precision).native:
        expected = expected | {"f32"}
    assert sum(found.get(data_type, 0) for data_type in expected) >= 0.9 * wanted
    if precision == "fp32":
        assert set(found) == {"f32"}


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_same_request_gives_the_same_bytes(
    name: str, detector: Any, exported: Callable[..., base.Artifact], tmp_path: Path
) -> None:
    first = exported(name, PRECISIONS[name][0])
    names = [path.relative_to(first.folder) for path in files(first.folder)]
    if {file.name for file in names} <= set(traits_of(name).varying):
        pytest.skip("each of its files holds something that varies")
    second = BACKENDS[name].export(detector.request(tmp_path, PRECISIONS[name][0]))
    assert names == [path.relative_to(second.folder) for path in files(second.folder)]
    for file in (file for file in names if file.name not in traits_of(name).varying):
        assert (first.folder / file).read_bytes() == (second.folder / file).read_bytes(), file


@pytest.mark.parametrize("name", EXPORTERS)
def test_fewer_bits_are_fewer_bytes(name: str, exported: Callable[..., base.Artifact]) -> None:
    def size(precision: str) -> int:
        return sum(path.stat().st_size for path in files(exported(name, precision).folder))

    largest = {**SIZES, **traits_of(name).sizes}
    for precision in PRECISIONS[name]:
        assert size(precision) <= largest.get(precision, 1) * size("fp32"), precision


@pytest.mark.parametrize("name", EXPORTERS)
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_artifact_is_a_load_error(
    name: str, damage: str, exported: Callable[..., base.Artifact], tmp_path: Path
) -> None:
    folder = tmp_path / "artifact"
    whole = exported(name)
    shutil.copytree(whole.folder, folder)
    damaged = base.Artifact(folder, whole.entry)
    target = damaged.path if damaged.path.is_file() else files(damaged.path)[0]
    data = target.read_bytes()
    left = {"truncated": data[: len(data) // 2], "garbage": b"no model " * 999, "empty": b""}
    target.write_bytes(left[damage])
    with pytest.raises(base.LoadError, match=whole.entry):
        BACKENDS[name].load(damaged, options())


@pytest.mark.parametrize("name", EXPORTERS)
def test_cut_off_weights_are_a_load_error(
    name: str, exported: Callable[..., base.Artifact], tmp_path: Path
) -> None:
    whole = exported(name)
    weights = max(files(whole.folder), key=lambda path: path.stat().st_size)
    folder = tmp_path / "artifact"
    shutil.copytree(whole.folder, folder)
    cut = folder / weights.relative_to(whole.folder)
    cut.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(base.LoadError):
        BACKENDS[name].load(base.Artifact(folder, whole.entry), options())


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_missing_artifact_is_a_load_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(base.LoadError, match="there is no file"):
        BACKENDS[name].load(base.Artifact(tmp_path, "nothing.here"), options())


@pytest.mark.parametrize("name", EXPORTERS)
def test_another_input_shape_is_a_load_error(
    name: str, exported: Callable[..., base.Artifact]
) -> None:
    with pytest.raises(base.LoadError, match=r"\(1, 3, 64, 64\), not \(1, 3, 96, 96\)"):
        BACKENDS[name].load(exported(name), options(input_shape=(1, 3, 96, 96)))


@pytest.mark.parametrize("name", EXPORTERS)
def test_unknown_options_are_refused(name: str, exported: Callable[..., base.Artifact]) -> None:
    with pytest.raises(base.UnsupportedError, match="wings"):
        BACKENDS[name].load(exported(name), options(options={"wings": 2}))
    with pytest.raises(base.UnsupportedError, match="wings"):
        BACKENDS[name].resolve_options("fp32", {"wings": 2})
    with pytest.raises(base.UnsupportedError, match="wings"):
        BACKENDS[name].resolve_options("int8", {"wings": 2})


@pytest.mark.parametrize("name", EXPORTERS)
def test_an_unknown_precision_is_unsupported(name: str, detector: Any, tmp_path: Path) -> None:
    with pytest.raises(base.UnsupportedError):
        BACKENDS[name].export(detector.request(tmp_path, "int4"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "precision"), REFUSED)
def test_what_the_model_cannot_have_is_unsupported_and_told_why(
    name: str, precision: str, detector: Any, tmp_path: Path
) -> None:
    with pytest.raises(base.UnsupportedError, match=r"\d+ of \d+"):
        BACKENDS[name].export(detector.request(tmp_path, precision))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in EXPORTERS if "int8" in PRECISIONS[name]])
def test_int8_without_calibration_images_is_an_export_error(
    name: str, detector: Any, tmp_path: Path
) -> None:
    with pytest.raises(base.ExportError, match="calibration images"):
        BACKENDS[name].export(detector.request(tmp_path, "int8", calibration=None))


@pytest.mark.parametrize("name", EXPORTERS)
def test_a_model_that_fails_or_returns_no_tensor_is_an_export_error(
    name: str, detector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    class Fails(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            raise ValueError("no such layer")

    class Pair(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x, x

    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for model, reason in ((Fails, "no such layer"), (Pair, "tuple")):
        with pytest.raises(base.ExportError, match=reason):
            BACKENDS[name].export(detector.request(tmp_path / "out", model=model))
    assert list(temporary.iterdir()) == []
