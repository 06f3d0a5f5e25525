from __future__ import annotations

import os
import queue
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploymark.bench.children.spawn import (
    ChildEnd,
    children_stop_with,
    run_child,
    thread_environment,
)
from deploymark.bench.errors import BadInputError

CHILD = """
import os, signal, sys, time
from deploymark.backends.base import LoadError, UnsupportedError
from deploymark.bench.children.child import phase, serve

def work(job, send):
    how = job["how"]
    send({"event": "progress", "phase": "begun"})
    print("a runtime prints what it likes")
    if how == "abort":
        os.abort()
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hang":
        time.sleep(600)
    if how == "full":
        pages = []
        try:
            while True:
                pages.append(bytearray(1 << 24))
        except MemoryError:
            time.sleep(600)
    if how == "exit":
        os._exit(7)
    if how == "memory":
        pages = []
        while True:
            pages.append(bytearray(1 << 24))
    if how == "bad_alloc":
        raise RuntimeError("std::bad_alloc")
    if how == "typed":
        raise LoadError("no such layer", remedy="export it anew")
    if how == "unsupported":
        raise UnsupportedError("no such precision")
    if how == "bad_input":
        from deploymark.bench.errors import BadInputError
        raise BadInputError("that is no detector", remedy="give one")
    if how == "phase":
        with phase("load_failed", "loading failed"):
            raise ValueError("broken file")
    if how == "grandchild":
        import subprocess
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        send({"event": "progress", "pid": child.pid})
        time.sleep(600)
    return {"echo": job["value"], "threads": os.environ["OMP_NUM_THREADS"]}

if __name__ == "__main__":
    serve(work)
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "some_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "some_child"


def run(child: str, tmp_path: Path, how: str, **changes: object) -> ChildEnd:
    job = {"how": how, "value": 'snö "7"', "memory_mb": changes.pop("memory_mb", None)}
    return run_child(
        child,
        job,
        timeout_s=float(changes.pop("timeout_s", 60.0)),  # type: ignore[arg-type]
        log=tmp_path / "logs" / "child.log",
        env=thread_environment(3),
        **changes,  # type: ignore[arg-type]
    )


def test_a_result_comes_back_and_prints_go_to_the_log(child: str, tmp_path: Path) -> None:
    messages: list[dict[str, object]] = []
    end = run(child, tmp_path, "work", on_message=messages.append)
    assert end.outcome.ok
    assert end.result == {"echo": 'snö "7"', "threads": "3"}
    assert messages == [{"phase": "begun"}]
    assert "a runtime prints" in (tmp_path / "logs" / "child.log").read_text()


@pytest.mark.parametrize(
    ("how", "status", "words"),
    [
        ("abort", "crashed", "SIGABRT"),
        ("killed", "crashed", "killed from outside (SIGKILL"),
        ("exit", "crashed", "exit code 7"),
        ("bad_alloc", "out_of_memory", "bad_alloc"),
        ("typed", "load_failed", "no such layer"),
        ("unsupported", "unsupported", "no such precision"),
        ("phase", "load_failed", "ValueError: broken file"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_every_end_has_its_type(
    child: str, tmp_path: Path, how: str, status: str, words: str
) -> None:
    end = run(child, tmp_path, how)
    assert end.outcome.status == status
    assert words in end.outcome.reason
    assert end.result is None


def test_a_remedy_comes_along(child: str, tmp_path: Path) -> None:
    assert run(child, tmp_path, "typed").outcome.remedy == "export it anew"


@pytest.mark.heavy
def test_a_hang_ends_at_its_timeout(child: str, tmp_path: Path) -> None:
    started = time.monotonic()
    end = run(child, tmp_path, "hang", timeout_s=1.0)
    assert end.outcome.status == "timeout"
    assert time.monotonic() - started < 30


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA")
def test_memory_is_bounded(child: str, tmp_path: Path) -> None:
    end = run(child, tmp_path, "memory", memory_mb=512)
    assert end.outcome.status == "out_of_memory"
    assert "limits.memory_mb" in end.outcome.remedy


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA")
def test_a_hang_without_memory_left_is_for_want_of_it(child: str, tmp_path: Path) -> None:
    end = run(child, tmp_path, "full", memory_mb=512, timeout_s=6.0)
    assert end.outcome.status == "out_of_memory"
    assert "MiB left of the memory" in end.outcome.reason


def test_bad_input_found_by_a_child_is_bad_input(child: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="that is no detector"):
        run(child, tmp_path, "bad_input")


def test_an_interpreter_that_is_not_there(child: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such interpreter"):
        run(child, tmp_path, "work", python="/nowhere/python3")


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_child_started_is_killed_with_it(child: str, tmp_path: Path) -> None:
    messages: list[dict[str, int]] = []
    run(child, tmp_path, "grandchild", timeout_s=3.0, on_message=messages.append)
    pid = next(message["pid"] for message in messages if "pid" in message)
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_children_of_a_pool_stop_with_it(child: str, tmp_path: Path) -> None:
    messages: queue.Queue[dict[str, int]] = queue.Queue()
    pool = ThreadPoolExecutor(max_workers=1)
    first = pool.submit(
        run, child, tmp_path, "grandchild", timeout_s=300.0, on_message=messages.put
    )
    second = pool.submit(run, child, tmp_path, "hang", timeout_s=300.0)
    while "pid" not in (message := messages.get(timeout=60)):
        pass
    with pytest.raises(KeyboardInterrupt), children_stop_with(pool):
        raise KeyboardInterrupt
    assert not first.result(timeout=0).outcome.ok
    assert second.cancelled()
    deadline = time.monotonic() + 10
    while _runs(message["pid"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(message["pid"])
    assert run(child, tmp_path, "work").outcome.ok  # others start again


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_does_not_outlive_a_killed_parent(child: str, tmp_path: Path) -> None:
    import subprocess

    note = tmp_path / "pid"
    code = (
        "from pathlib import Path\nfrom deploymark.bench.children.spawn import run_child\n"
        "run_child('some_child', {'how': 'grandchild', 'value': 1}, timeout_s=600,\n"
        f"  log=Path({str(tmp_path / 'log')!r}), env={{'OMP_NUM_THREADS': '1'}},\n"
        f"  on_message=lambda m: Path({str(note)!r}).write_text(str(m.get('pid', ''))))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    parent.kill()
    parent.wait()
    assert children
    while any(_runs(int(pid)) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(int(pid)) for pid in children)
