"""Deploymark: which format should this detector ship in, on this hardware?

Kept free of imports: the worker's side of the package runs under interpreters that have numpy and
one runtime only (see ``bench.worker``).
"""

from __future__ import annotations

__version__ = "0.1.0"
