"""The backends and precisions that the contract is tried on: those that run here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploymark.backends import base, registry
from tests.backends.traits import traits_of

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
"""Where the example lies, beside a backend that fails on purpose."""

FINDS_PLUGINS = {
    "PYTHONPATH": os.pathsep.join(filter(None, [str(PLUGINS), os.environ.get("PYTHONPATH")]))
}
"""The environment of a fresh interpreter that has them on its path."""


def found_backends() -> tuple[dict[str, str], dict[str, base.Backend]]:
    """Class strings and instances by name.

    The path is put back: other tests of this process are to find the shipped ones alone.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGINS))
        registry.specs.cache_clear()
        specs = {name: spec for name, spec in registry.specs().items() if name != "misbehaving"}
        backends = {name: registry.resolve(spec) for name, spec in specs.items()}
    registry.specs.cache_clear()
    return specs, backends


SPECS, BACKENDS = found_backends()
PROBES = {name: backend.probe() for name, backend in BACKENDS.items()}
CONVERTERS = [name for name, probe in PROBES.items() if probe.installed and probe.can_export]
"""Backends that can export here, those included that run elsewhere only."""

SERVED = [
    (name, precision)
    for name in CONVERTERS
    for (device, precision), service in PROBES[name].services.items()
    if device == "cpu" and service.served and not precision.endswith("-qat")
]
CELLS = [
    (name, precision) for name, precision in SERVED if precision not in traits_of(name).refused
]
REFUSED = [cell for cell in SERVED if cell not in CELLS]
"""Precisions that the runtime has, but not for the small detector."""

EXPORTERS = list(dict.fromkeys(name for name, _ in CELLS))
"""Backends that export and run on the processor here."""

PRECISIONS = {name: [found for other, found in CELLS if other == name] for name in EXPORTERS}
"""Precisions that a backend serves on the processor, in the order of its probe."""
