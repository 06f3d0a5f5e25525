"""The image files of a folder or of a list, and what lies beside them that is not read."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from deploymark.bench.data.fault_kinds import IMAGE_MISSING
from deploymark.bench.data.faults import Fault
from deploymark.bench.errors import BadInputError
from deploymark.bench.text_files import read_text

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
)
"""Those of Ultralytics (``IMG_FORMATS``) that Pillow reads by itself."""

_COMPANIONS = frozenset(
    {"", ".cache", ".csv", ".db", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".npy", ".npz"}
    | {".pdf", ".py", ".sh", ".sha256", ".txt", ".xml", ".yaml", ".yml", ".zip"}
)
"""Endings of what lies beside images and is none: labels, lists, notes, caches."""

_LINE = re.compile(r"\r\n|\r|\n")


@dataclasses.dataclass
class Listing:
    """Images, sorted, each once.

    ``unread`` counts files of types that are not read, by ending; ``missing`` are images that a
    list names and that are not there.
    """

    images: tuple[Path, ...] = ()
    unread: Counter[str] = dataclasses.field(default_factory=Counter)
    missing: list[Fault] = dataclasses.field(default_factory=list)
    repeated: int = 0

    def merged(self, other: Listing) -> Listing:
        """Both; an image that is in both counts once."""
        images = sorted({*self.images, *other.images})
        twice = len(self.images) + len(other.images) - len(images)
        return Listing(
            tuple(images),
            self.unread + other.unread,
            self.missing + other.missing,
            self.repeated + other.repeated + twice,
        )


def list_images(place: Path, root: Path | None = None) -> tuple[Path, ...]:
    """The images at a place, as ``listing`` finds them.

    Raises BadInputError where a listed image does not exist, too.
    """
    found = listing(place, root)
    if found.missing:
        raise BadInputError(
            f"{found.missing[0]}"
            + (f" (and {len(found.missing) - 1} more)" if len(found.missing) > 1 else ""),
            remedy=IMAGE_MISSING.remedy,
        )
    return found.images


def listing(place: Path, root: Path | None = None) -> Listing:
    """The images of a folder, of a text file with one path a line, or the one image itself.

    Folders are searched through all their folders, those that links lead to as well, each once;
    what is hidden is passed over. A path in a text file is relative to that file, or to ``root``.
    Raises BadInputError where there is nothing at ``place``, or no image in it.
    """
    if is_folder(place):
        found = _of_folder(place)
        if not found.images:
            others = endings_text(found.unread)
            raise BadInputError(
                f"{place}: no image in this folder or below it"
                + (f", but {others}, which is not read" if others else ""),
                remedy=_CONVERT if others else "",
            )
    elif place.suffix.lower() in IMAGE_SUFFIXES and is_file(place):
        found = Listing((place,))
    elif is_file(place):
        found = _of_list(place, root)
        if not (found.images or found.missing):
            raise BadInputError(f"{place}: lists no image")
    else:
        raise BadInputError(f"{place}: no such folder or file of images")
    return found


_CONVERT = "Convert them: .jpg, .png, .webp and others are read (docs/data.md)."


def endings_text(unread: Counter[str]) -> str:
    """``3 .heic, 1 .gif``."""
    return ", ".join(f"{count} {ending}" for ending, count in sorted(unread.items()))


def is_file(path: Path) -> bool:
    """Whether a file is there; no name that comes from outside is an error."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder is there; no name that comes from outside is an error."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_there(path: Path) -> bool:
    """Whether anything is there; no name that comes from outside is an error."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def normal(path: Path) -> Path:
    """Absolute, without ``..``; links are kept, because labels are found by an image's own path."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve() would follow links


def _of_folder(place: Path) -> Listing:
    images, unread = [], Counter[str]()
    for path in _files_below(place):
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES:
            images.append(path)
        elif suffix not in _COMPANIONS:
            unread[suffix] += 1
    return Listing(tuple(sorted(images)), unread)


def _files_below(place: Path) -> Iterator[Path]:
    """The files of a folder and of its folders.

    Folders that are links come last, so that a link to one of the same tree adds nothing.
    """
    seen: set[tuple[int, int]] = set()
    plain, links = [place], list[Path]()
    while plain or links:
        folder = plain.pop() if plain else links.pop(0)
        try:
            identity = folder.stat()
            if (identity.st_dev, identity.st_ino) in seen:
                continue
            seen.add((identity.st_dev, identity.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise BadInputError(f"{folder}: cannot be read: {error.strerror or error}") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else plain).append(folder / entry.name)
            else:
                yield folder / entry.name


def _of_list(file: Path, root: Path | None) -> Listing:
    found: list[Path] = []
    result = Listing()
    bases = [file.parent, *([root] if root else [])]
    for number, line in enumerate(_LINE.split(read_text(file, lists_paths=True)), 1):
        if not (word := line.strip()):
            continue
        places = [normal(base / form) for form in path_forms(word) for base in bases]
        image = next((place for place in places if is_file(place)), None)
        suffix = Path(word).suffix.lower()
        if image is None:
            result.missing.append(
                Fault(IMAGE_MISSING, f"{file}:{number}", f"no such image: {places[0]}")
            )
        elif suffix in IMAGE_SUFFIXES:
            found.append(image)
        else:
            result.unread[suffix or "without an ending"] += 1
    result.images = tuple(sorted(set(found)))
    result.repeated = len(found) - len(result.images)
    return result


def path_forms(word: str) -> tuple[str, ...]:
    r"""A path as it is, and with ``/`` for each ``\`` of Windows."""
    return (word, word.replace("\\", "/")) if "\\" in word else (word,)
