"""Looking several times at one question, and erring no more often than asked."""

from __future__ import annotations

import math


def spent(fraction: float, error: float) -> float:
    """Error spent when ``fraction`` of the evidence is there.

    The spending function of Pocock's type of Lan and DeMets, "Discrete sequential boundaries for
    clinical trials", Biometrika 70, 1983.
    """
    return error * math.log(1 + (math.e - 1) * min(1.0, fraction))
