"""Whether image files can be used, found out before anything is prepared: sizes, digests, flaws."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import stat
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from PIL import UnidentifiedImageError

from deploymark.bench.data.fault_kinds import (
    IMAGE_EMPTY,
    IMAGE_LEVELS,
    IMAGE_MISSING,
    IMAGE_NO_IMAGE,
    IMAGE_TOO_LARGE,
    IMAGE_TRUNCATED,
    IMAGE_UNDECODABLE,
    FaultKind,
)
from deploymark.bench.data.faults import Fault
from deploymark.bench.worker.letterbox import MAX_PIXELS, ImageTooLargeError, open_image

ORIENTATION_TAG = 0x0112
TURNED = frozenset({5, 6, 7, 8})
"""EXIF orientations that exchange width and height."""

_LARGE_PIXELS = 25_000_000
"""Pictures from this size on are decoded one at a time: each takes up to 4 bytes a pixel."""

_LOW_BITS = 4096
"""A picture of 16 bits whose brightest value is below this has 12 bits or fewer."""

_HIGH_BITS = 65536

MOST_DECODED = 5000
"""Images of a set up to which each is decoded. Of a larger one JPEG files that end as they should
are taken for whole: truncated ones do not, and decoding 20,000 photos takes half a minute."""

_END_OF_JPEG = b"\xff\xd9"
_TRAILER_BYTES = 4096
"""Bytes in which the end of a JPEG is looked for: some cameras add a few of their own."""

_DRAFT = 8
"""libjpeg scales by at most this while it decodes: every byte is read, few pixels are made."""

_LARGE = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image file that can be used: upright size in pixels, SHA-256 of its bytes."""

    width: int
    height: int
    digest: bytes


_KNOWN: dict[tuple[str, int, int, int], Picture | Fault] = {}
"""What was found out in this process, by path, file and time: a run asks again at its end."""


def examine(paths: Sequence[Path]) -> list[Picture | Fault]:
    """A picture or a fault for each path, in order; in as many threads as there are cores."""
    look = _examined if len(paths) <= MOST_DECODED else partial(_examined, decode_whole=False)
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(max_workers=workers or 1) as pool:
        return list(pool.map(look, paths))


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _examined(path: Path, *, decode_whole: bool = True) -> Picture | Fault:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        link = " (a link that leads nowhere)" if _is_link(path) else ""
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Fault(IMAGE_MISSING, str(path), f"{reason or 'cannot be read'}{link}")
    if not stat.S_ISREG(status.st_mode):
        return Fault(IMAGE_NO_IMAGE, str(path), "no regular file")
    key = (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
    if key not in _KNOWN:
        _KNOWN[key] = _look(path, decode_whole=decode_whole)
    return _KNOWN[key]


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except (OSError, ValueError):
        return False


def _look(path: Path, *, decode_whole: bool) -> Picture | Fault:
    try:
        data = path.read_bytes()
    except OSError as error:
        return Fault(IMAGE_UNDECODABLE, str(path), f"cannot be read: {error.strerror or error}")
    kind, detail = _FINE, ""
    if not data:
        return Fault(IMAGE_EMPTY, str(path), "0 bytes")
    try:
        with open_image(io.BytesIO(data)) as image:
            large = image.width * image.height > _LARGE_PIXELS
            with _LARGE if large else threading.Lock():
                whole = not decode_whole and _END_OF_JPEG in data[-_TRAILER_BYTES:]
                width, height, detail = _decoded(image, taken_for_whole=whole)
        if not detail:
            return Picture(width, height, hashlib.sha256(data).digest())
        kind = IMAGE_LEVELS
    except ImageTooLargeError as error:
        kind, detail = IMAGE_TOO_LARGE, f"{error}, the most is {MAX_PIXELS // 10**6} megapixels"
    except Exception as error:  # noqa: BLE001 - decoders raise all kinds for broken files
        kind, detail = _undecodable(data, error)
    return Fault(kind, str(path), detail)


def _undecodable(data: bytes, error: Exception) -> tuple[FaultKind, str]:
    """The kind of fault of a file that no decoder takes, and what was seen."""
    if seen := sniffed(data):
        return IMAGE_NO_IMAGE, f"cannot be decoded as an image: {seen}"
    reason = str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = "of no known format"
    cut = "truncated" in reason.lower() or isinstance(error, EOFError)
    return (
        IMAGE_TRUNCATED if cut else IMAGE_UNDECODABLE,
        f"cannot be decoded as an image: {reason}",
    )


_FINE = FaultKind("", "", "", "nothing")


def _decoded(image: Any, *, taken_for_whole: bool) -> tuple[int, int, str]:
    """Width and height of the upright image, and what is wrong with its levels, after decoding."""
    width, height = image.size
    jpeg = image.format == "JPEG"
    if jpeg:
        image.draft(None, (max(1, width // _DRAFT), max(1, height // _DRAFT)))
    if not (jpeg and taken_for_whole):
        image.load()
    if image.getexif().get(ORIENTATION_TAG) in TURNED:
        width, height = height, width
    return width, height, _levels(image)


def _levels(image: Any) -> str:
    """What is wrong with the range of the pixels; empty where 8 bits can be made of them."""
    if image.mode == "F":
        return "its pixels are floats, whose range no file tells"
    if image.mode.startswith("I"):
        low, high = image.getextrema()
        if high >= _HIGH_BITS or low < 0:
            return f"its pixels reach from {low:g} to {high:g}, more than 16 bits"
        if 0 < high < _LOW_BITS:
            return f"its brightest pixel is {high:g} of 65535: 12 bits or fewer in 16, almost black"
    return ""


_STARTS = (
    (b"version https://git-lfs", "a pointer of Git LFS (fetch the file: git lfs pull)"),
    (b"<!doctype html", "an HTML page, perhaps of a failed download"),
    (b"<html", "an HTML page, perhaps of a failed download"),
    (b"<?xml", "XML"),
    (b"<svg", "an SVG drawing"),
    (b"pk\x03\x04", "a ZIP archive"),
    (b"%pdf", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"{", "JSON"),
)

_HEIC = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim")
_VIDEO = (b"isom", b"iso2", b"mp41", b"mp42", b"avc1", b"qt  ", b"M4V ")


def sniffed(data: bytes) -> str:
    """What a file that is no image is, by how it begins; empty where that cannot be told."""
    head = data[:512].lstrip().lower()
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC + _VIDEO:
        return "HEIC, whatever its ending" if data[8:12] in _HEIC else "a video"
    for start, what in _STARTS:
        if head.startswith(start):
            return what
    if not any(data[:512]):
        return "nothing but zeros, perhaps of a failed download or disk"
    printable = all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in data[:512])  # noqa: PLR2004
    return "text" if printable else ""
