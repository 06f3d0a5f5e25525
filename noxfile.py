"""The sessions: ``bench`` is the front door, ``tests`` the tests.

A session installs what it needs and nothing else, at the versions of ``constraints.txt``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests"]

CONSTRAINTS = "constraints.txt"
PYPROJECT = nox.project.load_toml("pyproject.toml")

IN_PARALLEL = ("--numprocesses=logical", "--maxprocesses=4", "--dist=loadgroup")
"""Four at most: a test that exports takes up to 3 GiB."""

TWO_AT_A_TIME = ("--numprocesses=2", "--dist=loadgroup")
"""Whole runs wait for processes and disks as much as they compute."""

SAVING_S = 20.0
"""Time a run gets after Ctrl-C to stop its worker and write down what it has."""


def install(session: nox.Session, *what: str) -> None:
    """Install at the tested versions, and compile as pip does.

    uv leaves compiling to the first import, which Python may have been told not to write down
    (``PYTHONDONTWRITEBYTECODE``): every child would compile its runtime again, to import it in
    twice the time.
    """
    session.install(*what, "--constraint", CONSTRAINTS, env={"UV_COMPILE_BYTECODE": "1"})


def group(name: str) -> tuple[str, ...]:
    """The requirements of a dependency group: ``--group`` needs a newer pip than some have."""
    return nox.project.dependency_groups(PYPROJECT, name)


def install_what_is_measured(session: nox.Session, *question: str) -> None:
    """Install Deploymark and the extras that it says the arguments need."""
    install(session, "--editable", ".")
    extras = session.run(
        "deploymark", *question, *session.posargs, "--requires", silent=True, stderr=None
    )
    # A dry run of nox, or a matrix that needs no backend of ours.
    if extras and extras.strip():
        install(session, "--editable", f".[{extras.strip()}]")


@nox.session(reuse_venv=True)
def bench(session: nox.Session) -> None:
    """Run the benchmark: every argument goes to ``deploymark run``."""
    install_what_is_measured(session, "list")
    session.run(
        "deploymark",
        "run",
        *session.posargs,
        interrupt_timeout=SAVING_S,
        terminate_timeout=SAVING_S,
    )


@nox.session(reuse_venv=True, default=False)
def gate(session: nox.Session) -> None:
    """Compare a candidate with a baseline: every argument goes to ``deploymark gate``.

    Exit codes as there, but for nox, which knows 0 and 1 alone.
    """
    install_what_is_measured(session, "gate")
    session.run("deploymark", "gate", *session.posargs)


@nox.session(reuse_venv=True)
def tests(session: nox.Session) -> None:
    """Run all tests, or those that the arguments select.

    What times or trains something comes first, two at a time, as it takes threads of its own; the
    rest is shared out among the processors. All are run, whatever fails.
    """
    install(session, "--editable", ".[all]", *group("tests"))
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    failed = False
    for selected in (["-m", "alone", *TWO_AT_A_TIME], ["-m", "not alone", *IN_PARALLEL]):
        try:
            session.run("pytest", "tests", *selected)
        except nox.command.CommandFailed:
            failed = True
    if failed:
        session.error("tests failed")


@nox.session(reuse_venv=True)
def unit(session: nox.Session) -> None:
    """Run the tests that need no runtime and no framework, and install neither."""
    install(session, "--editable", ".", *group("tests"))
    session.run("pytest", "-m", "not heavy and not real", *session.posargs)


@nox.session(reuse_venv=True, default=False, python=["3.12", "3.13"])
def installed(session: nox.Session) -> None:
    """Install plainly under other Pythons, and look at it from somebody's project.

    The tests go from a folder without the source, which would be imported in its place.
    """
    install(session, ".", *group("tests"))
    folder = Path(session.create_tmp())
    shutil.copytree("tests", folder / "tests", dirs_exist_ok=True)
    shutil.copy("pyproject.toml", folder)
    session.chdir(folder)
    session.run("pytest", "tests/test_installed.py", *session.posargs)


@nox.session(reuse_venv=True)
def lint(session: nox.Session) -> None:
    """Check style and format."""
    install(session, *group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check", *session.posargs)


@nox.session(reuse_venv=True)
def types(session: nox.Session) -> None:
    """Check types, of the package as it is imported.

    mypy does not follow an editable install's finder. In the strict mode it is a folder of links,
    made anew each time, as a file that has come since would not be in it. Here, mypy would take
    the folder ``deploymark`` for the whole of it.
    """
    install(session, "--editable", ".", *group("types"))
    strict = ("--config-settings", "editable_mode=strict")
    session.install("--editable", ".", *strict, "--no-deps", "--force-reinstall")
    settings = f"--config-file={Path('pyproject.toml').resolve()}"
    session.chdir(session.create_tmp())
    session.run("mypy", settings, *(session.posargs or ["--package", "deploymark"]))


@nox.session(default=False)
def lock(session: nox.Session) -> None:
    """Compile ``constraints.txt`` anew: ``--upgrade`` takes newer versions."""
    session.install("uv")
    groups = [f"--group={name}" for name in PYPROJECT["dependency-groups"]]
    session.run(
        "uv",
        "pip",
        "compile",
        "pyproject.toml",
        "--all-extras",
        *groups,
        "--universal",
        "--python-version=3.11",
        "--no-header",
        f"--output-file={CONSTRAINTS}",
        *session.posargs,
        silent=True,
    )
