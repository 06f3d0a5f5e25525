"""Sizes of files under the compressors that people ship them in, without writing any."""

from __future__ import annotations

import zlib
from pathlib import Path

GZIP_LEVEL = 6
"""The level that ``gzip`` itself defaults to, so that the figure can be checked by hand."""

ZSTD_LEVEL = 3
"""The level that ``zstd`` itself defaults to."""

_CHUNK_BYTES = 1 << 20


def gzip_bytes(path: Path) -> int:
    """Size of a file after gzip, without writing it."""
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    size = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            size += len(compressor.compress(chunk))
    return size + len(compressor.flush())


def zstd_bytes(path: Path) -> int:
    """Size of a file after Zstandard, without writing it."""
    import pyarrow as pa  # slow to import, and most commands compress nothing

    codec = pa.Codec("zstd", compression_level=ZSTD_LEVEL)
    if not path.stat().st_size:  # nothing to map
        return int(codec.compress(b"").size)
    with pa.memory_map(str(path)) as mapped:
        return int(codec.compress(mapped.read_buffer()).size)
