"""Deploymark installed beside somebody's project that has folders of the same names as ours."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.checkout import ROOT
from tests.trees import write_tree

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PROJECT = {
    "bench/__init__.py": "WHOSE = 'the project'\n",
    "bench/timing.py": "import bench\n\ndef whose():\n    return bench.WHOSE\n",
    "bench/test_bench.py": "def test_in_the_package():\n    import bench.timing\n",
    "reports/__init__.py": "",
    "reports/words.py": "WORDS = ('a', 'b')\n",
    "matrices/__init__.py": "",
    "matrices/default.yaml": "this: is no matrix of ours\n",
    "backends.py": "ONLY = 'a module'\n",
    "tests/test_project.py": (
        "import pytest\n"
        "import backends\n"
        "from bench import timing\n"
        "from reports.words import WORDS\n"
        "import matrices\n"
        "def test_ours():\n"
        "    assert timing.whose() == 'the project' and len(WORDS) == 2\n"
        "    assert backends.ONLY == 'a module' and 'default' not in dir(matrices)\n"
        "def test_fails():\n"
        "    assert timing.whose() == 'deploymark'\n"
    ),
    "conftest.py": (
        "def pytest_addoption(parser):\n"
        "    parser.addoption('--matrix')\n"
        "    parser.addoption('--results')\n"
    ),
}
"""A project as anybody may have one; one of its tests is to fail."""

TINY = """
schema_version: 1
name: tiny
models: [{path: "builtin:digits", data: "builtin:digits"}]
backends: [BACKEND]
imgsz: [96]
scoring: {max_images: 16}
measure: {launches: 1, max_launches: 1, warmup_max_s: 1.0, latency_s: 0.1, e2e_iterations: 1}
"""


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


@pytest.fixture(scope="session")
def from_wheel(wheel_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment of its own that the wheel is installed in.

    What Deploymark needs is found where this interpreter has it: nothing is downloaded.
    """
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    command = [python_of(environment), "-m", "pip", "install", "--no-deps", "--no-index"]
    subprocess.run([*command, wheel_file], check=True, capture_output=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = environment / "bin" / "pytest"
    script.write_text(
        f"#!{python_of(environment)}\n"
        "import sys\nfrom pytest import console_main\nsys.exit(console_main())\n"
    )
    script.chmod(0o755)
    return python_of(environment)


@pytest.fixture(params=["wheel", "this"])
def python(request: pytest.FixtureRequest) -> Path:
    """An interpreter that has Deploymark: from the wheel, and this one."""
    if request.param == "wheel":
        return request.getfixturevalue("from_wheel")  # type: ignore[no-any-return]
    return Path(sys.executable)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "project", PROJECT)


def called(
    command: list[object], folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    ours = ("PYTHONPATH", "PYTEST_ADDOPTS", "PYTEST_XDIST")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**env, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def outcomes(text: str) -> list[str]:
    """The lines of a pytest run that say what came of it, without its times."""
    lines = [line for line in text.splitlines() if re.search(r"passed|failed|PASS|FAIL|rror", line)]
    return [re.sub(r"\d+\.\d+s", "", line) for line in lines]


def test_there_is_one_import_name(python: Path, tmp_path: Path) -> None:
    done = called([python, "-c", "import deploymark.bench, deploymark.matrices"], tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("bench", "backends", "reports", "matrices"):
        done = called([python, "-c", f"import {name}"], tmp_path)
        assert f"No module named '{name}'" in done.stderr, name


def test_a_checkout_on_the_module_path_is_whole(from_wheel: Path) -> None:
    """Python puts the working directory first: the face there must not hide what it stands for."""
    code = "import deploymark.bench.cli.main as main; print(main.__file__)"
    done = called([from_wheel, "-c", code], ROOT)
    assert done.stdout.strip() == str(ROOT / "bench" / "cli" / "main.py"), done.stderr


def test_pip_lists_one_folder_and_metadata(from_wheel: Path, tmp_path: Path) -> None:
    done = called([from_wheel, "-m", "pip", "show", "-f", "deploymark"], tmp_path)
    assert done.returncode == 0, done.stderr
    files = [line.strip() for line in done.stdout.partition("Files:\n")[2].splitlines()]
    assert len(files) > 100
    others = [name for name in files if not re.match(r"deploymark(-[\d.]+\.dist-info)?/", name)]
    assert others == ["../../../bin/deploymark"]


@pytest.mark.parametrize("how", ["pytest", "python -m pytest"])
def test_pytest_is_as_if_deploymark_were_not_there(python: Path, project: Path, how: str) -> None:
    command: list[object] = [python, "-m", "pytest"]
    if how == "pytest":
        command = [python.with_name("pytest")]
        # Without an entry for the working directory a project tells pytest where it stands.
        (project / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    arguments = ["-v", "--matrix", "a.yaml", "--results", "b", "-p", "no:cacheprovider"]
    done = called([*command, *arguments], project)
    without = called([*command, *arguments, "-p", "no:deploymark"], project)
    assert outcomes(done.stdout) == outcomes(without.stdout)
    assert done.returncode == without.returncode == 1
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_imports_nothing_but_itself(python: Path, tmp_path: Path) -> None:
    code = (
        "import sys, pytest; before = set(sys.modules);"
        "import deploymark.bench.pytest_plugin.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = called([python, "-c", code], tmp_path)
    assert done.stdout.split() == [
        "deploymark",
        "deploymark.bench",
        "deploymark.bench.pytest_plugin",
        "deploymark.bench.pytest_plugin.plugin",
    ], done.stderr


@pytest.mark.real
@pytest.mark.parametrize("interpreter", ["", "named"])
def test_a_run_from_the_projects_folder(
    python: Path, project: Path, shared_cache: Path, interpreter: str
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ultralytics")
    backend = {"name": "onnxruntime"} | ({"python": sys.executable} if interpreter else {})
    (project / "m.yaml").write_text(TINY.replace("BACKEND", json.dumps(backend)))
    done = called(
        [python, "-m", "deploymark", "run", "m.yaml"],
        project,
        {"DEPLOYMARK_CACHE": str(shared_cache)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (cell,) = json.loads((project / "results/latest/cells.json").read_text(encoding="utf-8"))
    assert cell["status"] == "ok"
    assert (project / "results/latest/report.html").is_file()
