"""What is said of an error that ends a command: one sentence, and a file for what nobody foresaw.

Never a traceback: that goes to a crash report, with the versions, the command and the machine, and
nothing of the environment.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import os
import platform
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from deploymark.bench.errors import DeploymarkError

_SHOWN_MESSAGE = 200

_NEW_PROCESS = "No process or thread could be started"

_FORESEEN: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", "Make room"),
    errno.EDQUOT: ("the quota of the disk is used up", "Make room"),
    errno.EROFS: ("the file system is read-only", "Name a folder that can be written"),
    errno.EACCES: ("permission denied", "Use a folder of your own, or ask its owner"),
    errno.EPERM: ("not permitted", "Use a folder of your own, or ask its owner"),
    errno.ENAMETOOLONG: ("the name is too long", "Name another file or folder"),
    errno.EMFILE: ("too many open files", "Raise the limit: ulimit -n 1024"),
    errno.ENFILE: ("the system has too many open files", "End other programs"),
    errno.EAGAIN: (_NEW_PROCESS.lower(), "Raise the limit (ulimit -u), or end other programs"),
    errno.ENOMEM: ("the memory does not suffice", "End other programs"),
    errno.EIO: ("the disk reports a fault", "Look at the system's log (dmesg)"),
}
"""What these errors of the system mean, and what to do."""


class RunStopped(Exception):  # noqa: N818 - it says what happened to the run
    """A run in ``folder`` ended by its cause (``__cause__``), before its figures were there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder


def last_words(error: BaseException) -> str:
    """What to tell of ``error``: what, where, what to do; how to go on with a run under way.

    Writes a crash report, and names it, where the error is none that was foreseen.
    """
    folder: Path | None = None
    if isinstance(error, RunStopped):
        folder, error = error.folder, error.__cause__ or error
    said = str(error) if isinstance(error, DeploymarkError) else _foreseen(error)
    if not said:
        said = _unforeseen(error, folder)
    # a folder in which nothing was measured is gone by now: nothing could be resumed there
    if folder is not None and (folder / "run.json").is_file() and "--resume" not in said:
        said += (
            "\nNothing that was finished is lost; go on with: "
            f"deploymark run --resume {shlex.quote(str(folder))}"
        )
    return said


def _foreseen(error: BaseException) -> str:
    """The sentence for an error of the system; empty where it is of another kind."""
    if isinstance(error, MemoryError):
        return "the memory does not suffice\nEnd other programs, or choose a smaller matrix."
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        what, remedy = _FORESEEN[errno.EAGAIN]
        return f"{what}\n{remedy}."
    if not isinstance(error, OSError):
        return ""
    if isinstance(error, FileNotFoundError) and _folder_is_gone():
        return "the working folder was deleted\nChange to a folder that exists."
    if error.errno not in _FORESEEN:
        return ""
    what, remedy = _FORESEEN[error.errno]
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    return f"{where}{what}\n{remedy}."


def _folder_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _unforeseen(error: BaseException, folder: Path | None) -> str:
    message = " ".join(str(error).split())[:_SHOWN_MESSAGE]
    kind = type(error).__name__
    said = f"something that was not foreseen: {kind}" + (f": {message}" if message else "")
    if isinstance(error, RecursionError):
        said = "something is nested too deeply"
    written = _write_report(error, folder)
    if written is None:
        return f"{said}\nNo crash report could be written."
    return f"{said}\nThe crash report is {written}: please file it."


def _write_report(error: BaseException, folder: Path | None) -> Path | None:
    """Write the crash report to the first place that takes it; None where none does."""
    try:
        text = crash_report(error)
    except Exception:  # noqa: BLE001 - what tells of a crash must not crash
        return None
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}.txt"
    for place in _places(folder):
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            # never follows a link that somebody left in a folder for all
            with (place / name).open("x", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
            return place / name
    return None


def _places(folder: Path | None) -> Iterator[Path]:
    if folder is not None and folder.is_dir():
        yield folder / "logs"
    with contextlib.suppress(ImportError, OSError, RuntimeError):
        import platformdirs

        yield Path(platformdirs.user_log_dir("deploymark", appauthor=False))
    with contextlib.suppress(OSError):
        yield Path(tempfile.gettempdir())


def crash_report(error: BaseException) -> str:
    """Traceback, versions, command and machine. Nothing of the environment, which has secrets."""
    versions = []
    for package in ("deploymark", "numpy", "onnx", "onnxruntime", "pydantic", "pytest"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    return "\n".join(
        [
            f"command: {shlex.join(sys.argv)}",
            f"python: {platform.python_implementation()} {platform.python_version()}",
            f"packages: {', '.join(versions)}",
            f"machine: {platform.system()} {platform.release()} {platform.machine()}",
            "",
            *traceback.format_exception(error),
        ]
    )
