"""Images to calibrate on: none that is scored, whatever its path or name."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from deploymark.bench.data.faults import Fault, Faults
from deploymark.bench.data.pictures import Picture, examine

MAX_SET_ASIDE = 4
"""One in so many validation images, at most, is set aside to calibrate on."""

CalibrationSource = Literal["train", "validation", "folder", "none"]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The images, sorted, where they are from, and in words; ``shared`` were passed over."""

    paths: tuple[Path, ...] = ()
    source: CalibrationSource = "none"
    shared: int = 0
    lacks: str = ""


class Scored:
    """The images that are scored: what may not be calibrated on."""

    def __init__(self, pictures: Mapping[Path, Picture]) -> None:
        self._files = {_file_of(path) for path in pictures}
        self._digests = {picture.digest for picture in pictures.values()}

    def has_file(self, path: Path) -> bool:
        """Whether the very file is scored, under whatever path."""
        return _file_of(path) in self._files

    def has_content(self, picture: Picture) -> bool:
        """Whether the same picture is scored."""
        return picture.digest in self._digests


def _file_of(path: Path) -> tuple[int, int] | str:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return str(path)
    return status.st_dev, status.st_ino


def choose_from(
    train: Sequence[Path], count: int, seed: int, scored: Scored, faults: Faults
) -> Calibration:
    """``count`` images of ``train``, or all if there are fewer, by the seed, sorted.

    Images that are scored are passed over, and others take their place, as they do for images that
    have a fault. ``shared`` is the number of images passed over.
    """
    order = _shuffled(train, min(count, len(train)), seed)
    chosen: list[Path] = []
    shared = at = 0
    while len(chosen) < count and at < len(order):
        batch = order[at : at + max(1, count - len(chosen))]
        at += len(batch)
        other = [path for path in batch if not scored.has_file(path)]
        shared += len(batch) - len(other)
        for path, found in zip(other, examine(other), strict=True):
            if isinstance(found, Fault):
                faults.append(found)
            elif scored.has_content(found):
                shared += 1
            else:
                chosen.append(path)
    return Calibration(tuple(sorted(chosen)), "train" if chosen else "none", shared)


def set_aside(
    images: Sequence[Path],
    pictures: Mapping[Path, Picture],
    count: int,
    max_images: int | None,
    seed: int,
) -> tuple[Path, ...]:
    """Images to calibrate on in place of being scored: at most a quarter, by the seed, sorted.

    None that is there twice, so that its twin is scored; those beyond ``max_images`` go first.
    """
    count = min(count, len(images) // MAX_SET_ASIDE)
    if count == 0:
        return ()
    copies = Counter(pictures[path].digest for path in images)
    single = [path for path in images if copies[pictures[path].digest] == 1]
    beyond = set() if max_images is None else set(images[max_images:])
    spare = [path for path in single if path in beyond]
    pool = spare if len(spare) >= count else single
    return tuple(sorted(_shuffled(pool, min(count, len(pool)), seed)[:count]))


def _shuffled(paths: Sequence[Path], count: int, seed: int) -> list[Path]:
    """All of the paths, the same order for the same seed: the first ``count`` are a sample."""
    generator = random.Random(seed)  # noqa: S311 - no secret
    ordered = sorted(paths)
    first = generator.sample(ordered, count)
    rest = sorted(set(ordered) - set(first))
    generator.shuffle(rest)
    return first + rest
