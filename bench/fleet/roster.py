"""The devices of a scheduler: who is there, what they are asked, and who has left."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from deploymark.bench.errors import BadInputError, FleetError
from deploymark.bench.fleet import device as device_side
from deploymark.bench.fleet.knock import Tls, knock

RESOURCE = "deploymark"

_CONNECT_S = 15.0
_LOOK_S = 1.0
_POLL_S = 0.2
_PATIENCE_S = 30.0
"""Seconds without an answer of the scheduler after which it is gone."""

_RUN = "(lambda space: (exec(source, space), space[function](*arguments))[1])({})"
"""Runs a function of ``bench.fleet.device`` from its source.

A device and the scheduler have no Deploymark to import it from, and byte code would bind them to
this Python's version.
"""

_ADDRESS = re.compile(r"^[a-z]+://")
_MOST_NAME = 40
_NO_TLS = Tls()


class DeviceLeftError(Exception):
    """A device that was asked something has left, or never was there."""


class StoppedError(Exception):
    """The run was stopped while a device was asked."""


@dataclasses.dataclass
class Device:
    """A device under its name in the run, and how it is known again when it returns."""

    name: str
    known_by: tuple[str, str]
    address: str | None


def clean_name(name: str) -> str:
    """A device's name as it stands in files' names and in ids."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("._-")[:_MOST_NAME] or "device"


class Fleet:
    """A scheduler and its devices. Use as a context manager; asked from several threads at once.

    Raises FleetError where no scheduler answers, BadInputError where Dask is not installed or a
    certificate cannot be used.
    """

    def __init__(self, address: str, tls: Tls = _NO_TLS) -> None:
        self.address = address
        self.devices: dict[str, Device] = {}
        self._workers: dict[str, Mapping[str, Any]] = {}
        self._answered = time.monotonic()
        self._stopped = threading.Event()
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._client = _connect(address, tls)
        self._look()
        self._watcher = threading.Thread(target=self._watch, name="fleet-watch", daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._watcher.join(_LOOK_S * 2)
        with contextlib.suppress(Exception):
            self._client.close(timeout=2)

    def stop(self) -> None:
        """End what the threads wait for, with ``StoppedError``; the devices stop, too."""
        self._stopped.set()

    def able(self) -> dict[str, Mapping[str, Any]]:
        """The Dask workers that have the resource, by address, as the scheduler knows them."""
        return {
            address: worker
            for address, worker in self._workers.items()
            if worker.get("resources", {}).get(RESOURCE, 0) >= 1
        }

    def others(self) -> int:
        """How many Dask workers have not."""
        return len(self._workers) - len(self.able())

    def versions(self) -> dict[str, Any]:
        """Versions of Python and of Dask's packages: ``client``, ``scheduler``, ``workers``."""
        found: dict[str, Any] = self._client.get_versions()
        return found

    def add(self, address: str, host: str) -> Device:
        """Take a device into the run: under the name that it was given, or else its host's.

        A device of the run that was given none is known again by its place (its IP address).
        """
        worker = self._workers.get(address, {})
        given = str(worker.get("name", ""))
        named = bool(given) and not _ADDRESS.match(given)
        stem = clean_name(given if named else host)
        name, number = stem, 1
        while name in self.devices:
            number += 1
            name = f"{stem}-{number}"
        known_by = ("name", given) if named else ("host", str(worker.get("host", "")))
        self.devices[name] = Device(name, known_by, address)
        return self.devices[name]

    def ask(self, address: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of ``bench.fleet.device`` gives that is run on a device, alone there.

        Raises DeviceLeftError, StoppedError, and FleetError where the scheduler is gone; else what
        the function raises.
        """
        done = threading.Event()
        future = self._client.submit(
            eval,
            _RUN,
            {
                "source": _device_source(),
                "function": function.__name__,
                "arguments": arguments,
            },
            workers=[address],
            allow_other_workers=False,
            resources={RESOURCE: 1},
            pure=False,
            retries=0,
        )
        future.add_done_callback(lambda _: done.set())
        try:
            while not done.wait(_LOOK_S):
                self._check()
                if address not in self._workers:
                    raise DeviceLeftError(address)
            return self._result(future, address)
        finally:
            with contextlib.suppress(Exception):
                future.cancel() if not done.is_set() else future.release()

    def _result(self, future: Any, address: str) -> Any:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            return future.result(timeout=_CONNECT_S)
        except (KilledWorker, FutureCancelledError) as error:
            since = time.monotonic()
            while self._answered < since:  # whose fault it is: the device's, or the scheduler's
                self._check()
                time.sleep(_POLL_S)
            raise DeviceLeftError(address) from error

    def wait_for(self, device: Device, wait_s: float) -> str:
        """The address of a device, once it is there.

        Raises DeviceLeftError where it does not return in so many seconds, and as ``ask``.
        """
        until = time.monotonic() + wait_s
        with self._changed:
            while True:
                self._check()
                if (address := self._found(device)) is not None:
                    device.address = address
                    return address
                if time.monotonic() >= until:
                    raise DeviceLeftError(device.name)
                self._changed.wait(_LOOK_S)

    def _found(self, device: Device) -> str | None:
        able = self.able()
        if device.address in able:
            return device.address
        what, value = device.known_by
        taken = {other.address for other in self.devices.values()}
        return next(
            (
                address
                for address, worker in able.items()
                if address not in taken and str(worker.get(what, "")) == value
            ),
            None,
        )

    def _check(self) -> None:
        if self._stopped.is_set():
            raise StoppedError
        if time.monotonic() - self._answered > _PATIENCE_S:
            raise FleetError(f"the scheduler at {self.address} is gone")

    def _watch(self) -> None:
        while not self._closing.wait(_LOOK_S):
            with contextlib.suppress(Exception):
                self._look()

    def _look(self) -> None:
        found = self._client.sync(
            self._client.scheduler.identity, n_workers=-1, callback_timeout=_CONNECT_S
        )
        with self._changed:
            self._workers = dict(found["workers"])
            self._answered = time.monotonic()
            self._changed.notify_all()


@functools.cache
def _device_source() -> str:
    return Path(device_side.__file__).read_text(encoding="utf-8")


def _connect(address: str, tls: Tls) -> Any:
    try:
        from distributed import Client
        from distributed.security import Security
    except ImportError as error:
        raise BadInputError(
            f"a fleet needs Dask, and it is not installed here ({error})",
            remedy="python -m pip install 'deploymark[fleet]'",
        ) from error
    knock(address, tls)
    security = None
    if tls.ca:
        security = Security(
            tls_ca_file=tls.ca,
            tls_client_cert=tls.cert,
            tls_client_key=tls.key,
            require_encryption=True,
        )
    try:
        return Client(
            address,
            security=security,
            timeout=_CONNECT_S,
            set_as_default=False,
            name="deploymark",
        )
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        raise FleetError(
            f"no scheduler answers at {address}: {_first_line(error)}",
            remedy="See its log, and that both sides have versions of Dask that fit.",
        ) from error


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    return (str(cause) or type(cause).__name__).splitlines()[0]
