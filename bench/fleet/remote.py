"""An executor whose workers are on a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploymark.bench.children.memory_limit import Enforcement, Way
from deploymark.bench.children.spawn import ChildEnd, outcome_of_failure
from deploymark.bench.errors import FleetError
from deploymark.bench.fleet import device as device_side
from deploymark.bench.fleet.contents import BundleFiles, source
from deploymark.bench.fleet.roster import Device, DeviceLeftError, Fleet
from deploymark.bench.machine.probing import TIMEOUT_S, probe_backends
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.room import writing
from deploymark.bench.run.bundled import Site
from deploymark.bench.run.executor import OnMessage

PIECE_BYTES = 4 << 20
"""Of a file, sent at once: Dask warns of arguments from 10 MB on."""

_MOST_STEPS = 4

ATTEMPTS = 3
"""Of a launch on a device that leaves and returns. What takes it away three times does so again."""

Say = Callable[[str], None]


class DeviceFaultError(FleetError):
    """A device that cannot measure at all; the others can."""


class DeviceGoneError(Exception):
    """A device has left for good, as far as this run goes; the message says when."""


class Remote:
    """Workers of one device. ``wait_s`` is how long one that has left is waited for."""

    def __init__(
        self, fleet: Fleet, device: Device, bundle: BundleFiles, wait_s: float, say: Say
    ) -> None:
        self._fleet, self._device, self._bundle = fleet, device, bundle
        self._wait_s, self._say = wait_s, say
        self._memory_way: Way | None = None

    @property
    def machine(self) -> str:
        """The device's name in the run."""
        return self._device.name

    @property
    def memory_way(self) -> Way | None:
        """As the device said (``look``)."""
        return self._memory_way

    def as_told(self, other: Remote) -> None:
        """Take what the device has said to another of its executors."""
        self._memory_way = other.memory_way

    def about(self, packages: list[str]) -> dict[str, Any]:
        """The device's fingerprint, threads, limits and versions (``bench.fleet.agent.about``)."""
        call = {"kind": "about", "packages": packages}
        reply = self._perform(call, {}, TIMEOUT_S)
        message: dict[str, Any] | None = reply["message"]
        if message is None or message.pop("event", "") != "result":
            raise DeviceFaultError(
                f"device {self.machine} cannot start the agent: {_last_line(reply['log'])}",
                remedy="Its Dask worker's Python needs psutil and numpy.",
            )
        self._memory_way = message["memory_way"]
        return message

    def look(self, cells: list[Cell], told: Mapping[str, Any]) -> Site:
        """What the device says of itself, for a plan; ``told`` is what ``about`` gave."""
        backends = {}
        for python in dict.fromkeys(cell.python for cell in cells):
            names = dict.fromkeys(cell.backend for cell in cells if cell.python == python)

            def ask(job: dict[str, Any], python: str | None = python) -> ChildEnd:
                return self.work(job, timeout_s=TIMEOUT_S, log=None, python=python, threads=0)

            backends[python] = probe_backends(names, log=Path(), ask=ask).backends
        versions = {
            name: found.probe.version
            for of_python in backends.values()
            for name, found in of_python.items()
            if found.probe.version
        }
        return Site(
            backends=backends,
            threads=told["threads"],
            memory=Enforcement(told["memory_way"], told["memory_reason"]),
            packages={**told["packages"], **versions},
        )

    def work(
        self,
        job: Mapping[str, Any],
        *,
        timeout_s: float,
        log: Path | None,
        python: str | None,
        threads: int,
        memory_limit_mb: int | None = None,
        on_message: OnMessage | None = None,
    ) -> ChildEnd:
        """A fresh worker on the device; made again where the device leaves and returns.

        Raises DeviceGoneError where it does not return, and as ``Fleet.ask``.
        """
        del on_message  # it would cross the network while the device measures
        call = self._bundle.call(job)
        reply = self._perform(
            {
                "kind": "work",
                "job": call.job,
                "timeout_s": timeout_s,
                "python": python,
                "threads": threads,
                "limit_mb": memory_limit_mb,
                "log": "{deploymark-log}",
            },
            call.files,
            timeout_s,
        )
        if log is not None:
            with writing(log), log.open("ab") as stream:
                stream.write(reply["log"])
        for name, data in reply["outputs"].items():
            if (place := call.outputs.get(name)) is not None:
                with writing(place):
                    place.write_bytes(data)
        return _end(reply, timeout_s)

    def _perform(
        self, call: Mapping[str, Any], files: device_side.Files, timeout_s: float
    ) -> dict[str, Any]:
        request = {
            "source": source().files,
            "files": files,
            "call": call,
            "timeout_s": timeout_s,
        }
        for attempt in range(ATTEMPTS):
            try:
                address = self._fleet.wait_for(self._device, self._wait_s)
                while True:
                    reply: dict[str, Any] = self._fleet.ask(address, device_side.perform, request)
                    if "missing" not in reply:
                        break
                    for sha256 in reply["missing"]:
                        self._send(address, sha256)
                if not reply.get("unwanted"):
                    return reply
            except DeviceLeftError:
                self._left(attempt)
        raise DeviceGoneError(f"device {self.machine} left {ATTEMPTS} times in one launch")

    def _left(self, attempt: int) -> None:
        """Wait for the device where there is an attempt left. Raises DeviceGoneError."""
        since = time.strftime("%H:%M:%S", time.gmtime())
        if attempt + 1 < ATTEMPTS:
            self._say(f"it left; its launch is made again when it returns, in {self._wait_s:g} s")
        try:
            self._fleet.wait_for(self._device, self._wait_s)
        except DeviceLeftError:
            raise DeviceGoneError(
                f"device {self.machine} left at {since} UTC and did not return in "
                f"{self._wait_s:g} s"
            ) from None

    def _send(self, address: str, sha256: str) -> None:
        """Send one file, piece by piece, from where the device has it."""
        place = source().places.get(sha256) or self._bundle.places[sha256]
        size, offset, steps = place.stat().st_size, 0, 0
        with place.open("rb") as stream:
            while offset >= 0:
                stream.seek(offset)
                data = stream.read(PIECE_BYTES)
                offset = self._fleet.ask(address, device_side.put, sha256, offset, data, size)
                steps += 1
                if steps > _MOST_STEPS + 2 * size // PIECE_BYTES:
                    raise FleetError(
                        f"{place} cannot be sent to device {self.machine}: it has changed here, or "
                        "does not arrive as it was",
                        remedy="Go on with --resume, which checks the bundle again.",
                    )


def _end(reply: Mapping[str, Any], timeout_s: float) -> ChildEnd:
    """How the worker ended, by what the agent said last."""
    message = dict(reply["message"] or {})
    event = message.pop("event", "")
    if event == "result":
        return ChildEnd(
            Outcome(**message["outcome"]), message["result"], float(message["duration_s"])
        )
    if event == "failed":
        return ChildEnd(outcome_of_failure(message), None, 0.0)
    if event == "timeout":
        return ChildEnd(Outcome("timeout", f"no end after {timeout_s:g} s"), None, timeout_s)
    said = _last_line(reply["log"])
    outcome = Outcome(
        "crashed",
        f"the device's agent ended with exit code {reply['code']}"
        + (f"; its last words: {said}" if said else ""),
        outside=True,
    )
    return ChildEnd(outcome, None, 0.0)


def _last_line(log: bytes) -> str:
    lines = [line.strip() for line in log.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
