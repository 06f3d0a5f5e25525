"""Fixtures that tests of every folder share, and a process kept away from the user's own files."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[1]

COCO_MINI_VARIABLE = "DEPLOYMARK_COCO_MINI"

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


@pytest.fixture(scope="session")
def shared_cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One artifact store for the whole session."""
    return tmp_path_factory.mktemp("shared-cache")


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
def digits() -> Path:
    """The embedded digits detector: ``data.yaml``, images, labels and weights."""
    return ROOT / "bench" / "assets" / "digits"


@pytest.fixture(scope="session")
def coco_mini() -> Path:
    """A COCO detector with 100 photos, labels and ``data.yaml``; skips where there is none."""
    folder = os.environ.get(COCO_MINI_VARIABLE, "")
    if not folder:
        pytest.skip(f"{COCO_MINI_VARIABLE} names no folder")
    path = Path(folder)
    # Naming a folder that is not there is a mistake to be seen, not a reason to skip.
    assert (path / "data.yaml").is_file(), f"{COCO_MINI_VARIABLE}={folder} has no data.yaml"
    return path
