"""What a bundle says of itself: its files with their hashes, and the plan that they belong to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.cells import Cell
from deploymark.bench.records.files import dump_json
from deploymark.bench.records.outcomes import Outcome

MANIFEST = "manifest.json"
BUNDLE_VERSION = 1

_NEWER = "Use the version of Deploymark that made the bundle, or a newer one."


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileEntry(_Strict):
    """One file: its path in the bundle, its size, the SHA-256 of its bytes."""

    path: Annotated[str, Field(min_length=1, max_length=1000)]
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ArtifactEntry(_Strict):
    """An artifact: where its files lie in the bundle, and what the store knows of it.

    As ``bench.store.StoredArtifact``, but for how long it took to build: that is of a machine, and
    the same artifact would give other bytes each time.
    """

    folder: str
    entry: str
    sha256: str
    bytes: int
    gzip_bytes: int
    zstd_bytes: int | None
    detector: dict[str, JsonValue]
    recipe: dict[str, JsonValue]
    versions: dict[str, str]
    notes: list[str]


class CellEntry(_Strict):
    """A cell and what it is measured on; ``outcome`` where it was decided when it was built."""

    cell: Cell
    artifact: ArtifactEntry | None = None
    outcome: Outcome | None = None
    warnings: tuple[str, ...] = ()


class ImagesEntry(_Strict):
    """Prepared images of one size: the ``.npy``, and where each picture lies in it."""

    path: str
    geometries: list[tuple[float, float, int, int, int, int]]


class ModelEntry(_Strict):
    """A model with its data set, as ``bench.run.planned_model.PlannedModel``.

    ``detectors`` and ``scored`` are by the word of the size; ``labels`` names the record of the
    data set, and ``pictures`` are the files that the end-to-end figure begins with.
    """

    name: str
    path: str
    sha256: str
    licence: str
    detectors: dict[str, dict[str, JsonValue]]
    scored: dict[str, ImagesEntry]
    labels: str
    pictures: list[str]
    class_map: dict[int, int]
    only_in_data: list[dict[str, JsonValue]]
    only_in_model: list[str]


class Manifest(_Strict):
    """All that a bundle says. ``matrix`` is the resolved one, ``variants`` are its recipes."""

    bundle_version: int
    deploymark_version: str
    matrix: dict[str, JsonValue]
    matrix_file: str
    selection: str
    packages: dict[str, str]
    left_out: list[dict[str, str]]
    variants: list[dict[str, JsonValue]]
    cells: list[CellEntry]
    models: list[ModelEntry]
    files: list[FileEntry]

    @property
    def total_bytes(self) -> int:
        """What all files take together."""
        return sum(entry.bytes for entry in self.files)

    def dump(self) -> bytes:
        """The JSON of the manifest: the same content gives the same bytes."""
        return (dump_json(self.model_dump(mode="json")) + "\n").encode()


def read_manifest(text: bytes, bundle: Path) -> Manifest:
    """The manifest of a bundle. Raises BadInputError: for one of a newer version, too."""
    try:
        values: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(bundle, str(error)) from error
    version = values.get("bundle_version") if isinstance(values, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise _unreadable(bundle, "it does not tell its version")
    if version != BUNDLE_VERSION:
        raise BadInputError(
            f"{bundle}: is a bundle of version {version}, this Deploymark reads {BUNDLE_VERSION}",
            remedy=_NEWER,
        )
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _unreadable(bundle, f"{where}: {first['msg']}") from error
    except (RecursionError, TypeError) as error:
        raise _unreadable(bundle, str(error)) from error


def _unreadable(bundle: Path, why: str) -> BadInputError:
    return BadInputError(
        f"{bundle}: {MANIFEST} cannot be read: {why}",
        remedy="Copy the bundle again, or make it anew: deploymark bundle MATRIX -o FILE.",
    )
