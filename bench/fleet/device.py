"""What runs in the Dask worker of a device: files by hash, and one agent at a time.

Python 3.10 and the standard library alone, and nothing of ours: it is sent as source with each
task, so a device needs no Deploymark. All else, the agent and the measured workers, is source that
is pulled by its hashes as artifacts are, and runs in processes of its own (``bench.fleet.agent``).
"""

from __future__ import annotations

import contextlib
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
from pathlib import Path
from typing import Any

Files = Mapping[str, tuple[str, int]]
"""Files of a folder: SHA-256 and bytes by relative path."""

AGENT = "deploymark.bench.fleet.agent"

FOLDER_WORD = "{deploymark-folder}"
OUTPUT_WORD = "{deploymark-output}"
"""Beginnings of paths in a job: of the folder with its files, of what it writes."""

_LOOK_S = 0.5
"""Seconds between looks at whether a launch is still wanted: no longer does one outlive that."""

_CHUNK_BYTES = 1 << 20
_MOST_LOG_BYTES = 1 << 20
_GRACE_S = 30.0
"""Seconds that an agent gets beyond the time limits of its workers."""


def cache_folder() -> Path:
    """Where a device keeps what it was sent: below ``DEPLOYMARK_CACHE``, or the user's cache."""
    named = os.environ.get("DEPLOYMARK_CACHE")
    if named:
        return Path(named).expanduser().absolute() / "fleet"
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "deploymark" / "fleet"


def blob_path(sha256: str) -> Path:
    """Where a file of that hash lies."""
    return cache_folder() / "files" / sha256


def missing(files: Files) -> list[str]:
    """The hashes of the files that are not there, sound: they are to be sent (``put``)."""
    return sorted(
        {
            sha256
            for sha256, size in files.values()
            if not _is_sound(blob_path(sha256), sha256, size)
        }
    )


def put(sha256: str, offset: int, data: bytes, size: int) -> int:
    """Take a piece of a file of ``size`` bytes; how many there are now, -1 where all and sound.

    A piece that does not follow what is there is left alone: the number says where to go on.
    """
    target = blob_path(sha256)
    if _is_sound(target, sha256, size):
        return -1
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{sha256}.partial")
    with partial.open("ab") as stream:
        if offset == 0:
            stream.truncate(0)
        elif stream.tell() != offset:
            return stream.tell()
        stream.write(data)
        there = offset + len(data)
    if there < size:
        return there
    if _sha256(partial) != sha256:
        partial.unlink()
        return 0
    partial.replace(target)
    return -1


def perform(request: Mapping[str, Any]) -> dict[str, Any]:
    """Have an agent do a request, and tell what came of it.

    ``source`` and ``files`` are what it takes, ``call`` is the agent's job (``bench.fleet.agent``)
    and ``timeout_s`` bounds it. ``{"missing": [hashes]}`` where files are to be sent first;
    ``{"unwanted": True}`` where nobody waits for it any more; else the agent's last ``message``,
    None where it ended without one, with the ``log`` and the ``outputs`` by name.
    """
    source, files = request["source"], request["files"]
    if lacking := missing({**source, **files}):
        return {"missing": lacking}
    wanted = _wanted()
    with _temporary() as scratch:
        package = _folder(source)
        folder, output, log = _folder(files), scratch / "output", scratch / "log"
        output.mkdir()
        words = {FOLDER_WORD: str(folder), OUTPUT_WORD: str(output)}
        call = _spoken(request["call"], {**words, "{deploymark-log}": str(log)})
        message, code = _agent(call, package, scratch, log, request["timeout_s"], wanted)
        if code is None:
            return {"unwanted": True}
        return {
            "message": message,
            "code": code,
            "log": log.read_bytes()[-_MOST_LOG_BYTES:] if log.exists() else b"",
            "outputs": {path.name: path.read_bytes() for path in output.iterdir()},
        }


def _agent(
    call: Mapping[str, Any],
    package: Path,
    scratch: Path,
    log: Path,
    timeout_s: float,
    wanted: Callable[[], bool],
) -> tuple[dict[str, Any] | None, int | None]:
    """The agent's last message and its exit code; no code where it was stopped as unwanted.

    The agent ends with its standard input, and its workers with the agent, however this process
    ends.
    """
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    deadline = time.monotonic() + timeout_s + _GRACE_S
    with log.open("ab") as errors:
        agent = subprocess.Popen(
            [sys.executable, "-P", "-m", AGENT]
            if sys.version_info >= (3, 11)
            else [sys.executable, "-m", AGENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=scratch,
            env=_environment(package, scratch),
            start_new_session=True,
        )
    assert agent.stdin is not None  # noqa: S101 - for the type checker: both are pipes
    assert agent.stdout is not None  # noqa: S101
    reader = threading.Thread(target=_read, args=(agent.stdout, lines), daemon=True)
    reader.start()
    last: dict[str, Any] | None = None
    try:
        with contextlib.suppress(BrokenPipeError):
            agent.stdin.write(json.dumps(call).encode() + b"\n")
            agent.stdin.flush()
        while True:
            try:
                line = lines.get(timeout=_LOOK_S)
            except queue.Empty:
                if not wanted():
                    return None, None
                if time.monotonic() > deadline:
                    return {"event": "timeout"}, -int(signal.SIGTERM)
                continue
            if line is None:
                return last, agent.wait()
            with contextlib.suppress(ValueError):
                last = json.loads(line)
    finally:
        _kill(agent)
        with contextlib.suppress(OSError):
            agent.stdin.close()
        reader.join(1.0)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the agent; its workers end with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _read(stream: Any, lines: queue.SimpleQueue[bytes | None]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _environment(package: Path, scratch: Path) -> dict[str, str]:
    """The agent's: that of the Dask worker, without what Dask's nanny puts there for itself.

    ``distributed.nanny.pre-spawn-environ`` trims malloc and holds numeric libraries to one thread:
    what ships runs without.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
    for name, value in (
        ("MALLOC_TRIM_THRESHOLD_", "65536"),
        ("OMP_NUM_THREADS", "1"),
        ("MKL_NUM_THREADS", "1"),
        ("OPENBLAS_NUM_THREADS", "1"),
    ):
        if own.get(name) == value:
            del own[name]
    return {
        **own,
        "PYTHONPATH": str(package),
        "PYTHONUNBUFFERED": "1",
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch)),
    }


def _wanted() -> Callable[[], bool]:
    """Tells whether somebody waits for the task that runs now.

    Dask cannot end a thread: a task that was cancelled, or whose client is gone, runs on. The
    worker's own record of it says so.
    """
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state == "executing"

    return wanted


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    """An empty folder; what earlier ones left that were killed is removed.

    There is one task at a time that asks for the resource, so none of them is at work.
    """
    place = cache_folder() / "scratch"
    place.mkdir(parents=True, exist_ok=True)
    for left in place.iterdir():
        pid = left.name.split("-")[1] if left.name.count("-") > 1 else ""
        if not pid.isdigit() or int(pid) == os.getpid() or not _is_alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"launch-{os.getpid()}-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _folder(files: Files) -> Path:
    """A folder that holds those files; made of what was pulled, once."""
    lines = sorted(f"{path}\0{sha256}" for path, (sha256, _) in files.items())
    name = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    target = cache_folder() / "folders" / name
    if target.is_dir():
        if all(_is_sound(target / path, *found) for path, found in files.items()):
            return target
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{name[:16]}-", dir=target.parent))
    for path, (sha256, _) in files.items():
        parts = path.split("/")
        if any(part in {"", ".", ".."} or "\\" in part or ":" in part for part in parts):
            raise ValueError(f"a path that leaves its folder: {path!r}")
        place = partial.joinpath(*parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(blob_path(sha256), place)
        except OSError:
            shutil.copyfile(blob_path(sha256), place)
    try:
        partial.replace(target)
    except OSError:  # another process was faster
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _spoken(value: Any, words: Mapping[str, str]) -> Any:
    """A job with the paths of this machine."""
    if isinstance(value, dict):
        return {key: _spoken(item, words) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spoken(item, words) for item in value]
    if isinstance(value, str):
        for word, path in words.items():
            if value.startswith(word):
                return path + value[len(word) :].replace("/", os.sep)
    return value


def _is_sound(path: Path, sha256: str, size: int) -> bool:
    """Whether a file is there, of its size and hash; one that is as it was is not read again.

    The hash is checked once in the life of a Dask worker, and whenever the file has changed.
    """
    try:
        found = path.stat()
    except OSError:
        return False
    if found.st_size != size:
        return False
    stamp = (found.st_size, found.st_mtime_ns, found.st_ino)
    seen: dict[str, Any] = sys.__dict__.setdefault("_deploymark_files", {})
    if seen.get(str(path)) == (sha256, stamp):
        return True
    if _sha256(path) != sha256:
        return False
    seen[str(path)] = sha256, stamp
    return True


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            total.update(chunk)
    return total.hexdigest()
