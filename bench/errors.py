"""The harness's branch of the error tree: what the user can mend, and outcomes of children."""

from __future__ import annotations

from collections.abc import Sequence

from deploymark.backends.base import DeploymarkError

__all__ = [
    "BadInputError",
    "DeploymarkError",
    "FleetError",
    "NothingToRunError",
    "StorageError",
    "together",
]


class BadInputError(DeploymarkError):
    """Input that cannot be used: a matrix, a data set, a checkpoint, an option (exit code 2)."""


class NothingToRunError(BadInputError):
    """A selection or a matrix that leaves no cell (exit code 2)."""


class StorageError(DeploymarkError):
    """A folder that takes no more: full, over its quota, read-only, somebody else's (exit code 2).

    Nothing that was finished is lost by it.
    """


class FleetError(DeploymarkError):
    """A scheduler that is out of reach or has no device to measure on (exit code 2).

    Nothing that was finished is lost by it.
    """


def together(faults: Sequence[BadInputError]) -> BadInputError:
    """Several faults as one error, each with its remedy; one alone is itself."""
    told = {str(fault): fault for fault in faults}
    if len(told) == 1:
        return faults[0]
    return BadInputError("\n".join([f"{len(told)} things are wrong", *told]))
