from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backends import packages, telemetry

GUARDED = """
import json, os, socket, sys
from pathlib import Path

ATTEMPTS = Path.cwd() / "attempts"

def refuse(*arguments, **named):
    with ATTEMPTS.open("a") as stream:  # a file, as senders work in processes of their own
        stream.write(repr(arguments))
    raise OSError("no network in this test")

socket.socket.connect = refuse
socket.socket.connect_ex = refuse
socket.getaddrinfo = refuse
socket.create_connection = refuse
"""

EXPORT_AND_LOAD = """
import numpy as np, torch
from pathlib import Path
from backends.base import Detector, ExportRequest, LoadOptions
from backends.registry import BUILTIN, resolve

def model():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.SiLU(), torch.nn.Conv2d(8, 6, 3, 2, 1)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(2)).eval()

images = [np.random.default_rng(seed).random((1, 3, 32, 32), np.float32) for seed in range(4)]
for name in sys.argv[1:]:
    backend = resolve(BUILTIN[name])
    folder = Path.cwd() / name
    folder.mkdir()
    artifact = backend.export(ExportRequest(
        model=model, detector=Detector(names=("a",)), precision="int8", device="cpu", imgsz=32,
        batch=1, folder=folder, calibration=lambda: images,
    ))
    session = backend.load(artifact, LoadOptions("cpu", "int8", 1, (1, 3, 32, 32)))
    assert session.infer(images[0]).shape == (1, 6, 64)
"""

REPORT = """
import multiprocessing, time
time.sleep(0.5)
for sender in multiprocessing.active_children():
    sender.join(5)
print(json.dumps(sys.modules.get("openvino_telemetry") is not None))
"""


def home_of(folder: Path) -> dict[str, str]:
    """An environment whose user folders are empty ones, and that is no CI's."""
    home = folder / "home"
    home.mkdir()
    names = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR", "LOCALAPPDATA", "APPDATA")
    # A CI switches some telemetry off by itself; here that must be our doing.
    return {
        **dict.fromkeys(names, str(home)),
        "CI": "",
        "TF_BUILD": "",
        "GITHUB_ACTIONS": "",
        "YOLO_CONFIG_DIR": str(home),
    }


def files_of(vendors: tuple[str, ...], folder: Path) -> list[str]:
    """Files below ``folder`` with a vendor's name in their path."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return [path for path in found if any(vendor in path.lower() for vendor in vendors)]


def test_silence_is_seen_by_children_and_hides_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    telemetry.silence()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    with pytest.raises(ImportError):
        import openvino_telemetry  # noqa: F401


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_int8_export_and_load_call_nobody(
    name: str,
    fresh_python: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip({"onnxruntime": "onnxruntime", "openvino": "nncf"}[name])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    printed = fresh_python(GUARDED + EXPORT_AND_LOAD + REPORT, name, environment=home_of(tmp_path))
    assert printed.splitlines()[-1] == "false"
    assert not (tmp_path / "attempts").exists()
    assert files_of(("microsoft", "onnxruntime", "intel", "deviceid"), tmp_path / "home") == []


@pytest.mark.heavy
def test_the_guard_would_catch_openvino(
    fresh_python: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if None in {packages.installed_version(name) for name in ("openvino", "openvino-telemetry")}:
        pytest.skip("openvino or its telemetry is not installed")
    monkeypatch.chdir(tmp_path)
    printed = fresh_python(GUARDED + "import openvino\n" + REPORT, environment=home_of(tmp_path))
    assert printed.splitlines()[-1] == "true"
    assert (tmp_path / "attempts").read_text(encoding="utf-8")
