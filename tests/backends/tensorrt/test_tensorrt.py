"""TensorRT without a GPU: what is told and refused, and the API that the rest is written for."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from deploymark.backends import packages, tensorrt
from deploymark.backends.base import (
    Artifact,
    LoadError,
    LoadOptions,
    UnavailableError,
    UnsupportedError,
)
from deploymark.backends.hardware import accelerators
from deploymark.backends.tensorrt import TensorRtBackend
from deploymark.backends.tensorrt import engine as tensorrt_engine

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parents[3]

LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
"""What the bindings need of TensorRT's libraries to be imported; all classes are their own."""

MYPY = """
[mypy]
strict = true
warn_unused_ignores = false
[mypy-numpy.*,torch.*,onnx.*,onnxruntime.*]
follow_imports = skip
ignore_missing_imports = true
[mypy-tensorrt.*]
ignore_errors = true
[mypy-deploymark.*]
follow_imports = silent
"""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with type stubs of NVIDIA's own bindings, made by inspecting them.

    The wheel of bindings has no stubs and imports only where TensorRT's libraries are, so libraries
    of empty functions stand in for these.
    """
    compiler = shutil.which("cc")
    if importlib.util.find_spec("tensorrt_bindings") is None or sys.platform != "linux":
        pytest.skip("tensorrt-cu13-bindings is not installed")
    if compiler is None or importlib.util.find_spec("mypy") is None:
        pytest.skip("needs a C compiler and mypy")
    folder = tmp_path_factory.mktemp("stubs")
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    major = version("tensorrt-cu13-bindings").partition(".")[0]
    for library in LIBRARIES:
        name = f"lib{library}.so.{major}"
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", folder / name, source]
        subprocess.run(command, check=True)
    make = "import sys; from mypy.stubgen import main; main(sys.argv[1:])"
    arguments = ["--inspect-mode", "-m", "tensorrt_bindings.tensorrt", "-o", str(folder)]
    subprocess.run(
        [sys.executable, "-c", make, *arguments],
        check=True,
        capture_output=True,
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
    )
    text = (folder / "tensorrt_bindings/tensorrt.pyi").read_text()
    target = folder / "types/tensorrt/__init__.pyi"
    target.parent.mkdir(parents=True)
    target.write_text(repaired(text.replace("tensorrt_bindings.tensorrt.", "")))
    return target.parent.parent


def repaired(text: str) -> str:
    """The stubs with what inspection cannot see or writes wrongly."""
    # Both speak protocols that leave no trace in a signature: of sequences and of buffers.
    protocols = {
        "class Dims:": "    def __iter__(self) -> typing.Iterator[int]: ...",
        "class IHostMemory:": "    def __buffer__(self, flags: int, /) -> memoryview: ...",
    }
    for line, method in protocols.items():
        assert f"\n{line}\n" in text
        text = text.replace(f"\n{line}\n", f"\n{line}\n{method}\n")
    lines = text.splitlines()
    for _ in range(20):
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as error:  # arguments without a default behind one with it
            index = (error.lineno or 1) - 1
            whole = r"\1(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ..."
            lines[index] = re.sub(r"(def \w+)\(.*", whole, lines[index])
        else:
            return "\n".join(lines) + "\n"
    raise AssertionError("the stubs cannot be parsed")


def check_types(stubs: Path, *files: Path) -> str:
    configuration = stubs / "mypy.ini"
    configuration.write_text(MYPY)
    arguments = ["--no-error-summary", "--cache-dir", str(stubs / "cache"), *map(str, files)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", configuration, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(stubs)},
    )
    assert not done.stderr
    return done.stdout


def test_what_is_called_exists_in_nvidias_bindings_as_it_is_called(
    stubs: Path, tmp_path: Path
) -> None:
    # As it is installed: the folders of the repository below one name.
    package = stubs / "deploymark"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    (package / "backends").symlink_to(ROOT / "backends")
    ours = package / "backends" / "tensorrt"
    assert not check_types(stubs, ours / "__init__.py", ours / "engine.py")
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "import tensorrt as trt\n"
        "def f(config: trt.IBuilderConfig, context: trt.IExecutionContext) -> None:\n"
        "    config.set_flag(trt.BuilderFlag.FP16)\n"
        "    context.execute_async_v3('stream')\n"
    )
    found = check_types(stubs, wrong)
    assert "FP16" in found
    assert "execute_async_v3" in found


def load_options(**given: Any) -> LoadOptions:
    return LoadOptions("cuda", "fp16", 1, (1, 3, 64, 64), given)


@pytest.mark.parametrize(
    ("found", "reason"),
    [((), "not installed"), (("tensorrt_bindings",), "only TensorRT's bindings are installed")],
)
def test_bindings_alone_are_not_tensorrt(
    monkeypatch: pytest.MonkeyPatch, found: tuple[str, ...], reason: str
) -> None:
    monkeypatch.setattr(
        packages, "missing", lambda names: tuple(name for name in names if name not in found)
    )
    probe = TensorRtBackend().probe()
    assert not probe.installed
    assert reason in probe.reason
    assert "pip install tensorrt" in probe.remedy


def test_what_is_served_is_told_from_device_files(tmp_path: Path) -> None:
    assert not any(service.served for service in tensorrt.services(tmp_path).values())
    (tmp_path / "dev").mkdir()
    for name in ("nvidiactl", "nvhost-ctrl-nvdla0"):
        (tmp_path / "dev" / name).touch()
    found = tensorrt.services(tmp_path)
    assert {key for key, service in found.items() if service.served} == {
        *(("cuda", precision) for precision in ("fp32", "fp16", "bf16", "int8", "int8-qat")),
        ("dla", "fp16"),
        ("dla", "int8"),
        ("dla", "int8-qat"),
    }
    assert not found["dla", "fp32"].exists
    assert found["dla", "fp32"].reason


def test_an_engine_is_made_for_one_gpu(tmp_path: Path) -> None:
    assert tensorrt_engine.gpu_model(tmp_path) == ""
    tree = tmp_path / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(b"NVIDIA Jetson AGX Orin Developer Kit\0")
    assert tensorrt_engine.gpu_model(tmp_path) == "NVIDIA Jetson AGX Orin Developer Kit"
    gpu = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0"
    gpu.mkdir(parents=True)
    (gpu / "information").write_text("Model: \t\t NVIDIA L4\nIRQ:   \t\t 97\n")
    assert tensorrt_engine.gpu_model(tmp_path) == "NVIDIA L4"
    assert TensorRtBackend().resolve_options("fp16", {"gpu": "NVIDIA L4"})["gpu"] == "NVIDIA L4"


def test_ultralytics_header_is_read_and_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    header = json.dumps({"task": "detect", "stride": 32, "names": {"0": "cat", "1": "dog"}})
    plan = b"ftrt" + bytes(100)
    path.write_bytes(len(header).to_bytes(4, "little") + header.encode() + plan)
    found, metadata = tensorrt_engine.read_plan(path)
    assert found == plan
    assert metadata.names == ("cat", "dog")
    path.write_bytes(plan)
    assert tensorrt_engine.read_plan(path)[0] == plan
    path.write_bytes(b"")
    with pytest.raises(LoadError, match=r"model\.engine holds no engine"):
        tensorrt_engine.read_plan(path)


def test_load_and_export_say_what_is_missing(
    detector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = TensorRtBackend()
    with pytest.raises(LoadError, match="there is no file"):
        backend.load(Artifact(tmp_path, "nothing.engine"), load_options())
    with pytest.raises(UnsupportedError, match="wings"):
        backend.load(Artifact(tmp_path, "nothing.engine"), load_options(wings=2))
    with pytest.raises(UnsupportedError, match="dla_core is 0 or 1"):
        backend.load(Artifact(tmp_path, "nothing.engine"), load_options(dla_core=2))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    (tmp_path / "model.engine").write_bytes(b"ftrt" + bytes(100))
    for attempt in (
        lambda: backend.load(Artifact(tmp_path, "model.engine"), load_options()),
        lambda: backend.describe(tmp_path / "model.engine"),
        lambda: backend.export(detector.request(tmp_path / "out", "fp16")),
    ):
        with pytest.raises(UnavailableError, match="tensorrt cannot be imported"):
            attempt()
    with pytest.raises(UnsupportedError, match="int4"):
        backend.export(detector.request(tmp_path / "out", "int4"))
    with pytest.raises(UnsupportedError, match="DLA"):
        backend.export(detector.request(tmp_path / "out", "fp32", device="dla"))
    monkeypatch.setitem(sys.modules, "tensorrt", sys)
    monkeypatch.setattr(accelerators, "has_nvidia_gpu", lambda: False)
    with pytest.raises(UnavailableError, match="no NVIDIA driver is loaded"):
        backend.export(detector.request(tmp_path / "out", "fp16"))
    assert list((tmp_path / "out").iterdir()) == []
