"""The harness's branch of the error tree: what the user can mend, and outcomes of children."""

from __future__ import annotations

from deploymark.backends.base import DeploymarkError

__all__ = ["BadInputError", "DeploymarkError", "NothingToRunError"]


class BadInputError(DeploymarkError):
    """Input that cannot be used: a matrix, a data set, a checkpoint, an option (exit code 2)."""


class NothingToRunError(BadInputError):
    """A selection or a matrix that leaves no cell (exit code 2)."""
