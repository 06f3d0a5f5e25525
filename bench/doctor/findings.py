"""What ``deploymark doctor`` says."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing looked at. ``state`` is ``ok``, ``note`` or ``problem``."""

    state: str
    what: str
    text: str
    remedy: str = ""
