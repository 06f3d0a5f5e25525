"""Files of strangers: what reading them may raise, and how much of their notes is read."""

from __future__ import annotations

import zipfile
import zlib

ARCHIVE_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,  # of parts with a password; a RecursionError is one, too
    NotImplementedError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What ``zipfile`` raises where an archive is damaged, or wants what it cannot do."""

LITERAL_ERRORS = (ValueError, SyntaxError, RecursionError, MemoryError)
"""What ``ast.literal_eval`` raises (its documentation names them)."""

MAX_NOTES_BYTES = 16 << 20
"""Of a maker's notes in an archive: a few bytes of one may stand for gigabytes."""


def read_part(archive: zipfile.ZipFile, name: str) -> bytes:
    """A part of an archive. Raises one of ``ARCHIVE_ERRORS``: for one that is too large, too."""
    size = archive.getinfo(name).file_size
    if size > MAX_NOTES_BYTES:
        raise ValueError(f"{name} has {size} bytes, at most {MAX_NOTES_BYTES} are read")
    return archive.read(name)
