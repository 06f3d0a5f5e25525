"""The cells of a matrix and what would happen to each, before anything runs."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from deploymark.bench.machine.probing import probe_backends
from deploymark.bench.matrix.model_source import HUGGING_FACE
from deploymark.bench.matrix.request import ResolvedMatrix, probe_matrix
from deploymark.bench.matrix.steps import NOT_QAT, needs_data, without_rounding

VARIANTS_EXTRA = "variants"
"""The extra of the distribution that recipes with data need."""

TRANSFORMERS_EXTRA = "transformers"
"""The extra of the distribution that Hugging Face folders need."""

OWN_LOADERS = "deploymark.bench.variants.sources.random_models:"
"""What the loaders that ship with the package start with: some make networks of Hugging Face."""

LOADGEN_EXTRA = "loadgen"
"""The extra of the distribution that scenarios need."""

_STYLES = {"measured": "", "left out": "dim", "unavailable": "yellow", "unsupported": "yellow"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One cell. ``state`` is ``measured``, ``left out``, ``unavailable`` or ``unsupported``."""

    cell: str
    state: str
    reason: str = ""

    @property
    def style(self) -> str:
        """How a terminal shows the row."""
        return _STYLES[self.state]


def listing(resolved: ResolvedMatrix) -> list[Row]:
    """A row a cell, with what the backends say of it on this machine."""
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        here, by_python = probe_matrix(resolved.cells, Path(folder) / "probe.log")
    rows = []
    for cell, options in zip(resolved.cells, here.options, strict=True):
        probe = by_python[cell.python].backends[cell.backend].probe
        service = probe.service(cell.device, cell.precision)
        given = cell.given
        if given is not None and given.outcome is not None:
            outcome = given.outcome
            row = Row(cell.id, outcome.status, f"{outcome.reason} {outcome.remedy}".strip())
        elif not probe.installed:
            row = Row(cell.id, "unavailable", f"{probe.reason} {probe.remedy}".strip())
        elif cell.precision in resolved.matrix.native_only and not (
            service.served and service.native
        ):
            row = Row(cell.id, "left out", service.reason)
        elif given is None and without_rounding(cell.precision, cell.steps):
            row = Row(cell.id, "left out", NOT_QAT)
        elif not service.served and (given is None or service.exists):
            row = Row(cell.id, "unavailable" if service.exists else "unsupported", service.reason)
        elif options.error:
            row = Row(cell.id, "unsupported", options.error)
        else:
            native = service.served and service.native
            row = Row(cell.id, "measured", "" if native else service.reason)
        rows.append(row)
    rows += [Row(item.cell, "left out", item.reason) for item in resolved.expansion.left_out]
    return rows


def required_extras(resolved: ResolvedMatrix) -> list[str]:
    """The extras of the distribution that the cells' backends, recipes and scenarios need."""
    names = sorted({cell.backend for cell in resolved.cells})
    with tempfile.TemporaryDirectory(prefix="deploymark-") as folder:
        answers = probe_backends(names, log=Path(folder) / "probe.log")
    extras = [found.extra for found in answers.backends.values() if found.extra]
    trains = any(needs_data(step) for cell in resolved.cells for step in cell.steps)
    loaded = any(cell.scenarios and cell.python is None for cell in resolved.cells)
    return [
        *extras,
        *([VARIANTS_EXTRA] if trains else []),
        *([LOADGEN_EXTRA] if loaded else []),
        *([TRANSFORMERS_EXTRA] if _needs_transformers(resolved) else []),
    ]


def _needs_transformers(resolved: ResolvedMatrix) -> bool:
    """Whether a model is a Hugging Face folder, or a loader of ours makes one."""
    named = [(entry.path or "", entry.loader or "") for entry in resolved.matrix.models]
    return any(
        path.startswith(HUGGING_FACE) or loader.startswith(OWN_LOADERS) for path, loader in named
    )
