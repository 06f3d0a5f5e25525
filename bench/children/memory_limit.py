"""A real limit on the memory of a child: a control group of its own, or what there is instead.

A control group (cgroup v2, the kernel's Documentation/admin-guide/cgroup-v2.rst) counts every page
that a process touches, file pages and kernel memory too, and the kernel ends it where it takes more
than ``memory.max`` and nothing can be reclaimed. Where this process may make none, RLIMIT_DATA
(setrlimit(2)) is the weaker one: it counts private writable memory, touched or not, and lets the
allocation fail instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from deploymark.bench.errors import BadInputError
from deploymark.bench.records.outcomes import Outcome

Way = Literal["cgroup-v2", "rlimit-data"]
"""How a limit is enforced: ``memory.max`` of a control group; RLIMIT_DATA."""

MIB = 1 << 20
CONTROLLER = "memory"
PROC = Path("/proc/self")

_JOIN = (
    "import os, sys\n"
    "with open(os.path.join(sys.argv[1], 'cgroup.procs'), 'w') as stream:\n"
    "    stream.write('0')\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)
"""Joins a group and becomes the command: what was charged before it joined stays where it was."""

_numbers = itertools.count()
_TRY_S = 30.0
LEAVE_S = 5.0
"""Seconds that the kernel gets to let a group go whose processes were killed."""


@dataclasses.dataclass(frozen=True)
class Enforcement:
    """How this machine enforces a limit. ``way`` is None where it can enforce none.

    ``reason`` says why it is not a control group; ``parent`` is the folder that gets the groups.
    """

    way: Way | None
    reason: str = ""
    parent: Path | None = None


class Limited:
    """A limit that is in force: what goes before the child's command, and what became of it."""

    def __init__(self, limit_mb: int, way: Way, group: Path | None = None) -> None:
        self.limit_mb, self.way, self._group = limit_mb, way, group

    def command(self, command: list[str]) -> list[str]:
        """The command, begun inside the group where there is one."""
        if self._group is None:
            return command
        return [sys.executable, "-I", "-S", "-c", _JOIN, str(self._group), *command]

    @property
    def rlimit_mb(self) -> int | None:
        """What the child sets itself; None where a group holds it."""
        return self.limit_mb if self.way == "rlimit-data" else None

    def outcome(self, outcome: Outcome) -> Outcome:
        """How the child ended, where the kernel says that the limit ended it."""
        remedy = "Raise memory_limit_mb, or choose a smaller imgsz, batch or precision."
        if self._group is not None and (events := memory_events(self._group)).get("oom_kill"):
            whose = f"its limit of {self.limit_mb} MiB" if events.get("oom") else "a limit above it"
            return Outcome(
                "out_of_memory",
                f"the kernel ended the process at {whose} (oom_kill in memory.events)",
                remedy,
            )
        if outcome.status == "out_of_memory" and self.way == "rlimit-data":
            reason = f"within {self.limit_mb} MiB of RLIMIT_DATA: {outcome.reason}"
            return Outcome("out_of_memory", reason, remedy)
        return outcome


def memory_events(group: Path) -> dict[str, int]:
    """The counters of a group's ``memory.events``: ``low, high, max, oom, oom_kill, …``."""
    try:
        lines = (group / "memory.events").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}  # noqa: PLR2004


def oom_kills(proc: Path = PROC) -> dict[str, int]:
    """How often the kernel has killed for want of memory, by counter; those that can be read.

    ``group`` counts in this process's control group and those below it (``memory.events``),
    ``machine`` everywhere (``/proc/vmstat``), other groups' kills too.
    """
    found = {}
    group = own_group(proc)
    if group is not None and (events := memory_events(group[0])):
        found["group"] = events.get("oom_kill", 0)
    with contextlib.suppress(OSError, ValueError):
        for line in (proc.parent / "vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                found["machine"] = int(line.split()[1])
    return found


def own_group(proc: Path = PROC) -> tuple[Path, Path] | None:
    """The folders of this process's group and of the hierarchy's root; None without cgroup v2."""
    with contextlib.suppress(OSError, StopIteration):
        memberships = (proc / "cgroup").read_text(encoding="utf-8").splitlines()
        path = next(line[3:] for line in memberships if line.startswith("0::"))
        for line in (proc / "mountinfo").read_text(encoding="utf-8").splitlines():
            # proc(5): ID parent major:minor root mount-point options … - type source options
            fields, _, rest = line.partition(" - ")
            if rest.split()[:1] == ["cgroup2"]:
                root, mount = fields.split()[3:5]
                below = os.path.relpath(path, root)
                if not below.startswith(".."):
                    return Path(mount, below), Path(mount)
    return None


def parent_of_groups(own: Path, root: Path) -> tuple[Path | None, str]:
    """The nearest group above that hands its memory controller on, and that may get one more.

    What hands controllers on is not changed: that is the administrator's, or systemd's.
    """
    reason = f"no group above {own} hands the memory controller on (cgroup.subtree_control)"
    for folder in [own, *own.parents]:
        with contextlib.suppress(OSError):
            if CONTROLLER in (folder / "cgroup.subtree_control").read_text("ascii").split():
                if os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK):
                    return folder, ""
                reason = f"{folder} is not delegated to this user"
        if folder == root:
            break
    return None, reason


@functools.cache
def enforcement() -> Enforcement:
    """The strongest limit that this process may set, tried once with a child that does nothing."""
    if sys.platform != "linux":
        return Enforcement(None, "limits of memory are enforced on Linux only")
    found = own_group()
    parent, reason = parent_of_groups(*found) if found else (None, "no cgroup v2 is mounted")
    if parent is not None:
        try:
            with _group(parent, 256) as group:
                command = Limited(256, "cgroup-v2", group).command([sys.executable, "-c", ""])
                subprocess.run(
                    command,
                    check=True,
                    capture_output=True,
                    stdin=subprocess.DEVNULL,
                    timeout=_TRY_S,
                )
            return Enforcement("cgroup-v2", parent=parent)
        except (BadInputError, OSError, subprocess.SubprocessError) as error:
            reason = f"{parent}: no group can be made and joined: {error}"
    return Enforcement("rlimit-data", reason)


@contextlib.contextmanager
def _group(parent: Path, limit_mb: int) -> Iterator[Path]:
    """A group of its own below ``parent`` with that limit and no swap; gone afterwards."""
    group = parent / f"deploymark-{os.getpid()}-{next(_numbers)}"
    try:
        group.mkdir()
    except OSError as error:
        raise BadInputError(f"{group}: no group can be made: {error.strerror or error}") from error
    try:
        (group / "memory.max").write_text(str(limit_mb * MIB), encoding="ascii")
        with contextlib.suppress(FileNotFoundError):  # a kernel without swap has no such file
            (group / "memory.swap.max").write_text("0", encoding="ascii")
        (group / "memory.oom.group").write_text("1", encoding="ascii")
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """Remove a group; the kernel lets it go when the last process that was in it is gone."""
    deadline = time.monotonic() + LEAVE_S
    while True:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                return  # an empty group costs nothing, and a run is not stopped for it
            time.sleep(0.02)
        else:
            return


@contextlib.contextmanager
def limited(limit_mb: int | None) -> Iterator[Limited | None]:
    """The limit for one child, as this machine enforces it; None where none is asked for.

    Raises BadInputError where the group cannot be made any more. A machine that enforces none gives
    None: ask ``enforcement`` before.
    """
    found = None if limit_mb is None else enforcement()
    if limit_mb is None or found is None or found.way is None:
        yield None
    elif found.parent is None:
        yield Limited(limit_mb, found.way)
    else:
        with _group(found.parent, limit_mb) as group:
            yield Limited(limit_mb, found.way, group)
