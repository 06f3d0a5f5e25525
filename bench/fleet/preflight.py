"""Before anything is measured: who is there, what each device serves, and what will never run."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from deploymark.bench.errors import BadInputError, FleetError, NothingToRunError
from deploymark.bench.fleet.contents import BundleFiles
from deploymark.bench.fleet.remote import DeviceFaultError, DeviceGoneError, Remote
from deploymark.bench.fleet.roster import RESOURCE, Device, DeviceLeftError, Fleet
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.run.bundled import Site, Unpacked, plan_of
from deploymark.bench.run.plan import Plan

Say = Callable[[str], None]

_AT_A_TIME = 32


@dataclasses.dataclass(frozen=True)
class Member:
    """A device that takes part: what it is and what it serves. ``machine`` is its fingerprint."""

    device: Device
    remote: Remote
    machine: Mapping[str, Any]
    plan: Plan

    @property
    def name(self) -> str:
        """The device's name in the run."""
        return self.device.name


def open_warning(address: str) -> str:
    """What to say of a scheduler that anybody in its network can use; empty where none can."""
    parts = urlsplit(address)
    if parts.scheme == "tls" or _is_loopback(parts.hostname or ""):
        return ""
    return (
        f"{address} is not encrypted and asks nobody who they are: whoever reaches it runs code on "
        "every device. Use TLS with client certificates (docs/fleet.md)"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_versions(versions: Mapping[str, Any]) -> list[str]:
    """A note for each worker that has another Dask: its protocol may have changed between them.

    Pythons may differ: what is sent is source.
    """
    ours = _version(versions["client"])
    return sorted(
        f"{address} has distributed {theirs}, this machine has {ours}"
        for address, worker in versions["workers"].items()
        if (theirs := _version(worker)) != ours
    )


def _version(side: Mapping[str, Any]) -> str:
    return str(side.get("packages", {}).get("distributed", "?"))


def gather(
    fleet: Fleet, bundle: Unpacked, select: str, wait_s: float, say: Callable[[str, str], None]
) -> list[Member]:
    """Ask every device what it is and what it serves of a bundle's cells.

    Raises FleetError where no device is there, BadInputError and NothingToRunError where nothing
    can be measured.
    """
    able = fleet.able()
    if not able:
        raise FleetError(
            f"no Dask worker at {fleet.address} has the resource `{RESOURCE}`"
            + (f" ({others} without it)" if (others := fleet.others()) else ""),
            remedy=f"On each device: dask worker {fleet.address} --nthreads 1 --resources "
            f"{RESOURCE}=1",
        )
    files = BundleFiles(bundle)

    def of(address: str) -> Member | str:
        device = Device(address, ("address", address), address)
        remote = Remote(fleet, device, files, 0.0, lambda _: None)
        told: dict[str, Any] = {}

        def look(cells: Sequence[Cell]) -> Site:
            return remote.look(list(cells), told)

        try:
            told |= remote.about(["distributed", "numpy"])
            plan = plan_of(bundle, select=select, look=look)
        except (DeviceGoneError, DeviceLeftError):
            return f"{address} left before it said what it is"
        except DeviceFaultError as error:
            return str(error)
        return Member(device, remote, told["machine"], plan)

    with ThreadPoolExecutor(min(_AT_A_TIME, len(able))) as pool:
        found = list(pool.map(of, sorted(able)))
    members = []
    for member in found:
        if isinstance(member, str):
            say("", member)
            continue
        assert member.device.address is not None  # noqa: S101 - it has just answered
        device = fleet.add(member.device.address, str(member.machine["host"]))
        remote = Remote(fleet, device, files, wait_s, functools.partial(say, device.name))
        remote.as_told(member.remote)
        members.append(dataclasses.replace(member, device=device, remote=remote))
    if not members:
        raise FleetError("no device answered", remedy="See the logs of the Dask workers.")
    return members


def check_served(members: Sequence[Member]) -> list[str]:
    """What no device will measure, a sentence a cell, and why.

    Raises NothingToRunError where that is all of it.
    """
    lines = []
    cells = [cell.id for cell in members[0].plan.cells]
    for name in cells:
        outcomes = [
            cell.outcome for member in members for cell in member.plan.cells if cell.id == name
        ]
        if all(outcome is not None for outcome in outcomes):
            reasons = dict.fromkeys(item.reason for item in outcomes if item is not None)
            lines.append(f"{name}: no device measures it: {'; '.join(reasons)}")
    if len(lines) == len(cells):
        raise NothingToRunError("no device serves a cell: " + "; ".join(lines))
    return lines


def table_rows(members: Sequence[Member]) -> list[tuple[str, str, str, str, str]]:
    """A row a device: name, processor, cells that it measures, of how many, and what it lacks."""
    rows = []
    for member in members:
        cells = member.plan.cells
        served = sum(cell.outcome is None for cell in cells)
        lacking = dict.fromkeys(
            cell.cell.backend
            for cell in cells
            if cell.outcome is not None and cell.outcome.status == "unavailable"
        )
        rows.append(
            (
                member.name,
                str(member.machine.get("cpu") or "?"),
                f"{served} of {len(cells)}",
                ", ".join(lacking),
                str(member.device.address),
            )
        )
    return rows


def check_tls(address: str, ca: str | None, cert: str | None, key: str | None) -> None:
    """Raises BadInputError where files of certificates are named for no TLS, or too few of them."""
    given = [item is not None for item in (ca, cert, key)]
    if any(given) and not all(given):
        raise BadInputError(
            "TLS takes three files: --tls-ca, --tls-cert and --tls-key",
            remedy="See docs/fleet.md for how to make them.",
        )
    if any(given) and not address.startswith("tls://"):
        raise BadInputError(
            f"{address}: a scheduler behind TLS has an address that begins with tls://"
        )
    if address.startswith("tls://") and not any(given):
        raise BadInputError(
            f"{address} is behind TLS: give --tls-ca, --tls-cert and --tls-key",
            remedy="See docs/fleet.md for how to make them.",
        )
