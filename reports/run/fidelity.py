"""Agreement of each cell with its reference, and the images where they differ most."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploymark.bench.records.run import CellResult
from deploymark.reports.page import figures
from deploymark.reports.page.tables import BY_KEY, Field, field

LARGEST_PICTURE_BYTES = 100_000
"""A picture of this program has a quarter of it (``bench.score.fidelity_pictures``)."""

MOST_PICTURES_BYTES = 3_000_000
"""Of all pictures together: the report stays one file that can be mailed."""

MOST_CELLS = 40
"""Cells whose worst images are listed, those of lowest agreement; ``fidelity.json`` has all."""

_JPEG_START = b"\xff\xd8\xff"


@dataclasses.dataclass(frozen=True)
class ImageView:
    """One image: its file name, what differs, and its picture as a ``data:`` address, or empty."""

    name: str
    words: str
    picture: str


@dataclasses.dataclass(frozen=True)
class FidelityView:
    """A cell beside its reference; ``images`` are its worst ones, the worst first."""

    cell: str
    agreement: Field
    drift: Field
    map50_95: Field
    reference: str
    images: tuple[ImageView, ...]


class _Pictures:
    """Reads pictures of a run until their sizes come to ``MOST_PICTURES_BYTES``."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else folder.resolve()
        self._left_bytes = MOST_PICTURES_BYTES

    def address(self, name: object) -> str:
        """The picture as a ``data:`` address; empty for what is no small JPEG of this run."""
        if self._folder is None or not isinstance(name, str) or not name.endswith(".jpg"):
            return ""
        try:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder) or not path.is_file():
                return ""
            size = path.stat().st_size
            if size > min(LARGEST_PICTURE_BYTES, self._left_bytes):
                return ""
            data = path.read_bytes()
        except (OSError, ValueError):  # ValueError: a null byte in a path
            return ""
        if not data.startswith(_JPEG_START):
            return ""
        self._left_bytes -= size
        return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"


def _image(entry: Mapping[str, Any], pictures: _Pictures) -> ImageView:
    agreement = figures.number(entry.get("agreement"))
    change = figures.number(entry.get("mean_score_change"))
    parts = [f"agreement {agreement:.3f}"] if agreement is not None else []
    for key in ("missed", "extra"):
        count = figures.number(entry.get(key))
        parts += [f"{count:.0f} {key}"] if count is not None else []
    parts += [f"scores {figures.signed(change, 3)}"] if change is not None else []
    name = str(entry.get("image", ""))
    return ImageView(name, ", ".join(parts), pictures.address(entry.get("picture")))


def fidelity_views(
    cells: Sequence[CellResult],
    fidelity: Mapping[str, Mapping[str, Any]],
    pictures_of: Path | None = None,
) -> list[FidelityView]:
    """Every ok cell that was compared, lowest agreement first; ``fidelity`` is ``fidelity.json``.

    Pictures are read from the run directory ``pictures_of`` and nowhere else; without it, none.
    """
    compared = [cell for cell in cells if cell.status == "ok" and cell.agreement_reference]
    compared.sort(key=lambda cell: (cell.agreement is None, cell.agreement or 0.0))
    pictures = _Pictures(pictures_of)
    views = []
    for index, cell in enumerate(compared):
        found = fidelity.get(cell.cell, {}).get("worst_images")
        worst = found if isinstance(found, list) and index < MOST_CELLS else []
        views.append(
            FidelityView(
                cell=cell.cell,
                agreement=field(cell, BY_KEY["agreement"]),
                drift=field(cell, BY_KEY["score_drift"]),
                map50_95=field(cell, BY_KEY["map50_95"]),
                reference=cell.agreement_reference or "",
                images=tuple(_image(e, pictures) for e in worst if isinstance(e, Mapping)),
            )
        )
    return views
