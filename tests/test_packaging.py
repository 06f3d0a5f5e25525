"""What is shipped: the wheel, its metadata, the constraints, and nothing of this machine."""

from __future__ import annotations

import email
import importlib.metadata
import re
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import deploymark
from deploymark.backends import registry
from tests.checkout import ROOT, files_of_git

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
SHIPPED = ("backends", "bench", "matrices", "reports")

INDEX_ADDRESS = re.compile(
    rb"pypi\.|pythonhosted|download\.pytorch|--(extra-)?index(-url)?[ =]|--find-links[ =]|file://"
)
MACHINE_PATH = re.compile(rb"(?<![\w.$}])/(?:root|work|home|Users|mnt)/[A-Za-z]")
TELLING = (b"pypi.", b"pythonhosted", b"download.pytorch", b"--", b"file:")
FOLDERS = (b"/root/", b"/work/", b"/home/", b"/Users/", b"/mnt/")
"""What the patterns hold for sure: looked for first, as weights are megabytes."""


def direct_requirements() -> list[Requirement]:
    """Every requirement that pyproject.toml names, but for the extras' on one another."""
    project = PYPROJECT["project"]
    lines = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        lines += extra
    for group in PYPROJECT["dependency-groups"].values():
        lines += group
    return [found for line in lines if (found := Requirement(line)).name != project["name"]]


def pins() -> list[Requirement]:
    """The lines of constraints.txt, without the comments."""
    return [
        Requirement(line) for line in CONSTRAINTS.splitlines() if line and not line.startswith(" ")
    ]


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_file)


def metadata_file(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = [path for path in wheel.namelist() if path.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def test_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    paths = [path.relative_to(ROOT) for path in files_of_git()]
    wanted = {f"deploymark/{path.as_posix()}" for path in paths if path.parts[0] in SHIPPED}
    wanted |= {path.as_posix() for path in paths if path.parts[0] == "deploymark"}
    assert wanted - set(wheel.namelist()) == set()
    for needed in (
        "deploymark/bench/assets/digits/data.yaml",
        "deploymark/bench/assets/digits/digits.pt",
        "deploymark/bench/cli/main.py",
        "deploymark/bench/pytest_plugin/plugin.py",
        "deploymark/bench/pytest_plugin/test_cells.py",
        "deploymark/bench/pytest_plugin/pytest.ini",
        "deploymark/matrices/default.yaml",
        "deploymark/py.typed",
        "deploymark/matrices/yolo11.yaml",
        "deploymark/matrices/matrix.schema.json",
    ):
        assert needed in wheel.namelist()
    for folder, suffix in (
        ("deploymark/bench/assets/digits/", ".jpg"),
        ("deploymark/bench/assets/digits/", ".txt"),
        ("deploymark/reports/page/templates/", ""),
    ):
        found = [
            name for name in wheel.namelist() if name.startswith(folder) and name.endswith(suffix)
        ]
        assert found, f"no {folder}*{suffix}"


def test_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    others = {
        name
        for name in wheel.namelist()
        if name.partition("/")[0] != "deploymark" and ".dist-info/" not in name
    }
    assert not others
    assert not [name for name in wheel.namelist() if "__pycache__" in name]


def test_wheel_carries_the_licence(wheel: zipfile.ZipFile) -> None:
    metadata = email.message_from_string(metadata_file(wheel, "METADATA"))
    assert metadata["License-Expression"] == "AGPL-3.0-only"
    shipped = metadata_file(wheel, "licenses/LICENSE")
    assert shipped.split()[:6] == ["GNU", "AFFERO", "GENERAL", "PUBLIC", "LICENSE", "Version"]


def test_wheel_has_the_version_of_the_source(wheel: zipfile.ZipFile) -> None:
    metadata = email.message_from_string(metadata_file(wheel, "METADATA"))
    assert metadata["Name"] == "deploymark"
    assert metadata["Version"] == deploymark.__version__


def test_wheel_declares_its_entry_points(wheel: zipfile.ZipFile) -> None:
    lines = metadata_file(wheel, "entry_points.txt").splitlines()
    assert "deploymark = deploymark.bench.cli.main:main" in lines
    assert "deploymark = deploymark.bench.pytest_plugin.plugin" in lines
    assert "[pytest11]" in lines


def test_changelog_names_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(deploymark.__version__)} ", changelog, re.MULTILINE)


def test_installed_distribution_is_this_source() -> None:
    try:
        installed = importlib.metadata.distribution("deploymark")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("deploymark is not installed in this environment")
    assert installed.version == deploymark.__version__
    for point in installed.entry_points:
        assert point.load() is not None


def test_every_builtin_backend_has_its_extra() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    for name, spec in registry.BUILTIN.items():
        extra = registry.resolve(spec).extra
        assert extra in extras, f"backend {name} names the extra {extra!r}"
        assert any(extra in Requirement(line).extras for line in extras["all"])


def test_core_has_no_runtime_and_no_framework() -> None:
    core = {Requirement(line).name for line in PYPROJECT["project"]["dependencies"]}
    assert not core & {"torch", "torchvision", "ultralytics", "onnx", "onnxruntime", "openvino"}


def test_constraints_pin_every_requirement_within_its_bounds() -> None:
    pinned: dict[str, list[Requirement]] = {}
    for pin in pins():
        pinned.setdefault(canonicalize_name(pin.name), []).append(pin)
    for wanted in direct_requirements():
        found = pinned.get(canonicalize_name(wanted.name), [])
        assert found, f"constraints.txt pins no {wanted.name}: nox -s lock"
        for pin in found:
            (version,) = [clause.version for clause in pin.specifier]
            assert version in wanted.specifier, f"{pin} is out of {wanted}: nox -s lock"


def test_constraints_are_versions_only() -> None:
    assert pins()
    assert "://" not in CONSTRAINTS
    for pin in pins():
        assert pin.url is None
        assert [clause.operator for clause in pin.specifier] == ["=="]
        assert pin.marker is None or isinstance(pin.marker, Marker)
    options = [line for line in CONSTRAINTS.splitlines() if line.startswith("-")]
    assert not options


def test_no_file_names_an_index_or_a_folder_of_this_machine() -> None:
    here = str(ROOT).encode()
    found = []
    for path in files_of_git():
        if path == Path(__file__).resolve():
            continue
        content = path.read_bytes()
        patterns = [re.compile(re.escape(here) + rb"\b")] if here in content else []
        patterns += [MACHINE_PATH] if any(folder in content for folder in FOLDERS) else []
        patterns += [INDEX_ADDRESS] if any(word in content for word in TELLING) else []
        for pattern in patterns:
            found += [f"{path.relative_to(ROOT)}: {hit[0]!r}" for hit in pattern.finditer(content)]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        b"--index" + b"-url " + b"https://example.org",
        b"--extra-index" + b"-url=x",
        b"--find-links " + b"wheels",
        b"https://" + b"pypi.org/simple",
    ],
)
def test_an_index_address_would_be_seen(text: bytes) -> None:
    assert any(word in text for word in TELLING)
    assert INDEX_ADDRESS.search(text)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (b"open('/root/models/a.pt')", True),
        (b"see /home/nvidia/a.engine", True),
        (b"docs/work/notes.md", False),
        (b"$HOME/work/notes.md", False),
    ],
)
def test_a_folder_of_a_machine_would_be_seen(text: bytes, *, seen: bool) -> None:
    assert bool(MACHINE_PATH.search(text)) is seen
