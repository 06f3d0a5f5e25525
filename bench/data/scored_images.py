"""The images of a split that can be scored: looked at in order, until there are enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from deploymark.bench.data.faults import Fault, Faults
from deploymark.bench.data.labels import ImageLabels
from deploymark.bench.data.pictures import Picture, examine
from deploymark.bench.data.sources import OpenSource

FOLDER_REMEDY = "or give the folder of images as the data set, to judge by agreement alone"
"""What somebody can do who has no labels."""


class ScoredImages:
    """The ``good`` images of a source so far, their ``pictures``, and how many were ``skipped``."""

    def __init__(self, read: OpenSource, faults: Faults, counts: Counter[str]) -> None:
        self.read = read
        self.good: list[ImageLabels] = []
        self.pictures: dict[Path, Picture] = {}
        self.skipped = read.skipped
        self._faults = faults
        self._counts = counts
        self._at = 0

    def fill(self, wanted: int | None) -> None:
        """Look at further images until there are as many good ones as ``wanted``, or all are."""
        paths = self.read.paths
        while self._at < len(paths) and (wanted is None or len(self.good) < wanted):
            end = len(paths) if wanted is None else self._at + wanted - len(self.good)
            batch = paths[self._at : end]
            self._at += len(batch)
            for path, found in zip(batch, examine(batch), strict=True):
                self._add(path, found)

    def _add(self, path: Path, found: Picture | Fault) -> None:
        if isinstance(found, Fault):
            self._faults.append(found)
            self.skipped += 1
            return
        labels = self.read.labels(path, found.width, found.height)
        if labels is None:
            self.skipped += 1
            return
        self.pictures[path] = found
        self.good.append(labels)

    def digests(self, paths: Sequence[Path]) -> list[bytes]:
        """SHA-256 of images that were looked at, good ones."""
        found = examine(paths)
        return [picture.digest for picture in found if isinstance(picture, Picture)]
