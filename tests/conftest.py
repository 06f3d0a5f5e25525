"""Fixtures that tests of every folder share, and a process kept away from the user's own files."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import ROOT, build_wheel

pytest_plugins = ["pytester"]

COCO_MINI_VARIABLE = "DEPLOYMARK_COCO_MINI"
CASES_VARIABLE = "DEPLOYMARK_CASES"

# Absent where cells are run as tests from a checkout: that environment has no group `tests`.
with contextlib.suppress(ModuleNotFoundError):
    from hypothesis import settings

    # The same examples every time, none judged by the clock: test machines are slow and shared.
    settings.register_profile("deploymark", deadline=None, derandomize=True, max_examples=50)
    settings.load_profile("deploymark")


def pytest_configure(config: pytest.Config) -> None:
    """Keep Ultralytics, where a test imports it, off the network and off the user's settings."""
    settings = tempfile.TemporaryDirectory(prefix="ultralytics-")
    config.add_cleanup(settings.cleanup)
    os.environ["YOLO_CONFIG_DIR"] = settings.name
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_OFFLINE"] = "1"
    # Two pools of spinning threads on two cores would slow every heavy test down many times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what runs two at a time, and what one process runs so that fixtures serve it all.

    The tests of a file go together, those of the contract by backend: they take the same artifacts.
    """
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker("alone")
        if item.get_closest_marker("xdist_group"):
            continue
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        part = parameters.get("name", "") if item.path.name == "test_contract.py" else ""
        item.add_marker(pytest.mark.xdist_group(f"{item.path}-{part}"))


@pytest.fixture(scope="session")
def shared_cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One artifact store for the whole session, shared by its processes where there are several."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / "shared-cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_session_cache(shared_cache_dir: Path) -> Iterator[None]:
    """Keep fixtures that outlive a test away from the user's artifacts, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEPLOYMARK_CACHE", str(shared_cache_dir))
        yield


@pytest.fixture(autouse=True)
def _own_cache(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Start every test with an empty artifact store, unless it takes ``shared_cache``."""
    if "shared_cache" not in request.fixturenames:
        monkeypatch.setenv("DEPLOYMARK_CACHE", str(tmp_path / "deploymark-cache"))


@pytest.fixture
def shared_cache(shared_cache_dir: Path) -> Path:
    """The store of the whole session: what one test built, the next one finds."""
    return shared_cache_dir


@pytest.fixture(scope="session")
def wheel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def digits() -> Path:
    """The embedded digits detector: ``data.yaml``, images, labels and weights."""
    return ROOT / "bench" / "assets" / "digits"


def _folder_of(variable: str, holds: str) -> Path:
    """The folder that a variable names, which ``holds`` something; skips where it is unset."""
    folder = os.environ.get(variable, "")
    if not folder:
        pytest.skip(f"{variable} names no folder")
    # Naming a folder that is not there is a mistake to be seen, not a reason to skip.
    assert (Path(folder) / holds).exists(), f"{variable}={folder} has no {holds}"
    return Path(folder)


@pytest.fixture(scope="session")
def coco_mini() -> Path:
    """A COCO detector with 100 photos, labels and ``data.yaml``; skips where there is none."""
    return _folder_of(COCO_MINI_VARIABLE, "data.yaml")


@pytest.fixture(scope="session")
def cases() -> Path:
    """Small inputs that once went wrong, ``data`` among them; skips where there are none."""
    return _folder_of(CASES_VARIABLE, "data")
