"""A fleet whose parts are killed or cut off in a launch: what is lost, what is left running.

``python tests/benchmarks/fleet_faults.py [FAULT …]`` starts a scheduler and Dask workers of their
own, measures the embedded detector on them, and does one thing to them a time:

* ``worker``: SIGKILL of a Dask worker in a launch; it is started again, as a service would.
* ``worker-gone``: the same, and it stays away.
* ``link-30`` and ``link-gone``: a network namespace's link is down for 30 s, and for good (root).
* ``scheduler``: SIGKILL of the scheduler.
* ``driver``: SIGKILL of the driver; then ``--resume``.

Prints what came of each: exit code, launches, their repeats, and the processes that are left.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

MATRIX = """
models:
  - {path: builtin:digits, data: builtin:digits}
imgsz: [64]
backends: [onnxruntime]
precisions: [fp32, int8]
threads: [1]
scoring: {max_images: 3}
calibration: {images: 2}
measure:
  {launches: 3, memory_launches: 0, target_interval: null, warmup_max_s: 0.2, latency_s: 4,
   min_iterations: 2, e2e_iterations: 2, until: all}
validity: {enabled: false}
"""

FAULTS = ("worker", "worker-gone", "link-30", "link-gone", "scheduler", "driver")
LAUNCHES = 3 * 2 * 2
"""Of two cells on two devices."""

BRIDGE, INSIDE = "10.77.0.1", "10.77.0.2"
NAMESPACE, LINK, OTHER_END = "deploymark-b", "deploymark0", "deploymark1"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
"""linux/if_tun.h."""


class Parts:
    """The processes of a fleet, in a folder of its own."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder, self.host = folder, host
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"

    @property
    def address(self) -> str:
        return f"tcp://{self.host}:8991"

    def start(self, name: str, *command: str, within: tuple[str, ...] = ()) -> None:
        place = self.folder / name
        place.mkdir(exist_ok=True)
        with (place / "log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*within, sys.executable, *command],
                cwd=place,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    "FLEET_FAULTS": self.mark,
                    "DEPLOYMARK_CACHE": str(place / "cache"),
                },
            )

    def scheduler(self) -> None:
        self.start(
            "scheduler", "-m", "distributed.cli.dask_scheduler", "--host", self.host, "--port",
            "8991", "--no-dashboard",
        )  # fmt: skip

    def worker(self, name: str, within: tuple[str, ...] = ()) -> None:
        self.start(
            name, "-m", "distributed.cli.dask_worker", self.address, "--nthreads", "1",
            "--resources", "deploymark=1", "--name", name, "--no-dashboard", within=within,
        )  # fmt: skip

    def kill(self, name: str) -> None:
        """SIGKILL of a process and of what Dask started with it: nanny and worker."""
        process = psutil.Process(self.processes[name].pid)
        dask = [item for item in process.children() if "spawn_main" in " ".join(item.cmdline())]
        for item in (process, *dask):
            item.send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def left(self) -> list[str]:
        """Measured workers and agents of this fleet that run."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("FLEET_FAULTS") != self.mark:
                    continue
                words = " ".join(process.cmdline())
                if "fleet.agent" in words or "worker.main" in words:
                    found.append(words)
        return found

    def end(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def driver(parts: Parts, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deploymark", "fleet", *words, "--scheduler", parts.address],
        cwd=parts.folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    file = next(iter((folder / "results").glob("*/launches.jsonl")), None)
    return [] if file is None else [json.loads(line) for line in file.read_text().splitlines()]


def wait_for(what: Callable[[], bool], timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > until:
            raise TimeoutError(what)
        time.sleep(0.1)


def sh(*command: str) -> None:
    subprocess.run(command, check=True)


def tunnel(name: str) -> int:
    """A TUN device of that name; what is written to the descriptor arrives at it."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return descriptor


def carry(source: int, target: int) -> None:
    """Pass packets on; those that a device which is down does not take are lost."""
    while True:
        try:
            packet = os.read(source, 1 << 16)
        except OSError:
            time.sleep(0.05)
            continue
        with contextlib.suppress(OSError):
            os.write(target, packet)


@contextlib.contextmanager
def namespace() -> Iterator[tuple[str, ...]]:
    """A network namespace that reaches this host by one link; the words that run within it.

    Two TUN devices with a wire of our own: kernels without veth have these.
    """
    ends = tunnel(LINK), tunnel(OTHER_END)
    sh("ip", "netns", "add", NAMESPACE)
    try:
        sh("ip", "link", "set", OTHER_END, "netns", NAMESPACE)
        for source, target in (ends, ends[::-1]):
            threading.Thread(target=carry, args=(source, target), daemon=True).start()
        within = ("ip", "netns", "exec", NAMESPACE)
        sh("ip", "addr", "add", BRIDGE, "peer", INSIDE, "dev", LINK)
        sh("ip", "link", "set", LINK, "up")
        sh(*within, "ip", "addr", "add", INSIDE, "peer", BRIDGE, "dev", OTHER_END)
        sh(*within, "ip", "link", "set", OTHER_END, "up")
        sh(*within, "ip", "link", "set", "lo", "up")
        yield within
    finally:
        sh("ip", "netns", "del", NAMESPACE)
        sh("ip", "link", "del", LINK)


def try_fault(fault: str, bundle: Path, folder: Path) -> None:
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        within: tuple[str, ...] = ()
        host = "127.0.0.1"
        if fault.startswith("link"):
            within, host = stack.enter_context(namespace()), BRIDGE
        parts = Parts(folder, host)
        stack.callback(parts.end)
        parts.scheduler()
        time.sleep(2)
        parts.worker("a")
        parts.worker("b", within)
        time.sleep(4)
        patience = "20" if fault.endswith("gone") else "120"
        run = driver(parts, str(bundle), "--wait-s", patience)
        wait_for(lambda: len(lines(folder)) >= 3, 60)
        wait_for(lambda: len(parts.left()) >= 4, 20)  # an agent and a worker on either device
        at = time.monotonic()
        harm(fault, parts, run)
        said, _ = run.communicate(timeout=300)
        took = time.monotonic() - at
        print(f"== {fault}: exit {run.returncode}, {took:.0f} s after the fault")
        print("\n".join(f"   {line}" for line in said.splitlines()[-40:] if interesting(line)))
        if fault in ("scheduler", "driver"):
            before = lines(folder)
            time.sleep(2)
            print(f"   {len(before)} finished launches on disk, left running: {parts.left()}")
            if fault == "scheduler":
                parts.end()
                parts.scheduler()
                time.sleep(2)
                parts.worker("a")
                parts.worker("b")
                time.sleep(4)
            (found,) = (folder / "results").glob("2*")
            run = driver(parts, "--resume", str(found))
            said, _ = run.communicate(timeout=300)
            kept = lines(folder)[: len(before)] == before
            print(f"   resumed: exit {run.returncode}, what was finished is as it was: {kept}")
        time.sleep(1)
        show(folder, parts)


def harm(fault: str, parts: Parts, run: subprocess.Popen[str]) -> None:
    if fault.startswith("worker"):
        parts.kill("b")
        time.sleep(1)
        here = [words for words in parts.left() if f"{os.sep}b{os.sep}" in words]
        print(f"   a second after the kill, of device b: {here}")
        if fault == "worker":
            parts.worker("b")
    elif fault == "scheduler":
        os.killpg(parts.processes["scheduler"].pid, signal.SIGKILL)
    elif fault == "driver":
        run.kill()
    else:
        sh("ip", "link", "set", LINK, "down")
        if fault == "link-30":
            time.sleep(30)
            sh("ip", "link", "set", LINK, "up")
            time.sleep(5)
            alive = parts.processes["b"].poll() is None
            print(f"   the Dask worker outlived the cut: {alive}")
            if not alive:
                parts.worker("b", ("ip", "netns", "exec", NAMESPACE))


def interesting(line: str) -> bool:
    if line.startswith("["):
        return False
    return any(word in line for word in ("left", "error", "gone", "return", "→", "kept", "go on"))


def show(folder: Path, parts: Parts) -> None:
    made = Counter((item["machine"], item["cell"], item["launch"]) for item in lines(folder))
    statuses = Counter(item["status"] for item in lines(folder))
    rows = next(iter((folder / "results").glob("*/cells.json")), None)
    cells = [] if rows is None else json.loads(rows.read_text())
    print(
        f"   launches: {sum(made.values())} of {LAUNCHES}, made twice: "
        f"{[key for key, count in made.items() if count > 1]}, {dict(statuses)}"
    )
    for row in cells:
        print(f"   {row['machine']} {row['cell']}: {row['status']} {row['reason'] or ''}")
    print(f"   left running: {parts.left()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", default=FAULTS, choices=[*FAULTS, []])
    chosen = parser.parse_args().faults
    with tempfile.TemporaryDirectory(prefix="fleet-faults-") as name:
        folder = Path(name)
        (folder / "m.yaml").write_text(MATRIX)
        bundle = folder / "m.dmb"
        subprocess.run(
            [sys.executable, "-m", "deploymark", "bundle", "m.yaml", "-o", str(bundle)],
            cwd=folder,
            check=True,
            capture_output=True,
        )
        for fault in chosen:
            try_fault(fault, bundle, folder / fault)


if __name__ == "__main__":
    main()
