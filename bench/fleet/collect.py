"""Devices without Dask: a bundle goes there over SSH and is measured, and its run comes back."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.bundle.container import Container
from deploymark.bench.errors import BadInputError, DeploymarkError, FleetError
from deploymark.bench.fleet import ssh
from deploymark.bench.fleet.hosts_file import Host
from deploymark.bench.records.files import sha256_of
from deploymark.bench.records.run import RUN_FILE, read_run_info

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class _Bundle:
    file: Path
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Collected:
    """What came of a host: its run directory here and its exit code, or what went wrong."""

    host: Host
    folder: Path | None = None
    code: int = 1
    error: str = ""


def collect_from(
    hosts: Sequence[Host], bundle: Path, select: str, results: Path, say: Say
) -> list[Collected]:
    """Measure a bundle on all hosts at once; each run directory is then below ``results``.

    Raises BadInputError where the bundle is none, or ``results`` cannot be made.
    """
    with Container(bundle):
        found = _Bundle(bundle, bundle.stat().st_size, sha256_of(bundle))
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(
            f"{results}: cannot be made: {error.strerror or error}",
            remedy="Name another folder with --results DIR.",
        ) from error

    async def all_of_them() -> list[Collected]:
        return await asyncio.gather(*(_one(host, found, select, results, say) for host in hosts))

    return asyncio.run(all_of_them())


async def _one(host: Host, bundle: _Bundle, select: str, results: Path, say: Say) -> Collected:
    try:
        async with ssh.connected(host) as connection:
            return await _measured(connection, host, bundle, select, results, say)
    except DeploymarkError as error:
        say(f"{host.name}: {error}")
        return Collected(host, error=str(error))
    except OSError as error:
        say(f"{host.name}: {error}")
        return Collected(host, error=str(error))


async def _measured(
    connection: Any, host: Host, bundle: _Bundle, select: str, results: Path, say: Say
) -> Collected:
    name = f"{bundle.sha256[:16]}.dmb"
    place = f"run-{secrets.token_hex(6)}"
    async with connection.start_sftp_client() as sftp:
        await sftp.makedirs(host.folder, exist_ok=True)
        if await _size(sftp, f"{host.folder}/{name}") != bundle.bytes:
            say(f"{host.name}: sending {bundle.file.name}, {bundle.bytes / 1e6:.1f} MB")
            await sftp.put(str(bundle.file), f"{host.folder}/.{name}.partial")
            await sftp.posix_rename(f"{host.folder}/.{name}.partial", f"{host.folder}/{name}")
        say(f"{host.name}: measuring")
        chosen = ["-k", select] if select else []
        command = [host.python, "-m", "deploymark", "run", name, "--results", place, *chosen]
        code = await ssh.run(connection, host, command)
        runs = [
            str(entry)
            for entry in await sftp.listdir(f"{host.folder}/{place}")
            if re.fullmatch(r"\d{8}T\d{6}Z-[A-Za-z0-9._-]+", str(entry))
        ]
        if len(runs) != 1:
            raise FleetError(f"{host.name}: {host.folder}/{place} has {len(runs)} runs")
        partial = results / f".{runs[0]}-{host.name}.partial"
        folder = results / f"{runs[0]}-{host.name}"
        try:
            await ssh.fetch(sftp, f"{host.folder}/{place}/{runs[0]}", partial)
            read_run_info(partial)  # a run directory, and no other folder
            partial.replace(folder)
        finally:
            with contextlib.suppress(OSError):
                shutil.rmtree(partial)
        await sftp.rmtree(f"{host.folder}/{place}", ignore_errors=True)
    say(f"{host.name}: {folder / RUN_FILE}")
    return Collected(host, folder, code)


async def _size(sftp: Any, path: str) -> int | None:
    """Bytes of a file of the device; None where it is not there."""
    if not await sftp.exists(path):
        return None
    return int((await sftp.stat(path)).size or 0)
