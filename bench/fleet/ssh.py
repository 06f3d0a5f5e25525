"""Devices over SSH: commands that end with their connection, files there and back, tunnels.

Keys of hosts are checked against ``known_hosts`` and nothing is asked: what SSH would prompt for is
an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import shlex
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from deploymark.bench.bundle.container import is_safe
from deploymark.bench.errors import BadInputError, FleetError
from deploymark.bench.fleet import keeper
from deploymark.bench.fleet.hosts_file import Host

_CONNECT_S = 20.0
_ALIVE_S = 15.0
_TAIL = 3

MOST_FILES = 20_000
MOST_BYTES = 20 << 30
"""Of a run directory that a device gives back."""


@contextlib.asynccontextmanager
async def connected(host: Host) -> AsyncIterator[Any]:
    """A connection to a device. Raises FleetError where there is none, BadInputError for a key."""
    try:
        import asyncssh
    except ImportError as error:
        raise BadInputError(
            f"devices over SSH need asyncssh, and it is not installed here ({error})",
            remedy="python -m pip install 'deploymark[fleet]'",
        ) from error
    options: dict[str, Any] = {}
    if host.user:
        options["username"] = host.user
    if host.key:
        options["client_keys"] = [host.key]
    if host.known_hosts:
        options["known_hosts"] = host.known_hosts
    try:
        connection = await asyncssh.connect(
            host.address,
            host.port,
            connect_timeout=_CONNECT_S,
            keepalive_interval=_ALIVE_S,
            password=None,
            kbdint_auth=False,
            **options,
        )
    except (OSError, asyncssh.Error, asyncssh.KeyImportError, ValueError) as error:
        raise FleetError(
            f"{host.name}: SSH to {host.address} port {host.port} fails: {error}",
            remedy=f"See that this works without a question: ssh -o BatchMode=yes {host.address}",
        ) from error
    async with connection:
        yield connection


@functools.cache
def _program() -> str:
    return Path(keeper.__file__).read_text(encoding="utf-8")


@contextlib.asynccontextmanager
async def kept(connection: Any, host: Host) -> AsyncIterator[tuple[Any, int]]:
    """A keeper on the device, and a port that is free there; ``tell`` gives it its command."""
    command = f"{shlex.quote(host.python)} -c {shlex.quote(_program())}"
    async with connection.create_process(command) as process:
        line = (await process.stdout.readline()).strip()
        if not line.isdigit():
            said = (line + (await process.stderr.read())).strip().splitlines()
            raise FleetError(
                f"{host.name}: {host.python} does not start: {said[-1] if said else 'no word'}",
                remedy="Name the device's interpreter in hosts.yaml: python: FILE.",
            )
        yield process, int(line)


def tell(
    process: Any,
    host: Host,
    command: Sequence[str],
    *,
    again: bool = False,
    environment: dict[str, str] | None = None,
) -> None:
    """Have a keeper run a command in the device's folder; ``again`` whenever it ends."""
    told = {
        "command": list(command),
        "folder": host.folder,
        "environment": environment or {},
        "again": again,
    }
    process.stdin.write(json.dumps(told) + "\n")


async def run(connection: Any, host: Host, command: Sequence[str]) -> int:
    """Run a command on the device to its end; its exit code. It ends with the connection.

    Raises FleetError where it ends with a code that is neither 0 nor 1.
    """
    async with kept(connection, host) as (process, _):
        tell(process, host, command)
        out, err = await asyncio.gather(process.stdout.read(), process.stderr.read())
        await process.wait_closed()
    code = process.exit_status
    if code not in (0, 1):
        said = [line for line in (out + err).splitlines() if line.strip()]
        raise FleetError(
            f"{host.name}: {' '.join(command[:4])} … ended with exit code {code}: "
            + (" / ".join(said[-_TAIL:]) if said else "no word")
        )
    return int(code)


async def fetch(sftp: Any, there: str, here: Path) -> None:
    """Copy a folder of a device into the new folder ``here``: files alone, by safe names.

    Raises FleetError for a name that leaves the folder, and for more than a run directory has.
    """
    count, total = 0, 0
    waiting = [PurePosixPath()]
    while waiting:
        place = waiting.pop()
        (here / place).mkdir()
        async for entry in sftp.scandir(str(PurePosixPath(there) / place)):
            name = str(entry.filename)
            if name in {".", ".."}:
                continue
            if not is_safe(name) or "/" in name:
                raise FleetError(f"{there}: has a file whose name leaves its folder: {name!r}")
            mode = entry.attrs.permissions or 0
            if stat.S_ISDIR(mode):
                waiting.append(place / name)
            elif stat.S_ISREG(mode):
                count, total = count + 1, total + int(entry.attrs.size or 0)
                if count > MOST_FILES or total > MOST_BYTES:
                    raise FleetError(f"{there}: is more than a run directory")
                await sftp.get(str(PurePosixPath(there) / place / name), str(here / place / name))
