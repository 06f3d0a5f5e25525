"""The file that a bundle is: a ZIP whose first entry, the manifest, names every other one.

A bundle comes from elsewhere, so it is data: nothing in it runs when it is opened, nothing of it
is written outside the folder that it is unpacked to, and no byte of it is believed before its hash
was checked. Sizes are held against the manifest, the disk and the file's own size first (a ZIP can
claim 100 GB in a few kilobytes). The same content gives the same bytes: entries are in order, their
times and modes are constants.
"""

from __future__ import annotations

import hashlib
import shutil
import stat
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Self

from deploymark.bench.bundle.manifest import MANIFEST, FileEntry, Manifest, read_manifest
from deploymark.bench.errors import BadInputError
from deploymark.bench.records.files import printable, sha256_of

ENDING = ".dmb"

_CHUNK_BYTES = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a ZIP can tell: every entry has it."""

_FILE_MODE = stat.S_IFREG | 0o644
_LEVEL = 6

MOST_ENTRIES = 20_000
MOST_MANIFEST_BYTES = 256 << 20
MOST_EXPANSION = 200
"""How many times its own size a bundle may unpack to. Deflate reaches 1032 on constant bytes;
weights and pictures stay below 10."""

_ALWAYS_BYTES = 64 << 20
"""What a bundle may unpack to however small it is: a few grey pictures shrink to nothing."""

_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10))})
"""Names that are devices on Windows."""


def is_safe(name: str) -> bool:
    """Whether a name in a bundle stays in the folder that it is unpacked to, on every system."""
    parts = name.split("/")
    return len(name) < 1000 and all(_is_safe_part(part) for part in parts)  # noqa: PLR2004 - bytes


def _is_safe_part(part: str) -> bool:
    if part in {"", ".", ".."} or part != part.strip(" ") or part.endswith("."):
        return False
    if any(mark in part for mark in '\\:*?"<>|') or part.partition(".")[0].lower() in _RESERVED:
        return False
    return all(unicodedata.category(mark)[0] != "C" for mark in part)


def write_container(
    destination: Path, manifest: Manifest, sources: Mapping[str, Path | bytes]
) -> None:
    """Write a bundle in one step. ``sources`` has what each file of the manifest holds.

    Raises OSError where it cannot be written; nothing is left at ``destination`` then.
    """
    partial = destination.with_name(f".{destination.name}.partial")
    try:
        with zipfile.ZipFile(partial, "w") as archive:
            _write(archive, MANIFEST, manifest.dump())
            for name in sorted(sources):
                _write(archive, name, sources[name])
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)


def _write(archive: zipfile.ZipFile, name: str, source: Path | bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3  # Unix, whatever writes it
    entry.external_attr = _FILE_MODE << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry._compresslevel = _LEVEL  # type: ignore[attr-defined]  # noqa: SLF001 - 3.13 makes it public
    entry.file_size = len(source) if isinstance(source, bytes) else source.stat().st_size
    with archive.open(entry, "w") as stream:
        if isinstance(source, bytes):
            stream.write(source)
            return
        with source.open("rb") as reading:
            shutil.copyfileobj(reading, stream, _CHUNK_BYTES)


def file_entry(name: str, source: Path | bytes) -> FileEntry:
    """Size and hash of what goes into a bundle."""
    if isinstance(source, bytes):
        return FileEntry(path=name, bytes=len(source), sha256=hashlib.sha256(source).hexdigest())
    return FileEntry(path=name, bytes=source.stat().st_size, sha256=sha256_of(source))


class Container:
    """A bundle, open for reading. Use as a context manager.

    Raises BadInputError: for what is no bundle, is cut off, has names, sizes or kinds of entries
    that no bundle has, or is of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise BadInputError(f"{path}: no such bundle") from None
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise self._broken(f"is no bundle, or is cut off ({error})") from error
        try:
            self._entries = self._checked_entries()
            self.manifest = self._manifest()
            self._check_against_manifest()
        except BaseException:
            self._archive.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def verify(self) -> Iterator[FileEntry]:
        """Every file, once its bytes have been read and its hash is right. Raises BadInputError."""
        for entry in self.manifest.files:
            self._copy(entry, None)
            yield entry

    def unpack(self, folder: Path) -> Iterator[FileEntry]:
        """Write every file below the empty ``folder``, checked; each is given when it is there.

        Raises BadInputError where the disk has no room, or a file is not what the manifest says.
        """
        needed, free = self.manifest.total_bytes, shutil.disk_usage(folder).free
        if needed > free:
            raise BadInputError(
                f"{self.path} unpacks to {needed / 1e9:.3g} GB, and {folder} has {free / 1e9:.3g} "
                "GB left",
                remedy="Make room, or name another cache with DEPLOYMARK_CACHE.",
            )
        for entry in self.manifest.files:
            target = folder.joinpath(*entry.path.split("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as stream:
                self._copy(entry, stream)
            yield entry

    def _copy(self, entry: FileEntry, target: IO[bytes] | None) -> None:
        """Read one file to its end, into ``target`` where there is one, and check it."""
        total, count = hashlib.sha256(), 0
        try:
            with self._archive.open(self._entries[entry.path]) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    count += len(chunk)
                    if count > entry.bytes:
                        break
                    total.update(chunk)
                    if target is not None:
                        target.write(chunk)
        except (
            zipfile.BadZipFile,
            EOFError,
            ValueError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise self._broken(f"{printable(entry.path)} cannot be read: {error}") from error
        except OSError as error:
            if error.errno is not None:  # of the disk that it is written to
                raise
            raise self._broken(f"{printable(entry.path)} cannot be read: {error}") from error
        except Exception as error:  # zlib.error and lzma's have no common base
            raise self._broken(f"{printable(entry.path)} cannot be read: {error}") from error
        if count != entry.bytes or total.hexdigest() != entry.sha256:
            raise self._broken(f"{printable(entry.path)} is not what the manifest says it is")

    def _checked_entries(self) -> dict[str, zipfile.ZipInfo]:
        """The entries by name, none of a kind that a bundle has not."""
        found: dict[str, zipfile.ZipInfo] = {}
        folded: set[str] = set()
        infos = self._archive.infolist()
        if len(infos) > MOST_ENTRIES:
            raise self._broken(f"has {len(infos)} entries (limit {MOST_ENTRIES})")
        for info in infos:
            name, shown = info.filename, printable(info.filename)[:120]
            kind = stat.S_IFMT(info.external_attr >> 16)
            if not is_safe(name) or info.orig_filename != name:
                raise self._broken(f"has an entry whose name leaves its folder: {shown!r}")
            if kind not in (0, stat.S_IFREG):
                raise self._broken(f"{shown} is a link or a device, and a bundle has files alone")
            if info.flag_bits & 0x1 or info.compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                raise self._broken(f"{shown} is encrypted, or compressed in another way")
            if name.casefold() in folded:
                raise self._broken(f"has {shown} twice")
            folded.add(name.casefold())
            found[name] = info
        return found

    def _manifest(self) -> Manifest:
        info = self._entries.pop(MANIFEST, None)
        if info is None:
            raise self._broken(f"has no {MANIFEST}: it is a ZIP of something else")
        if info.file_size > MOST_MANIFEST_BYTES:
            raise self._broken(f"has a manifest of {info.file_size / 1e6:.0f} MB")
        try:
            with self._archive.open(info) as stream:
                text = stream.read(MOST_MANIFEST_BYTES + 1)
        except Exception as error:
            raise self._broken(f"{MANIFEST} cannot be read: {error}") from error
        return read_manifest(text, self.path)

    def _check_against_manifest(self) -> None:
        named = {entry.path: entry for entry in self.manifest.files}
        if len(named) != len(self.manifest.files):
            raise self._broken("its manifest names a file twice")
        if missing := sorted(set(named) - set(self._entries)):
            raise self._broken(f"lacks {printable(missing[0])}, which its manifest names")
        if strange := sorted(set(self._entries) - set(named)):
            raise self._broken(f"has {printable(strange[0])}, which its manifest does not name")
        for name, info in self._entries.items():
            if info.file_size != named[name].bytes:
                raise self._broken(f"{printable(name)} is not as large as its manifest says")
        most = max(_ALWAYS_BYTES, MOST_EXPANSION * self.path.stat().st_size)
        if self.manifest.total_bytes > most:
            raise self._broken(
                f"would unpack to {self.manifest.total_bytes / 1e9:.3g} GB, over {MOST_EXPANSION} "
                "times its own size"
            )

    def _broken(self, what: str) -> BadInputError:
        return BadInputError(
            f"{self.path}: {what}",
            remedy="Copy the bundle again, or make it anew: deploymark bundle MATRIX -o FILE.",
        )
