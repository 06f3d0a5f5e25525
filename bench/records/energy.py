"""The energy launches of a run: lines of ``energy.jsonl``, and the figure that each has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deploymark.bench.records.launches import Record, read_launches

ENERGY_FILE = "energy.jsonl"

MODELLED = "modelled"
"""The kind of a figure that was not measured: never gated, nor set beside measured ones."""

OF_ENERGY = frozenset(
    {"energy_j_per_image", "energy_gross_j_per_image", "images_per_wh", "battery_hours"}
)
"""Columns of ``cells.json`` that are made of energy."""

OF_A_RECORD = {
    "energy_j_per_image": "joules_per_image",
    "energy_gross_j_per_image": "gross_joules_per_image",
    "images_per_wh": "images_per_wh",
    "battery_hours": "battery_hours",
}
"""Columns of ``cells.json`` that each energy launch has one of, and the name in its record."""


def read_energy(folder: Path) -> dict[str, list[Record]]:
    """The energy launches of each cell, in order. Raises BadInputError for a line that is none."""
    found: dict[str, list[Record]] = {}
    for record in read_launches(folder, ENERGY_FILE):
        found.setdefault(str(record.get("cell")), []).append(record)
    return found


def values_of(records: Sequence[Record], figure: str) -> list[float]:
    """The figure of each launch that has it."""
    values = (record.get(OF_A_RECORD[figure]) for record in records)
    return [float(value) for value in values if value is not None]
