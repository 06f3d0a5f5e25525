from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploymark.backends import packages, registry, telemetry
from deploymark.backends.base import QAT_PRECISION
from tests.backends.traits import TRAITS, Traits

GUARDED = """
import json, os, socket, subprocess, sys
from pathlib import Path

ATTEMPTS = Path.cwd() / "attempts"
INSTALLERS = {"pip", "pip3", "uv", "conda", "apt", "apt-get", "curl", "wget"}

def refuse(*arguments, **named):
    with ATTEMPTS.open("a") as stream:  # a file, as senders work in processes of their own
        stream.write(repr(arguments))
    raise OSError("no network in this test")

start = subprocess.Popen.__init__

def start_no_installer(self, args, *rest, **named):
    words = args.split() if isinstance(args, str) else [str(word) for word in args]
    if INSTALLERS & {Path(word).name for word in words}:
        refuse(words)
    start(self, args, *rest, **named)

subprocess.Popen.__init__ = start_no_installer
socket.socket.connect = refuse
socket.socket.connect_ex = refuse
socket.getaddrinfo = refuse
socket.create_connection = refuse
"""

EXPORT_AND_LOAD = """
import numpy as np, torch
from pathlib import Path
from deploymark.backends.base import Detector, ExportRequest, LoadOptions, Size
from deploymark.backends.registry import BUILTIN, resolve

def model():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.SiLU(), torch.nn.Conv2d(8, 6, 3, 2, 1)]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(2)).eval()

images = [np.random.default_rng(seed).random((1, 3, 32, 32), np.float32) for seed in range(4)]
name, precision, device = sys.argv[1:]
backend = resolve(BUILTIN[name])
folder = Path.cwd() / name
folder.mkdir()
artifact = backend.export(ExportRequest(
    model=model, detector=Detector(names=("a", "b")), precision=precision, device=device,
    imgsz=Size.of(32),
    batch=1, folder=folder, calibration=lambda: images,
    options=backend.resolve_options(precision, {}),
))
if backend.probe().service(device, precision).served:
    session = backend.load(artifact, LoadOptions(device, precision, 1, (1, 3, 32, 32)))
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


def most_quantized(name: str) -> tuple[str, str]:
    """The last precision that a backend exports here, and its device: quantizers talk most."""
    backend = registry.resolve(registry.BUILTIN[name])
    probe = backend.probe()
    if not (probe.installed and probe.can_export):
        pytest.skip(f"{name} exports nothing here: {probe.reason}")
    able = [
        (precision, device)
        for (device, precision), service in probe.services.items()
        if (service.served or (backend.portable and service.exists))
        and precision not in TRAITS.get(name, Traits()).refused
        and not (precision == "int8" and not service.served)
        and precision != QAT_PRECISION  # of a model that was trained for it
    ]
    if not able:
        pytest.skip(f"{name} serves nothing here")
    return able[-1]


@pytest.mark.heavy
@pytest.mark.parametrize("name", sorted(registry.BUILTIN))
def test_export_and_load_call_nobody_and_install_nothing(
    name: str,
    fresh_python: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch")
    precision, device = most_quantized(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    printed = fresh_python(
        GUARDED + EXPORT_AND_LOAD + REPORT,
        *(name, precision, device),
        environment=home_of(tmp_path),
    )
    assert printed.splitlines()[-1] == "false"
    assert not (tmp_path / "attempts").exists(), (tmp_path / "attempts").read_text("utf-8")
    assert files_of(("microsoft", "onnxruntime", "intel", "deviceid"), tmp_path / "home") == []
    assert {path.name for path in tmp_path.iterdir()} == {"home", name}


@pytest.mark.heavy
def test_the_guard_would_catch_an_installer(
    fresh_python: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "subprocess.run([sys.executable, '-m', 'pip', '--version'])"
    fresh_python(
        GUARDED + "try:\n    " + code + "\nexcept OSError:\n    pass\n",
        environment=home_of(tmp_path),
    )
    assert "pip" in (tmp_path / "attempts").read_text(encoding="utf-8")


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
