"""What can go wrong: the root of Deploymark's errors, and what each failure of a backend becomes.

Written for Python 3.10 and nothing besides: every module of the worker's side may import it.
"""

from __future__ import annotations


class DeploymarkError(Exception):
    """Root of the error tree: what happened, where, and what to do about it.

    ``remedy`` is one sentence or command that mends it, empty where none is known.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  {self.remedy}" if self.remedy else self.message


class BackendError(DeploymarkError):
    """A backend cannot do what was asked of it. Its subclasses become a cell's status."""


class UnsupportedError(BackendError):
    """This combination of model, precision and backend does not exist (status ``unsupported``)."""


class UnavailableError(BackendError):
    """The combination exists, but not on this machine or installation (status ``unavailable``)."""


class ExportError(BackendError):
    """The exporter failed (status ``export_failed``)."""


class LoadError(BackendError):
    """The runtime refused the artifact (status ``load_failed``)."""


class InputError(BackendError):
    """``infer`` was given an array of the wrong shape or dtype."""
