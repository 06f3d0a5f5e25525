"""The parent's end of a job: start a child, wait without spinning, type how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

import deploymark
from deploymark.bench.children import memory_limit
from deploymark.bench.children.deaths import outcome_of_death, outcome_of_timeout
from deploymark.bench.children.memory_limit import Limited, limited
from deploymark.bench.errors import BadInputError
from deploymark.bench.records.outcomes import STATUSES, Outcome
from deploymark.bench.room import blame_full_disk, writing
from deploymark.bench.scratch import CHILD_PREFIX, WORKER_PREFIX, owned_folder

SOURCE_ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds ``bench`` and ``backends``: the repository, or the installed package."""

WORKER = "deploymark.bench.worker.main"
"""The module that a worker is."""

_WORKER_SOURCE = (
    "bench/__init__.py",
    "bench/children/__init__.py",
    "bench/children/child.py",
    "bench/worker/**/*.py",
    "backends/**/*.py",
)
"""What a worker needs, as source, under an interpreter that Deploymark is not installed in."""

_TEMPORARY_VARIABLES = ("TMPDIR", "TEMP", "TMP")
"""Where ``tempfile`` and C libraries look for the temporary folder, on every system."""

_EXIT_GRACE_S = 10.0
_LISTENER_GRACE_S = 1.0


@dataclasses.dataclass(frozen=True)
class ChildEnd:
    """How a child ended. ``result`` is there where ``outcome`` is ok."""

    outcome: Outcome
    result: dict[str, Any] | None
    duration_s: float


@functools.cache
def source_hash(patterns: tuple[str, ...]) -> str:
    """SHA-256 over those files of our own source that the patterns match, shortened."""
    total = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(SOURCE_ROOT.glob(pattern)):
            total.update(path.relative_to(SOURCE_ROOT).as_posix().encode() + path.read_bytes())
    return total.hexdigest()[:16]


@functools.cache
def _staged_source() -> Path:
    """A copy of the worker's source, alone on its path: no package of this interpreter with it."""
    import atexit

    held = contextlib.ExitStack()
    folder = held.enter_context(owned_folder(WORKER_PREFIX))
    atexit.register(held.close)
    face = Path(deploymark.__file__)
    package = folder / deploymark.__name__
    package.mkdir()
    shutil.copyfile(face, package / face.name)
    for pattern in _WORKER_SOURCE:
        for path in SOURCE_ROOT.glob(pattern):
            target = package / path.relative_to(SOURCE_ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return folder


def _command(module: str, python: str | None) -> tuple[list[str], str]:
    """The command line of a child and the entry it needs on the module path, empty for none."""
    if python is None:
        # -P: the working directory is the user's and may hold a folder named like a package.
        # 3.10, which a fleet's device may have, knows no such option.
        apart = ["-P"] if sys.version_info >= (3, 11) else []
        return [sys.executable, *apart, "-m", module], ""
    found = shutil.which(python)
    if found is None:
        raise BadInputError(
            f"python: {python}: no such interpreter",
            remedy="Give the path of a Python 3.10 or newer.",
        )
    return [found, "-m", module], str(_staged_source())


def _environment(path_entry: str, python: str | None, extra: Mapping[str, str]) -> dict[str, str]:
    env = {**os.environ, **extra}
    inherited = env.get("PYTHONPATH", "") if python is None else ""
    env["PYTHONPATH"] = os.pathsep.join(part for part in (path_entry, inherited) if part)
    env.setdefault("PYTHONUNBUFFERED", "1")
    return env


def thread_environment(threads: int) -> dict[str, str]:
    """Variables that hold every OpenMP-like pool of a child to ``threads``.

    How those wait is the runtime's own affair, or an option of the cell (``backends.waiting``).
    """
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
    }


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the child and what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _reader(stream: BinaryIO, lines: queue.Queue[bytes | None]) -> None:
    """Pass lines on to the end, and close the stream: nobody else may, while it is read."""
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


_running: set[subprocess.Popen[bytes]] = set()
_stopping = threading.Event()


def _follow(process: subprocess.Popen[bytes]) -> None:
    """Have a child stopped with the others, or now where they were stopped while it started."""
    _running.add(process)
    if _stopping.is_set():
        _kill(process)


@contextlib.contextmanager
def children_stop_with(pool: ThreadPoolExecutor) -> Iterator[None]:
    """End the children that the pool's threads wait for where the block is left by an exception.

    Leaving the pool would otherwise wait for them: hours, of a training that Ctrl-C is to stop.
    """
    try:
        yield
    except BaseException:
        _stopping.set()
        try:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in tuple(_running):
                _kill(process)
            pool.shutdown()
        finally:
            _stopping.clear()
        raise


class Child:
    """A child at work: listened to, told more, and gone with what it started when closed.

    Made by ``started``.
    """

    def __init__(
        self,
        module: str,
        job: Mapping[str, Any],
        log: Path,
        python: str | None,
        env: Mapping[str, str],
        limit: Limited | None = None,
    ) -> None:
        command, path_entry = _command(module, python)
        if limit is not None:
            command, job = limit.command(command), {**job, "memory_limit_mb": limit.rlimit_mb}
        self.limit = limit
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.started = time.monotonic()
        self._kills = memory_limit.oom_kills()
        with log.open("ab") as log_stream:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_stream,
                env=_environment(path_entry, python, env),
                start_new_session=True,
            )
        _follow(self._process)
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        stream = cast("BinaryIO", self._process.stdout)
        self._listener = threading.Thread(target=_reader, args=(stream, self._lines), daemon=True)
        self._listener.start()
        self.send(job)

    def send(self, message: Mapping[str, Any]) -> None:
        """Tell the child something, as JSON. A child that has ended hears nothing."""
        stdin = cast("BinaryIO", self._process.stdin)
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(message, allow_nan=False).encode() + b"\n")
            stdin.flush()

    def receive(self, deadline: float) -> dict[str, Any] | None:
        """The child's next message, None at its end; asleep on its pipe until then.

        Raises TimeoutError past ``deadline`` (of ``time.monotonic``).
        """
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError from None
            if line is None:
                return None
            with contextlib.suppress(ValueError):
                message = json.loads(line)
                if isinstance(message, dict):
                    return message

    def outcome_of_end(self) -> Outcome:
        """What the end of a child means that sent neither a result nor a failure."""
        try:
            code = self._process.wait(timeout=_EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            code = 0
        return outcome_of_death(code, self.log, self._kills)

    def outcome_of_timeout(self, timeout_s: float) -> Outcome:
        """What it means that the child was not done after so many seconds."""
        return outcome_of_timeout(self._process.pid, timeout_s)

    def wait_briefly(self) -> None:
        """Let a child that has said all leave by itself, for a while."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_EXIT_GRACE_S)

    def close(self) -> None:
        """Kill what is left of it."""
        _running.discard(self._process)
        _kill(self._process)
        with contextlib.suppress(OSError):
            cast("BinaryIO", self._process.stdin).close()
        # A grandchild that left its group may hold the pipe open: it is not waited for.
        self._listener.join(_LISTENER_GRACE_S)


@contextlib.contextmanager
def started(
    module: str,
    job: Mapping[str, Any],
    *,
    log: Path,
    python: str | None = None,
    env: Mapping[str, str] | None = None,
    memory_limit_mb: int | None = None,
) -> Iterator[Child]:
    """A child that runs ``python -m module`` with a job; it is gone when the block is left.

    ``memory_limit_mb`` (MiB) is a limit that it really runs under (``memory_limit``).

    ``job`` is sent as JSON; ``log`` gets the child's standard output and error (appended). What the
    child leaves in its temporary folder goes with it: runtimes unpack and compile there, and a
    killed one cannot clear up. Raises BadInputError if ``python`` is no interpreter.
    """
    with owned_folder(CHILD_PREFIX) as scratch, limited(memory_limit_mb) as limit:
        own = {**(env or {}), **dict.fromkeys(_TEMPORARY_VARIABLES, str(scratch))}
        child = Child(module, job, log, python, own, limit)
        try:
            yield child
        finally:
            child.close()


def run_child(
    module: str,
    job: Mapping[str, Any],
    *,
    timeout_s: float,
    log: Path,
    python: str | None = None,
    env: Mapping[str, str] | None = None,
    on_message: Callable[[dict[str, Any]], None] | None = None,
    memory_limit_mb: int | None = None,
) -> ChildEnd:
    """Run ``python -m module`` with a job and wait for its end, asleep on its pipe.

    ``memory_limit_mb`` (MiB) is a limit that it really runs under (``memory_limit``): it ends
    ``out_of_memory`` where it takes more. ``on_message`` sees progress messages as they come. The
    child and its children are gone when this returns or raises. Raises BadInputError if ``python``
    is no interpreter, and for what the child itself calls bad input, StorageError where a full disk
    ended it.
    """
    if _stopping.is_set():
        return ChildEnd(Outcome("crashed", "the run was stopped"), None, 0.0)
    result: dict[str, Any] | None = None
    failed: dict[str, Any] | None = None
    with (
        writing(Path(tempfile.gettempdir())),
        started(
            module, job, log=log, python=python, env=env, memory_limit_mb=memory_limit_mb
        ) as child,
    ):
        try:
            while (message := child.receive(child.started + timeout_s)) is not None:
                event = message.pop("event", "")
                if event == "result":
                    result = message
                elif event == "failed":
                    failed = message
                elif on_message is not None:
                    on_message(message)
        except TimeoutError:
            outcome = child.outcome_of_timeout(timeout_s)
        else:
            outcome = _outcome(child, result, failed)
        if child.limit is not None:
            outcome = child.limit.outcome(outcome)
    if not outcome.ok:
        blame_full_disk(outcome.reason, (tempfile.gettempdir(), log.parent, job.get("folder")))
    duration_s = time.monotonic() - child.started
    return ChildEnd(outcome, result if outcome.ok else None, duration_s)


def _outcome(
    child: Child, result: Mapping[str, Any] | None, failed: Mapping[str, Any] | None
) -> Outcome:
    if result is not None:
        child.wait_briefly()
        return Outcome("ok")
    if failed is not None:
        child.wait_briefly()
        return outcome_of_failure(failed)
    return child.outcome_of_end()


def outcome_of_failure(failed: Mapping[str, Any]) -> Outcome:
    """The outcome that a child's message of failure tells. Raises BadInputError for bad input."""
    status, reason = str(failed["status"]), str(failed["reason"])
    remedy = str(failed.get("remedy", ""))
    if status not in STATUSES:
        raise BadInputError(reason, remedy=remedy)
    return Outcome(status, reason, remedy)
