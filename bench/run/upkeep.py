"""Making again, between launches, what has left the store or was changed while a run goes on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from deploymark.bench.build.artifacts import Built
from deploymark.bench.data.images import Stamp, stamp
from deploymark.bench.errors import BadInputError
from deploymark.bench.progress import Progress
from deploymark.bench.run.built_cells import rebuild
from deploymark.bench.run.plan import Plan, PlannedCell
from deploymark.bench.run.planned_model import PlannedModel, prepared
from deploymark.bench.store import Store, StoredArtifact


class Upkeep:
    """What the cells of a run need of the store, looked at before each launch: a few ``stat``.

    Its bytes were checked by hash when the run began; a file that is as it was since is not read
    again. ``built`` is kept up to date; ``notes`` are for the reader of the report.
    """

    def __init__(
        self,
        plan: Plan,
        cells: Iterable[PlannedCell],
        built: dict[str, Built],
        folder: Path,
        store: Store,
        progress: Progress,
    ) -> None:
        self._plan, self._built, self._folder = plan, built, folder
        self._store, self._progress = store, progress
        self._cells = {cell.id: cell for cell in cells}
        self._stamps: dict[Path, Stamp | None] = {}
        self.notes: list[str] = []
        for model in plan.models.values():
            for images in (*model.scored.values(), *model.calibration.values()):
                self._stamps[images.path] = stamp(images.path)
        for item in built.values():
            if item.artifact is not None:
                for path in _files(item.artifact):
                    self._stamps[path] = stamp(path)

    def all(self) -> None:
        """See to every cell. Raises as ``__call__``."""
        for cell in self._cells:
            self(cell)

    def __call__(self, cell: str) -> None:
        """Make again what one cell needs and is not there as it was.

        Raises BadInputError where an image is gone, StorageError where there is no room.
        """
        planned = self._cells[cell]
        if (model := self._plan.models.get(planned.cell.model)) is None:
            return
        self._see_to_images(model, planned)
        item = self._built.get(cell)
        if item is None or item.artifact is None or planned.key is None:
            return
        if self.as_found(cell):
            return
        self._progress.note(f"{cell}: its artifact left the store or was changed: made again")
        fresh = rebuild(self._plan, planned, self._folder, self._store, self._progress)
        if fresh.artifact is None:
            return  # the launch tells what is wrong
        if fresh.artifact.sha256 != item.artifact.sha256:
            self.notes.append(
                f"{cell}: its artifact left the store during the run and was exported again; the "
                "exporter does not give the same bytes twice, so launches before and after it ran "
                "on different files."
            )
        for other, known in self._built.items():
            if known.artifact is not None and known.artifact.folder == fresh.artifact.folder:
                self._built[other] = fresh
        self._built[cell] = fresh
        for path in _files(fresh.artifact):
            self._stamps[path] = stamp(path)

    def as_found(self, cell: str) -> bool:
        """Whether the cell's artifact and scored images lie there as they did before the launch."""
        planned, item = self._cells[cell], self._built.get(cell)
        model = self._plan.models.get(planned.cell.model)
        paths = [] if item is None or item.artifact is None else _files(item.artifact)
        if model is not None:
            paths.append(model.scored[planned.cell.imgsz].path)
        return all(self._as_it_was(path) for path in paths)

    def _as_it_was(self, path: Path) -> bool:
        now = stamp(path)
        return now is not None and now == self._stamps.get(path)

    def _see_to_images(self, model: PlannedModel, planned: PlannedCell) -> None:
        size, dataset = planned.cell.imgsz, model.dataset
        known = [(model.scored[size], [image.path for image in dataset.scored])]
        hashes = [dataset.scored_hash]
        if size in model.calibration:
            known.append((model.calibration[size], list(dataset.calibration)))
            hashes.append(dataset.calibration_hash)
        for (images, paths), content_hash in zip(known, hashes, strict=True):
            if not self._as_it_was(images.path):
                if images.path.is_relative_to(self._store.home / "bundles"):
                    raise BadInputError(
                        f"{images.path} left the store or was changed during the run",
                        remedy="It is unpacked again from the bundle when the run goes on.",
                    )
                prepared(paths, content_hash, model.detectors[size].spec, self._store)
                self._stamps[images.path] = stamp(images.path)
                self._progress.note(f"{images.path.name}: looked at again, made again if damaged")


def _files(artifact: StoredArtifact) -> list[Path]:
    """The files of an artifact that say whether it is as it was: its entry, its folder."""
    return [artifact.folder, artifact.folder / artifact.entry]
