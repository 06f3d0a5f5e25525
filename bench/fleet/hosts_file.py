"""``hosts.yaml``: the devices that are reached over SSH."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from deploymark.bench.matrix.strict import Strict
from deploymark.bench.yaml_source import load_yaml, validate

_WORD = r"^[^\s\x00-\x1f]+$"


class Host(Strict):
    """One device.

    ``name`` is that of its results, ``address`` a name or an IP that SSH reaches. ``user``,
    ``port`` and ``key`` (a file) are SSH's, ``known_hosts`` a file of its keys instead of the
    user's own.
    ``python`` is the interpreter there: with Dask to be a worker, with Deploymark to be collected
    from. ``folder`` gets what is sent there, and the cache; from the user's home on.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")]
    address: Annotated[str, Field(pattern=_WORD)]
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: Annotated[str, Field(pattern=_WORD)] | None = None
    key: str | None = None
    known_hosts: str | None = None
    python: Annotated[str, Field(min_length=1)] = "python3"
    folder: Annotated[str, Field(pattern=r"^[^~\x00-\x1f][^\x00-\x1f]*$")] = "deploymark-fleet"


class HostsFile(Strict):
    """All devices of a file."""

    hosts: Annotated[list[Host], Field(min_length=1, max_length=1000)]

    @field_validator("hosts")
    @classmethod
    def _names_differ(cls, hosts: list[Host]) -> list[Host]:
        names = [host.name for host in hosts]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two hosts are named {twice!r}")
        return hosts


def read_hosts(path: Path) -> list[Host]:
    """The devices of a ``hosts.yaml``; paths of keys are relative to the file.

    Raises BadInputError: file, line, column, and what is wrong.
    """
    file = validate(load_yaml(path), HostsFile)

    def placed(name: str | None) -> str | None:
        return name and str(path.parent / Path(name).expanduser())

    return [
        host.model_copy(update={"key": placed(host.key), "known_hosts": placed(host.known_hosts)})
        for host in file.hosts
    ]
