"""Kinds of image files that people have: read rightly, or told before anything is prepared."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploymark.backends.inputs import square_input
from deploymark.bench.data import pictures
from deploymark.bench.data.datasets import Dataset, DataSource
from deploymark.bench.data.images import image_size, letterboxed
from deploymark.bench.errors import BadInputError
from deploymark.bench.worker import letterbox
from tests.data_sets import load, write_image, yolo

GOOD = "0 .5 .5 .2 .2\n"


def png(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def photo(kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    return png(Image.fromarray(pixels), kind)


LEVELS = np.linspace(0, 1, 200, dtype=np.float32).reshape(10, 20)


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"),
    [
        ("x.jpg", b"", "image_empty", "0 bytes"),
        ("x.jpg", photo()[:3000], "image_truncated", "truncated"),
        ("x.jpg", photo()[:-300], "image_truncated", "truncated"),
        ("x.png", photo("PNG")[:9000], "image_truncated", "truncated"),
        ("x.jpg", b"<!DOCTYPE html><html>", "image_no_image", "HTML page"),
        ("x.jpg", b"version https://git-lfs.github.com/spec/v1\n", "image_no_image", "Git LFS"),
        ("x.jpg", b"\0\0\0\x18ftypheic\0\0\0\0", "image_no_image", "HEIC"),
        ("x.png", b"PK\x03\x04aaaa", "image_no_image", "ZIP"),
        ("x.png", b"not found", "image_no_image", "text"),
        ("x.png", bytes(900), "image_no_image", "zeros"),
        ("x.png", b"\x89PNG\r\n\x1a\nrest", "image_undecodable", "cannot be decoded"),
        ("x.tif", png(Image.fromarray(LEVELS), "TIFF"), "image_levels", "floats"),
        (
            "x.png",
            png(Image.fromarray((LEVELS * 4095).astype(np.uint16))),
            "image_levels",
            "12 bits or fewer",
        ),
        (
            "x.tif",
            png(Image.fromarray((LEVELS * 200_000).astype(np.int32)), "TIFF"),
            "image_levels",
            "more than 16 bits",
        ),
    ],
)
def test_a_bad_image_is_refused_or_skipped(
    tmp_path: Path, name: str, content: bytes, kind: str, words: str
) -> None:
    source = yolo(tmp_path, [GOOD])
    (tmp_path / "images" / "val" / name).write_bytes(content)
    (tmp_path / "labels" / "val" / "x.txt").write_text(GOOD)
    with pytest.raises(BadInputError, match=rf"{name}: .*{words}"):
        load(source)
    census = load(source, "skip").census
    assert [(fault["kind"], fault["count"]) for fault in census.faults] == [(kind, 1)]
    assert (census.listed, census.images, census.skipped, census.rows) == (2, 1, 1, 2)


def test_sixteen_bits_keep_their_high_byte(tmp_path: Path) -> None:
    source = yolo(tmp_path, [GOOD])
    path = tmp_path / "images" / "val" / "00.png"
    path.write_bytes(png(Image.fromarray((LEVELS * 65535).astype(np.uint16))))
    assert len(load(source).scored) == 1
    assert letterbox.read_rgb(path).max() == 255


def test_a_large_image_is_read_without_a_warning_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = yolo(tmp_path, [GOOD])
    path = tmp_path / "images" / "val" / "big.png"
    Image.new("1", (12_000, 10_000)).save(path)  # above Pillow's own limit, which warns
    assert image_size(path) == (12_000, 10_000)
    assert len(load(source).scored) == 2
    monkeypatch.setattr(letterbox, "MAX_PIXELS", 100_000_000)
    path.touch()
    os.utime(path, ns=(1, 1))
    with pytest.raises(BadInputError, match=r"too large: .*big\.png: 12000 x 10000 pixels"):
        load(source)
    with pytest.raises(BadInputError, match="12000 x 10000 pixels"):
        letterboxed(path, square_input(32))


def test_of_a_large_set_truncated_photos_are_found_by_their_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST_DECODED", 2)
    source = yolo(tmp_path, [GOOD])
    whole = photo()
    (tmp_path / "images" / "val" / "a.jpg").write_bytes(whole + b"trailer")
    (tmp_path / "images" / "val" / "b.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match=r"a truncated image: .*b\.jpg"):
        load(source)
    assert len(load(source, "skip").scored) == 2


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    source = yolo(tmp_path / "set", [GOOD])
    write_image(tmp_path / "more" / "deep" / "b.png", 7)
    (tmp_path / "set" / "images" / "val" / "part").symlink_to(tmp_path / "more")
    (tmp_path / "more" / "again").symlink_to(tmp_path / "set" / "images")
    (tmp_path / "set" / "images" / "val" / "here").symlink_to(".")
    names = [image.path.relative_to(tmp_path).as_posix() for image in load(source).scored]
    assert names == ["set/images/val/00.png", "set/images/val/part/deep/b.png"]


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    source = yolo(tmp_path, [GOOD])
    (tmp_path / "images" / "val" / "x.jpg").symlink_to("gone.jpg")
    with pytest.raises(BadInputError, match="a link that leads nowhere"):
        load(source)


def test_the_same_picture_under_two_names_is_counted(tmp_path: Path) -> None:
    source = yolo(tmp_path, [GOOD] * 2)
    write_image(tmp_path / "images" / "val" / "twin.png", 1)
    census = load(source).census
    assert census.same_picture == 1
    assert "1 image there under several names" in census.lines()[1]


def test_endings_in_any_case_are_read(tmp_path: Path) -> None:
    source = yolo(tmp_path, [GOOD])
    (tmp_path / "images" / "val" / "00.png").rename(tmp_path / "images" / "val" / "00.PNG")
    assert len(load(source).scored) == 1


def test_enough_good_images_are_looked_for(tmp_path: Path) -> None:
    source = yolo(tmp_path, [GOOD] * 6)
    (tmp_path / "images" / "val" / "01.png").write_bytes(b"")
    dataset = load(source, "skip", max_images=3)
    assert [image.path.name for image in dataset.scored] == ["00.png", "02.png", "03.png"]
    census = dataset.census
    assert (census.listed, census.images, census.skipped, census.beyond) == (6, 3, 1, 2)


def surrogates(folder: Path, dataset: Dataset) -> list[bytes]:
    return [os.fsencode(image.path.relative_to(folder)) for image in dataset.scored]


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    source = yolo(tmp_path, [GOOD])
    name = os.fsdecode(b"\xfe\xff")
    write_image(tmp_path / "images" / "val" / f"{name}.png", 5)
    (tmp_path / "labels" / "val" / f"{name}.txt").write_text(GOOD)
    assert surrogates(tmp_path, load(source)) == [
        b"images/val/00.png",
        b"images/val/\xfe\xff.png",
    ]
    (tmp_path / "val.txt").write_bytes(b"images/val/\xfe\xff.png\n")
    (tmp_path / "data.yaml").write_text("val: val.txt\nnames: [cat]\n")
    assert surrogates(tmp_path, load(DataSource("d", yaml=tmp_path / "data.yaml"))) == [
        b"images/val/\xfe\xff.png"
    ]
