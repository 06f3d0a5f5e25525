"""The artifact store: exported files by what they were made from, shared between runs.

An artifact lies under ``artifacts/<recipe key>/<version key>/``. The recipe key hashes what was
asked (model bytes, steps, precision, options, calibration set, shape), the version key what made it
(exporter packages, Deploymark's own exporter source). A machine that has no exporter takes the
newest artifact of the recipe: what was built on a workstation is measured on a device so.

A store that cannot be written (read-only, somebody else's) serves what it has; new things go to a
store beside it, which is looked into first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import platformdirs
from filelock import FileLock

from deploymark.backends.inputs import InputSpec
from deploymark.bench.errors import BadInputError, StorageError
from deploymark.bench.leases import Lease
from deploymark.bench.packed_sizes import gzip_bytes, zstd_bytes
from deploymark.bench.records.files import (
    dump_json,
    sealed,
    unsealed,
    write_text_atomically,
)
from deploymark.bench.room import writing
from deploymark.bench.scratch import owned_folder, sweep
from deploymark.bench.store_folders import make_folders, say_note, store_beside

CACHE_VARIABLE = "DEPLOYMARK_CACHE"
MANIFEST = "manifest.json"
FILES = "files"
_CHUNK_BYTES = 1 << 20
_WORKSPACE = "workspace"

Shelf = Literal["artifacts", "variants"]
"""What is kept under keys: exported files, and the checkpoints that recipes make."""


@dataclasses.dataclass(frozen=True)
class ArtifactKey:
    """Where an artifact lies in the store. ``version`` is None where no exporter is installed."""

    recipe: str
    version: str | None


@dataclasses.dataclass(frozen=True)
class StoredArtifact:
    """An artifact in the store.

    ``bytes`` are the files' sizes added up, ``gzip_bytes`` and ``zstd_bytes`` theirs compressed one
    by one, the latter None where an older version made it;
    ``detector`` is the ``backends.base.Detector`` it was made of.
    """

    folder: Path
    entry: str
    sha256: str
    bytes: int
    gzip_bytes: int
    detector: dict[str, Any]
    recipe: dict[str, Any]
    versions: dict[str, str]
    build_s: float
    notes: list[str] = dataclasses.field(default_factory=list)
    zstd_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class Removed:
    """What was removed of a store; ``skipped`` entries are in use by running processes."""

    entries: int
    bytes: int
    skipped: int


def cache_root() -> Path:
    """The folder that ``DEPLOYMARK_CACHE`` names, or the platform's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("deploymark"))


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal. Raises BadInputError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def folder_sha256(folder: Path, files: Sequence[Path] | None = None) -> str:
    """SHA-256 over the relative paths and bytes of all files in a folder, or of some of them."""
    total = hashlib.sha256()
    for path in _files(folder) if files is None else files:
        total.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\n".encode())
    return total.hexdigest()


def foreign_artifact(
    folder: Path, entry: str, files: Sequence[str], detector: Mapping[str, Any], *, source: Path
) -> StoredArtifact:
    """Files made elsewhere, as an artifact that lies outside the store.

    Its recipe is where it came from: nobody knows how it was made. Raises BadInputError for a file
    that cannot be read.
    """
    paths = [folder / name for name in files]
    return StoredArtifact(
        folder=folder,
        entry=entry,
        sha256=folder_sha256(folder, paths),
        bytes=sum(path.stat().st_size for path in paths),
        gzip_bytes=sum(gzip_bytes(path) for path in paths),
        zstd_bytes=sum(zstd_bytes(path) for path in paths),
        detector=dict(detector),
        recipe={"artifact": str(source)},
        versions={},
        build_s=0.0,
    )


class Store:
    """Artifacts, inspections of checkpoints and prepared images below one root folder."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_root()
        try:
            make_folders(self.root)
            self.home = self.root
        except OSError as error:
            if not (self.root / "artifacts").is_dir():
                raise BadInputError(
                    f"{self.root}: the cache cannot be written: {error.strerror or error}",
                    remedy=f"Name another folder in the environment variable {CACHE_VARIABLE}.",
                ) from error
            self.home = store_beside(self.root)
        self.places = (self.root,) if self.home == self.root else (self.home, self.root)
        self._lease = Lease(self.home / "leases")

    @property
    def datasets(self) -> Path:
        """The folder of data sets that are drawn; in use from now on."""
        self._lease.use("datasets")
        return self.home / "datasets"

    def lock(self, name: str) -> FileLock:
        """A lock between processes; ``name`` is a key of this store."""
        return FileLock(self.home / "locks" / f"{name}.lock")

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """An empty folder on the store's file system, removed at the end unless moved away.

        Raises StorageError where the disk takes no more.
        """
        with writing(self.home), owned_folder(_WORKSPACE, self.home / "tmp") as folder:
            yield folder

    def sweep(self) -> None:
        """Remove the workspaces that processes which are gone left behind."""
        sweep(_WORKSPACE, self.home / "tmp")

    def find(self, key: ArtifactKey, shelf: Shelf = "artifacts") -> StoredArtifact | None:
        """The artifact of a key, its bytes checked against their hash; None if there is none."""
        self._lease.use(f"{shelf}/{key.recipe}/{key.version}")  # before it is looked at
        for place in self.places:
            folder = place / shelf / key.recipe
            made = [folder / str(key.version)]
            if key.version is None:
                made = sorted(folder.glob("*"), key=_modified, reverse=True)
                self._lease.use(*(f"{shelf}/{key.recipe}/{path.name}" for path in made))
            for path in made:
                if found := self._read(path):
                    return found
                if path.exists():
                    say_note(f"{path} is damaged: it is not used, and made anew where it can be")
        return None

    def _read(self, folder: Path) -> StoredArtifact | None:
        try:
            values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            artifact = StoredArtifact(folder=folder / FILES, **unsealed(values))
            return artifact if folder_sha256(artifact.folder) == artifact.sha256 else None
        except (OSError, ValueError, TypeError, AttributeError, BadInputError):
            return None

    def add(
        self,
        key: ArtifactKey,
        workspace: Path,
        shelf: Shelf = "artifacts",
        *,
        entry: str,
        detector: Mapping[str, Any],
        recipe: Mapping[str, Any],
        versions: Mapping[str, str],
        build_s: float,
        notes: Sequence[str] = (),
    ) -> StoredArtifact:
        """Take ``workspace/files`` into the store in one rename; the caller holds the lock."""
        files = _files(workspace / FILES)
        values: dict[str, Any] = {
            "entry": entry,
            "sha256": folder_sha256(workspace / FILES),
            "bytes": sum(path.stat().st_size for path in files),
            "gzip_bytes": sum(gzip_bytes(path) for path in files),
            "zstd_bytes": sum(zstd_bytes(path) for path in files),
            "detector": dict(detector),
            "recipe": dict(recipe),
            "versions": dict(versions),
            "build_s": round(build_s, 3),
            "notes": list(notes),
        }
        (workspace / MANIFEST).write_text(dump_json(sealed(values)) + "\n", encoding="utf-8")
        self._lease.use(f"{shelf}/{key.recipe}/{key.version}")
        target = self.home / shelf / key.recipe / str(key.version)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():  # what lay there failed its check
            shutil.rmtree(target)
        workspace.rename(target)
        return StoredArtifact(folder=target / FILES, **values)

    def read_inspection(self, key: str) -> dict[str, Any] | None:
        """What was found out about a checkpoint before; None if nothing was, or it is damaged."""
        self._lease.use(f"inspections/{key}.json")
        for place in self.places:
            path = place / "inspections" / f"{key}.json"
            try:
                return unsealed(json.loads(path.read_text(encoding="utf-8")))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, TypeError) as error:
                say_note(f"{path} is damaged ({error}): it is made anew")
        return None

    def write_inspection(self, key: str, values: Mapping[str, Any]) -> None:
        """Keep what was found out about a checkpoint. Raises StorageError when full."""
        path = self.home / "inspections" / f"{key}.json"
        write_text_atomically(path, dump_json(sealed(values)) + "\n")

    def images_path(self, dataset_hash: str, spec: InputSpec) -> Path:
        """Where the images of a list of images lie as ``spec`` places them (a ``.npy`` file).

        Colours and values do not tell: the file has them as the pictures do.
        """
        name = "-".join(filter(None, (dataset_hash[:32], str(spec.size), spec.placed)))
        self._lease.use(f"images/{name}.npy", f"images/{name}.json")
        return self.home / "images" / f"{name}.npy"

    def bundle_path(self, sha256: str) -> Path:
        """Where a bundle lies once it is unpacked; in use from now on."""
        self._lease.use(f"bundles/{sha256}")
        return self.home / "bundles" / sha256

    def images_elsewhere(self, path: Path) -> list[Path]:
        """Where what belongs at ``images_path`` may lie, too: in the store that is only read."""
        return [place / "images" / path.name for place in self.places if place != self.home]

    def find_sha256(self, wanted: Collection[str]) -> dict[str, StoredArtifact]:
        """The artifacts with those hashes of their files, by hash; sound ones only."""
        found: dict[str, StoredArtifact] = {}
        manifests = [
            path for place in self.places for path in place.glob(f"artifacts/*/*/{MANIFEST}")
        ]
        for manifest in sorted(manifests):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                sha256 = json.loads(manifest.read_text(encoding="utf-8")).get("sha256")
                if sha256 in wanted and sha256 not in found:
                    artifact = self._read(manifest.parent)
                    if artifact is not None:
                        folder = manifest.parent
                        self._lease.use(f"artifacts/{folder.parent.name}/{folder.name}")
                        found[sha256] = artifact
        return found

    def entries(self, shelf: Shelf = "artifacts") -> list[StoredArtifact]:
        """Every sound entry of a shelf."""
        folders = sorted((self.root / shelf).glob("*/*"))
        return [found for folder in folders if (found := self._read(folder))]

    def size_bytes(self) -> int:
        """Bytes of all files of the store."""
        return sum(path.stat().st_size for path in _files(self.root))

    def remove(self, *, older_than_days: float = 0.0) -> Removed:
        """Remove what was not touched for so many days, but for what running processes use.

        Raises StorageError where the store is read-only or somebody else's.
        """
        if self.home != self.root:
            raise StorageError(
                f"{self.root}: nothing can be removed: the cache is read-only or somebody else's",
                remedy="Clear it as the user who owns it, where it can be written.",
            )
        limit = time.time() - older_than_days * 86_400
        used = self._lease.others()
        entries, size, skipped = 0, 0, 0
        for path in [
            *(self.root / "artifacts").glob("*/*"),
            *(self.root / "variants").glob("*/*"),
            *(self.root / "datasets").iterdir(),
            *(self.root / "images").iterdir(),
            *(self.root / "inspections").iterdir(),
            *(self.root / "bundles").iterdir(),
        ]:
            name = path.relative_to(self.root).as_posix()
            if name in used or name.partition("/")[0] in used or name.endswith(".partial"):
                skipped += 1
                continue
            if _modified(path) > limit:
                continue
            with contextlib.suppress(FileNotFoundError), writing(path):
                size += _remove(path)
                entries += 1
        return Removed(entries, size, skipped)


def _remove(path: Path) -> int:
    """Remove a file or a folder; its bytes."""
    size = sum(item.stat().st_size for item in (_files(path) if path.is_dir() else [path]))
    if path.is_dir():
        shutil.rmtree(path)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    else:
        path.unlink()
    return size


def _modified(path: Path) -> float:
    """When a file was changed last; long ago where it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
