"""A bundle is data: whatever is wrong with one is one sentence, and nothing outside is written."""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.bench.bundle import container as module
from deploymark.bench.bundle.container import Container, file_entry, is_safe, write_container
from deploymark.bench.bundle.manifest import BUNDLE_VERSION, MANIFEST, FileEntry, Manifest
from deploymark.bench.errors import BadInputError

FILES: Mapping[str, Path | bytes] = {"artifacts/0000/model.onnx": b"weights" * 99, "b.json": b"{}"}


def manifest(contents: Mapping[str, Path | bytes] = FILES, /, **changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "bundle_version": BUNDLE_VERSION,
        "deploymark_version": "0",
        "matrix": {},
        "matrix_file": "m.yaml",
        "selection": "",
        "packages": {},
        "left_out": [],
        "variants": [],
        "cells": [],
        "models": [],
        "files": [file_entry(name, contents[name]) for name in sorted(contents)],
    }
    return Manifest(**{**values, **changes})


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "d.dmb"
    write_container(path, manifest(), FILES)
    return path


def unpacked(path: Path, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    with Container(path) as found:
        for _ in found.unpack(folder):
            pass
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_what_goes_in_comes_out(bundle: Path, tmp_path: Path) -> None:
    assert unpacked(bundle, tmp_path / "out") == dict(FILES)
    with Container(bundle) as found:
        assert [entry.path for entry in found.verify()] == sorted(FILES)


def test_the_same_content_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.dmb"
    turned = dict(reversed(FILES.items()))
    write_container(again, manifest(turned), turned)
    assert again.read_bytes() == bundle.read_bytes()


def test_a_bundle_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_container(tmp_path / "d.dmb", manifest(), {**FILES, "b.json": tmp_path / "gone"})
    assert list(tmp_path.iterdir()) == []


def rewritten(path: Path, change: Callable[[zipfile.ZipFile], None], *names: str) -> Path:
    """The bundle with the entries ``names`` left out, and what ``change`` adds."""
    data = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            if info.filename not in names:
                new.writestr(info, old.read(info))
        change(new)
    return path


def nothing(_: zipfile.ZipFile) -> None:
    pass


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "a/../../evil", "C:/evil", "a\\..\\evil", "..", "a//b", "nul", "a\nb"],
)
def test_names_that_leave_the_folder(bundle: Path, tmp_path: Path, name: str) -> None:
    files = {**FILES, name: b"evil"}
    entries = [file_entry(key, value) for key, value in files.items()]

    def add(new: zipfile.ZipFile) -> None:
        new.writestr(MANIFEST, manifest(files=entries).dump())
        new.writestr(zipfile.ZipInfo(name), b"evil")

    path = rewritten(bundle, add, MANIFEST)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInputError, match=r"d\.dmb: has an entry whose name leaves its folder"):
        Container(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_is_refused(bundle: Path) -> None:
    link = zipfile.ZipInfo("b.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = rewritten(bundle, lambda new: new.writestr(link, "/etc/passwd"), "b.json")
    with pytest.raises(BadInputError, match="is a link or a device"):
        Container(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_bundle_that_is_cut_off(bundle: Path, share: float) -> None:
    data = bundle.read_bytes()
    bundle.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadInputError, match=r"d\.dmb"):
        Container(bundle)


@given(st.data())
def test_a_flipped_bit_is_found_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flips")
    path = folder / "d.dmb"
    write_container(path, manifest(), FILES)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        found = unpacked(path, folder / "out")
    except BadInputError:
        return
    assert found == dict(FILES)


def test_a_file_that_is_missing(bundle: Path) -> None:
    with pytest.raises(BadInputError, match=r"lacks b\.json, which its manifest names"):
        Container(rewritten(bundle, nothing, "b.json"))


def test_a_file_that_nobody_named(bundle: Path) -> None:
    path = rewritten(bundle, lambda new: new.writestr("strange.so", b"x"))
    with pytest.raises(BadInputError, match=r"has strange\.so, which its manifest does not name"):
        Container(path)


def test_other_bytes_of_the_same_size(bundle: Path) -> None:
    path = rewritten(bundle, lambda new: new.writestr("b.json", b"[]"), "b.json")
    with Container(path) as found, pytest.raises(BadInputError, match=r"b\.json is not what"):
        list(found.verify())


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALWAYS_BYTES", 1000)
    zeros = {"bomb": bytes(4 << 20)}
    path = tmp_path / "d.dmb"
    write_container(path, manifest(zeros), zeros)
    with pytest.raises(BadInputError, match="over 200 times its own size"):
        Container(path)


def test_sizes_are_believed_of_nobody(bundle: Path, tmp_path: Path) -> None:
    """A ZIP and its manifest may claim what they like: no more is read, and the disk is asked."""
    claimed = FileEntry(path="b.json", bytes=100 * 10**9, sha256="0" * 64)
    rest = file_entry("artifacts/0000/model.onnx", FILES["artifacts/0000/model.onnx"])
    lying = manifest(files=[claimed, rest]).dump()
    path = rewritten(bundle, lambda new: new.writestr(MANIFEST, lying), MANIFEST)
    with pytest.raises(BadInputError, match=r"b\.json is not as large as its manifest says"):
        Container(path)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"b.json")
    # of the central directory: the uncompressed size lies 22 bytes before the name
    struct.pack_into("<I", data, at - 46 + 24, 4_000_000_000)
    path.write_bytes(bytes(data))
    with pytest.raises(BadInputError, match=r"d\.dmb"):
        Container(path)
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"[1]", "does not tell its version"),
        (b"{", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (json.dumps({"bundle_version": 99}).encode(), "is a bundle of version 99"),
        (json.dumps({"bundle_version": 1, "cells": 3}).encode(), "cannot be read"),
        (b'{"bundle_version": 1, "files": NaN}', "cannot be read"),
    ],
)
def test_a_manifest_that_is_none(bundle: Path, text: bytes, told: str) -> None:
    path = rewritten(bundle, lambda new: new.writestr(MANIFEST, text), MANIFEST)
    with pytest.raises(BadInputError, match=told):
        Container(path)


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "photos.dmb"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"x")
    with pytest.raises(BadInputError, match="it is a ZIP of something else"):
        Container(path)
    path.write_text("text")
    with pytest.raises(BadInputError, match="is no bundle, or is cut off"):
        Container(path)
    with pytest.raises(BadInputError, match="no such bundle"):
        Container(tmp_path / "gone.dmb")


@given(st.text())
def test_safe_names_stay_inside(name: str) -> None:
    if is_safe(name):
        folder = Path("/folder")
        assert folder.joinpath(*name.split("/")).resolve().is_relative_to(folder)
