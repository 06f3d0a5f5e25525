from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from deploymark.bench.children import memory_limit
from deploymark.bench.children.memory_limit import (
    Enforcement,
    Limited,
    Way,
    enforcement,
    memory_events,
    oom_kills,
    own_group,
    parent_of_groups,
)
from deploymark.bench.children.spawn import ChildEnd, run_child
from deploymark.bench.records.outcomes import Outcome, Status
from deploymark.bench.run.weighing import blamed, enforcement_note

linux = pytest.mark.skipif(sys.platform != "linux", reason="limits are enforced on Linux only")

CHILD = """
import os
from deploymark.bench.children.child import serve

def work(job, send):
    pages = [bytearray(b"x") * (1 << 20) for _ in range(job["mib"])]
    if group := job.get("write_events_in"):
        with open(os.path.join(group, os.listdir(group)[0], "memory.events"), "w") as stream:
            stream.write(job["events"])
        os.kill(os.getpid(), 9)
    return {"held": sum(map(len, pages)), "limit": job.get("memory_limit_mb")}

if __name__ == "__main__":
    serve(work)
"""

EVENTS = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 1\n"
"""memory.events of Linux 6, as the kernel's cgroup-v2.rst lists its entries."""

MOUNTINFO = """\
22 29 0:21 / /proc rw,nosuid - proc proc rw
30 22 0:26 / {mount} rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "hungry_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return "hungry_child"


def run(child: str, tmp_path: Path, limit_mb: int | None, **job: object) -> ChildEnd:
    return run_child(child, job, timeout_s=60, log=tmp_path / "child.log", memory_limit_mb=limit_mb)


@linux
def test_a_child_that_takes_too_much_is_out_of_memory(child: str, tmp_path: Path) -> None:
    end = run(child, tmp_path, 128, mib=400)
    assert end.outcome.status == "out_of_memory"
    assert "128 MiB" in end.outcome.reason
    assert "memory_limit_mb" in end.outcome.remedy
    assert end.result is None


@linux
@pytest.mark.parametrize("limit_mb", [None, 600])
def test_a_child_that_fits_is_ok(child: str, tmp_path: Path, limit_mb: int | None) -> None:
    end = run(child, tmp_path, limit_mb, mib=400)
    assert end.outcome.ok, end.outcome
    assert end.result is not None
    assert end.result["held"] == 400 << 20


@linux
def test_this_machine_says_how_it_enforces() -> None:
    how = enforcement()
    assert how.way in {"cgroup-v2", "rlimit-data"}
    assert (how.parent is None) == (how.way == "rlimit-data") == bool(how.reason)
    assert ("control groups" in enforcement_note()) == (how.way == "cgroup-v2")


def test_the_counters_of_a_group(tmp_path: Path) -> None:
    assert memory_events(tmp_path) == {}
    (tmp_path / "memory.events").write_text(EVENTS)
    assert memory_events(tmp_path)["oom_kill"] == 1
    assert memory_events(tmp_path)["max"] == 12


@pytest.mark.parametrize(
    ("membership", "root", "below"),
    [
        ("0::/user.slice/user-1000.slice/app.scope\n", "/", "user.slice/user-1000.slice/app.scope"),
        ("0::/\n", "/", ""),
        ("4:memory:/some\n1:cpu:/\n0::/a/b\n", "/a", "b"),
        ("0::/elsewhere\n", "/docker/0123", None),
        ("4:memory:/some\n1:cpu:/\n", "/", None),
    ],
)
def test_the_group_of_a_process(
    tmp_path: Path, membership: str, root: str, below: str | None
) -> None:
    (tmp_path / "cgroup").write_text(membership)
    mount = tmp_path / "sys"
    (tmp_path / "mountinfo").write_text(
        MOUNTINFO.format(mount=mount).replace(" / " + str(mount), f" {root} {mount}")
    )
    assert own_group(tmp_path) == (None if below is None else (mount / below, mount))


def test_kills_are_counted_in_the_group_and_on_the_machine(tmp_path: Path) -> None:
    proc, group = tmp_path / "proc" / "self", tmp_path / "cgroup" / "app"
    for folder in (proc, group):
        folder.mkdir(parents=True)
    assert oom_kills(proc) == {}
    (proc.parent / "vmstat").write_text("nr_free_pages 12\noom_kill 3\ndrop_pagecache 0\n")
    assert oom_kills(proc) == {"machine": 3}
    (proc / "cgroup").write_text("0::/app\n")
    (proc / "mountinfo").write_text(MOUNTINFO.format(mount=group.parent))
    (group / "memory.events").write_text(EVENTS)
    assert oom_kills(proc) == {"group": 1, "machine": 3}


@linux
def test_a_kill_that_the_kernel_counts_is_for_want_of_memory(
    child: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child writes the group's count as the kernel does, and dies as one killed by it."""
    group = tmp_path / "group"
    (group / "own").mkdir(parents=True)
    events = group / "own" / "memory.events"
    events.write_text("oom 0\noom_kill 0\n")
    monkeypatch.setattr(
        memory_limit, "oom_kills", lambda: {"group": memory_events(group / "own")["oom_kill"]}
    )
    job = {"mib": 0, "write_events_in": str(group)}
    end = run(child, tmp_path, None, **job, events=EVENTS)
    assert end.outcome.status == "out_of_memory"
    assert "(oom_kill)" in end.outcome.reason
    assert not end.outcome.outside
    end = run(child, tmp_path, None, **job, events=EVENTS)
    assert (end.outcome.status, end.outcome.outside) == ("crashed", True)
    assert "the kernel counts no kill for want of memory" in end.outcome.reason


@linux
def test_too_little_for_numpy_is_told_long_before_the_time_limit(
    child: str, tmp_path: Path
) -> None:
    end = run(child, tmp_path, None, mib=0, memory_mb=40)
    assert end.outcome.status == "out_of_memory", end.outcome
    assert "buffers of numpy" in end.outcome.reason
    assert "limits.memory_mb" in end.outcome.remedy


def test_groups_are_made_below_the_nearest_that_hands_memory_on(tmp_path: Path) -> None:
    own = tmp_path / "user" / "app" / "scope"
    own.mkdir(parents=True)
    for folder, handed_on in (
        (own, ""),
        (own.parent, "memory pids"),
        (own.parent.parent, "cpu memory pids"),
    ):
        (folder / "cgroup.subtree_control").write_text(handed_on)
        (folder / "cgroup.procs").write_text("")
    assert parent_of_groups(own, tmp_path) == (own.parent, "")
    for folder in (own.parent, own.parent.parent):
        (folder / "cgroup.subtree_control").write_text("cpu pids")
    found, reason = parent_of_groups(own, tmp_path)
    assert found is None
    assert "hands the memory controller on" in reason


@linux
def test_a_child_joins_its_group_and_the_kernels_word_counts(
    child: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a tree of plain files: what the kernel would write, the child does."""
    groups = tmp_path / "groups"
    groups.mkdir()
    made = Enforcement("cgroup-v2", parent=groups)
    monkeypatch.setattr(memory_limit, "enforcement", lambda: made)
    monkeypatch.setattr(memory_limit, "LEAVE_S", 0.0)
    end = run(child, tmp_path, 100, mib=1, write_events_in=str(groups), events=EVENTS)
    assert end.outcome.status == "out_of_memory"
    assert "its limit of 100 MiB" in end.outcome.reason
    (group,) = groups.iterdir()
    written = {path.name: path.read_text() for path in group.iterdir()}
    assert written == {
        "memory.max": str(100 << 20),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "cgroup.procs": "0",
        "memory.events": EVENTS,
    }


def test_a_limit_above_the_group_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text(EVENTS.replace("oom 1", "oom 0"))
    outcome = Limited(100, "cgroup-v2", tmp_path).outcome(Outcome("crashed", "SIGKILL"))
    assert outcome.status == "out_of_memory"
    assert "a limit above it" in outcome.reason


@pytest.mark.parametrize(
    ("way", "ended", "without", "status"),
    [
        ("rlimit-data", "crashed", "ok", "out_of_memory"),
        ("rlimit-data", "load_failed", "ok", "out_of_memory"),
        ("rlimit-data", "crashed", "crashed", "crashed"),
        ("rlimit-data", "timeout", "ok", "out_of_memory"),
        ("rlimit-data", "timeout", "timeout", "timeout"),
        ("rlimit-data", "unsupported", "ok", "unsupported"),
        ("rlimit-data", "ok", "ok", "ok"),
        ("cgroup-v2", "crashed", "ok", "crashed"),
        ("cgroup-v2", "timeout", "ok", "out_of_memory"),
    ],
)
def test_a_crash_is_blamed_on_the_limit_where_it_works_without(
    way: Way, ended: Status, without: Status, status: str
) -> None:
    outcome = blamed(Outcome(ended), 64, lambda: Outcome(without), way)
    assert outcome.status == status
