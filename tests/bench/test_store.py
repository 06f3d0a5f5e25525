from __future__ import annotations

import dataclasses
import gzip
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from deploymark.backends.inputs import InputSpec, Size
from deploymark.bench.errors import BadInputError
from deploymark.bench.store import FILES, ArtifactKey, Store, StoredArtifact, cache_root, digest

KEY = ArtifactKey("recipe", "version")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def add(store: Store, key: ArtifactKey = KEY, data: bytes = b"x" * 1000) -> StoredArtifact:
    with store.workspace() as workspace:
        (workspace / FILES).mkdir()
        (workspace / FILES / "model.bin").write_bytes(data)
        return store.add(
            key,
            workspace,
            entry="model.bin",
            detector={"layout": "anchors"},
            recipe={"steps": []},
            versions={"torch": "1"},
            build_s=1.0,
        )


def test_what_is_added_is_found(store: Store) -> None:
    assert store.find(KEY) is None
    added = add(store)
    assert store.find(KEY) == added
    assert added.bytes == 1000
    assert (added.folder / added.entry).read_bytes() == b"x" * 1000
    assert list((store.root / "tmp").iterdir()) == []


def test_the_gzip_size_is_that_of_gzip(store: Store) -> None:
    data = bytes(range(256)) * 50
    assert add(store, data=data).gzip_bytes == len(gzip.compress(data, 6, mtime=0))


def test_the_zstd_size_is_that_of_zstandard(store: Store) -> None:
    data = bytes(range(256)) * 50
    added = add(store, data=data)
    packed = pa.Codec("zstd", compression_level=3).compress(data, asbytes=True)
    assert added.zstd_bytes == len(packed) < len(data) / 10


def test_an_empty_file_has_a_zstd_size_too(store: Store) -> None:
    assert 0 < (add(store, data=b"").zstd_bytes or 0) < 20


@pytest.mark.parametrize("file", ["files/model.bin", "manifest.json"])
def test_a_damaged_artifact_is_not_found_and_can_be_replaced(
    store: Store, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    added = add(store)
    (added.folder.parent / file).write_bytes(b"damaged")
    assert store.find(KEY) is None
    assert capsys.readouterr().err.count("is damaged: it is not used") == 1
    assert add(store).sha256 == added.sha256
    assert store.find(KEY) is not None


def test_without_an_exporter_the_newest_of_the_recipe_is_taken(store: Store) -> None:
    old, new = ArtifactKey("recipe", "old"), ArtifactKey("recipe", "new")
    add(store, old, b"old")
    folder = store.root / "artifacts" / "recipe" / "old"
    past = time.time() - 100
    os.utime(folder, (past, past))
    made = add(store, new, b"new")
    assert store.find(ArtifactKey("recipe", None)) == made
    assert store.find(ArtifactKey("another", None)) is None


def test_digests_do_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_inspections_are_kept(store: Store) -> None:
    assert store.read_inspection("k") is None
    store.write_inspection("k", {"names": ["a"]})
    assert store.read_inspection("k") == {"names": ["a"]}


def test_clearing_spares_what_is_new(store: Store) -> None:
    add(store)
    assert dataclasses.astuple(store.remove(older_than_days=1)) == (0, 0, 0)
    removed = store.remove()
    assert removed.entries == 1
    assert removed.bytes > 1000
    assert store.find(KEY) is None


def test_the_variable_names_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DEPLOYMARK_CACHE", str(tmp_path / "here"))
    assert cache_root() == tmp_path / "here"


def test_a_root_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="DEPLOYMARK_CACHE"):
        Store(tmp_path / "file" / "store")


@pytest.mark.parametrize(
    ("size", "fields", "ending"),
    [
        (640, {}, "640"),
        (640, {"colours": "bgr", "range": (0, 255)}, "640"),
        ("384x640", {}, "384x640"),
        (320, {"resize": "stretch"}, "320-stretch-bilinear"),
        (416, {"placement": "top-left"}, "416-letterbox-top-left-114-bilinear"),
    ],
)
def test_prepared_images_are_named_by_how_they_are_placed(
    store: Store, size: int | str, fields: dict[str, Any], ending: str
) -> None:
    """A default square is where it was before there were other ones."""
    path = store.images_path("0123456789" * 5, InputSpec(**fields).at(Size.of(size)))
    assert path == store.root / "images" / f"01234567890123456789012345678901-{ending}.npy"
