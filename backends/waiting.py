"""How the threads of OpenMP wait for work: the runtime option ``wait`` of what computes with it.

Unless told otherwise they spin for a while and then sleep (GCC's libgomp for some milliseconds,
LLVM's for 200): that is what ships. ``passive`` lets them sleep at once, which costs a wake-up an
operator (TorchScript took 31 ms with two threads by default and 59 so), and ``active`` lets them
spin on and on. The libraries read the variables when they are loaded. Python 3.10 and the standard
library alone: the worker's side.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

CHOICES = ("default", "passive", "active")
"""Values of the option ``wait``, the default first."""

ENVIRONMENT: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"},
    "active": {"OMP_WAIT_POLICY": "ACTIVE", "KMP_BLOCKTIME": "infinite"},
}
"""Variables that each value comes to: OpenMP's own (5.2, 21.7) and that of LLVM's runtime."""

GIVING_WAY: Mapping[str, str] = {"wait": "passive"}
"""``Backend.giving_way`` of what computes with OpenMP."""

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""Variables that decide how threads wait (libgomp's manual, 4.20; LLVM/OpenMP's reference)."""


def inherited(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of ``VARIABLES`` that are set. Workers do without: ``forget``."""
    return {name: environment[name] for name in VARIABLES if name in environment}


def forget() -> None:
    """Take them out of this process's environment, so that the options alone decide.

    Before any library is loaded that computes with OpenMP.
    """
    for name in VARIABLES:
        os.environ.pop(name, None)
