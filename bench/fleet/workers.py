"""Dask workers on the hosts of a ``hosts.yaml``, and their scheduler: all through SSH.

The scheduler listens on this machine's loopback, each worker on its own, and both reach the other
through the ports that SSH forwards: nothing is open to the network, and SSH's keys say who is who.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from deploymark.bench.errors import FleetError
from deploymark.bench.fleet import ssh
from deploymark.bench.fleet.hosts_file import Host
from deploymark.bench.fleet.keeper import free_port
from deploymark.bench.fleet.roster import RESOURCE, Fleet

_LOOPBACK = "127.0.0.1"
_AGAIN_S = 5.0
"""Seconds between attempts to reach a device again whose connection was lost."""

_START_S = 60.0
_POLL_S = 0.2

Say = Callable[[str], None]

WORKER_ENVIRONMENT = {
    # The profiler looks at the worker's threads every 10 ms, on the device that measures.
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}


def worker_command(python: str, scheduler: str, name: str) -> list[str]:
    """The command of a device's Dask worker: one task at a time, known by its name."""
    return [
        python, "-m", "distributed.cli.dask_worker", scheduler, "--name", name, "--nthreads", "1",
        "--resources", f"{RESOURCE}=1", "--no-dashboard",
    ]  # fmt: skip


@contextlib.contextmanager
def local_scheduler(log: Path) -> Iterator[str]:
    """A scheduler on this machine's loopback; its address. It is gone when the block is left."""
    port = free_port()
    command = [
        sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", _LOOPBACK,
        "--port", str(port), "--no-dashboard",
    ]  # fmt: skip
    with log.open("ab") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)
    try:
        _wait_for(port)
        yield f"tcp://{_LOOPBACK}:{port}"
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5.0)
        process.kill()
        process.wait()


def _wait_for(port: int) -> None:
    """Wait until somebody listens at a port. Raises FleetError."""
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection((_LOOPBACK, port), timeout=1):
            return
        time.sleep(_POLL_S)
    raise FleetError(f"no Dask scheduler starts here at port {port}")


class SshWorkers:
    """A Dask worker on each host, started again where it or its connection is lost.

    Use as a context manager. ``ready`` waits for the first connections.
    """

    def __init__(self, hosts: Sequence[Host], scheduler: str) -> None:
        self._hosts, self._port = hosts, int(scheduler.rpartition(":")[2])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._started: list[asyncio.Future[None]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ready(self) -> list[str]:
        """What went wrong with hosts that could not be reached, a sentence each.

        Raises FleetError where none could.
        """
        errors = asyncio.run_coroutine_threadsafe(self._first(), self._loop).result()
        if len(errors) == len(self._hosts):
            raise FleetError("no host could be reached: " + "; ".join(errors))
        return errors

    async def _start(self) -> None:
        for host in self._hosts:
            started: asyncio.Future[None] = self._loop.create_future()
            self._started.append(started)
            self._tasks.append(self._loop.create_task(self._follow(host, started)))

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _first(self) -> list[str]:
        results = await asyncio.gather(*self._started, return_exceptions=True)
        return [str(result) for result in results if isinstance(result, BaseException)]

    async def _follow(self, host: Host, started: asyncio.Future[None]) -> None:
        """Keep a worker on a host; over a new connection where one was lost."""
        while True:
            try:
                await self._once(host, started)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - told where it is the first, else tried again
                if not started.done():
                    started.set_exception(error)
                    return
            await asyncio.sleep(_AGAIN_S)

    async def _once(self, host: Host, started: asyncio.Future[None]) -> None:
        async with ssh.connected(host) as connection, ssh.kept(connection, host) as (process, port):
            to_scheduler = await connection.forward_remote_port(_LOOPBACK, 0, _LOOPBACK, self._port)
            to_worker = await connection.forward_local_port(_LOOPBACK, 0, _LOOPBACK, port)
            scheduler = f"tcp://{_LOOPBACK}:{to_scheduler.get_port()}"
            command = [
                *worker_command(host.python, scheduler, host.name),
                "--no-nanny", "--listen-address", f"tcp://{_LOOPBACK}:{port}",
                "--contact-address", f"tcp://{_LOOPBACK}:{to_worker.get_port()}",
            ]  # fmt: skip
            ssh.tell(process, host, command, again=True, environment=WORKER_ENVIRONMENT)
            if not started.done():
                started.set_result(None)
            await _drained(process)


async def _drained(process: Any) -> None:
    """Wait for the end of a keeper; what its worker says is not kept: it says it there."""
    await asyncio.gather(_nowhere(process.stdout), _nowhere(process.stderr))


async def _nowhere(stream: Any) -> None:
    while await stream.read(1 << 16):
        pass


@contextlib.contextmanager
def over_ssh(hosts: Sequence[Host], say: Say) -> Iterator[Fleet]:
    """The devices of hosts, each with a Dask worker that is gone when the block is left.

    Raises FleetError where none can be reached, or none starts a worker.
    """
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        log = Path(folder) / "scheduler.log"
        with local_scheduler(log) as address, SshWorkers(hosts, address) as workers:
            say(f"reaching {len(hosts)} hosts over SSH")
            for error in workers.ready():
                say(error)
            with Fleet(address) as fleet:
                until = time.monotonic() + _START_S
                while len(fleet.able()) < len(hosts) and time.monotonic() < until:
                    time.sleep(_POLL_S)
                there = {str(worker.get("name")) for worker in fleet.able().values()}
                if not there:
                    raise FleetError(
                        "no host has started a Dask worker",
                        remedy="Each host's Python needs Dask and numpy: pip install distributed "
                        "numpy, beside the runtimes.",
                    )
                for host in hosts:
                    if host.name not in there:
                        say(f"{host.name}: has no Dask worker after {_START_S:g} s")
                yield fleet
