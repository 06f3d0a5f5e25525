"""Text files that people bring, in the encodings that editors write."""

from __future__ import annotations

import codecs
from pathlib import Path

from deploymark.bench.errors import BadInputError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16: tried before it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_LOOKED_AT_BYTES = 64


def read_text(path: Path, *, lists_paths: bool = False) -> str:
    """The text of a file in UTF-8, or in UTF-16 or UTF-32, without its byte-order mark.

    In a file that ``lists_paths`` bytes that are no UTF-8 stay what they are: names of files may
    have any. Raises FileNotFoundError where there is none, BadInputError where it cannot be read.
    """
    try:
        data = path.read_bytes()
        return decoded(data, lists_paths=lists_paths)
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{path}: cannot be read: it is no text in UTF-8 or UTF-16 ({error.reason} at byte"
            f" {error.start})",
            remedy="Save it as UTF-8.",
        ) from error
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from error


def decoded(data: bytes, *, lists_paths: bool = False) -> str:
    """Bytes as ``read_text`` decodes them. Raises UnicodeDecodeError."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding)
    head = data[:_LOOKED_AT_BYTES]
    if b"\0" in head:  # no text of ours has one: UTF-16 whose byte-order mark is missing
        return data.decode("utf-16-be" if head[0] == 0 else "utf-16-le")
    return data.decode("utf-8", errors="surrogateescape" if lists_paths else "strict")
