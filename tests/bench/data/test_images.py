from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploymark.backends.inputs import InputSpec, Size
from deploymark.bench.data.images import image_size, prepare_images
from deploymark.bench.errors import BadInputError
from deploymark.bench.worker.letterbox import geometry, letterbox, read_rgb


def at(size: int | str, **fields: Any) -> InputSpec:
    return InputSpec(**fields).at(Size.of(size))


def write_image(path: Path, width: int, height: int, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return [
        write_image(tmp_path / "a.png", 40, 20),
        write_image(tmp_path / "b.jpg", 20, 40, seed=1),
        write_image(tmp_path / "c.png", 32, 32, seed=2),
    ]


def test_prepares_what_a_worker_would_make(images: list[Path], tmp_path: Path) -> None:
    prepared = prepare_images(images, at(32), tmp_path / "store" / "x.npy")
    pixels = np.load(prepared.path, mmap_mode="r")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, [letterbox(read_rgb(path), at(32)) for path in images])
    assert prepared.geometries == (
        geometry(40, 20, at(32)),
        geometry(20, 40, at(32)),
        geometry(32, 32, at(32)),
    )
    assert sorted(file.name for file in (tmp_path / "store").iterdir()) == ["x.json", "x.npy"]


def test_a_second_call_reads_what_is_there(images: list[Path], tmp_path: Path) -> None:
    first = prepare_images(images, at(32), tmp_path / "x.npy")
    for path in images:
        path.unlink()
    assert prepare_images(images, at(32), tmp_path / "x.npy") == first


def test_what_does_not_fit_is_made_anew(images: list[Path], tmp_path: Path) -> None:
    prepare_images(images, at(64), tmp_path / "x.npy")
    prepare_images(images, at(32), tmp_path / "x.npy")
    assert np.load(tmp_path / "x.npy").shape == (3, 32, 32, 3)
    (tmp_path / "x.json").write_text("{}")
    assert len(prepare_images(images, at(32), tmp_path / "x.npy").geometries) == 3
    (tmp_path / "x.npy").write_bytes(b"torn")
    assert len(prepare_images(images, at(32), tmp_path / "x.npy").geometries) == 3
    assert np.load(tmp_path / "x.npy").shape == (3, 32, 32, 3)


def test_a_rectangle_of_another_contract(images: list[Path], tmp_path: Path) -> None:
    spec = at("32x64", resize="stretch", interpolation="bicubic", colours="bgr", range=(0, 255))
    prepared = prepare_images(images, spec, tmp_path / "x.npy")
    pixels = np.load(prepared.path)
    assert pixels.shape == (3, 32, 64, 3)
    # Colours are the picture's: they are changed on the way into a session.
    np.testing.assert_array_equal(pixels, [letterbox(read_rgb(path), spec) for path in images])
    assert prepared.geometries[1] == geometry(20, 40, spec)
    assert json.loads((tmp_path / "x.json").read_text())["size"] == [32, 64]


def test_older_squares_without_a_hash_are_made_anew(images: list[Path], tmp_path: Path) -> None:
    """Whether they are whole cannot be told."""
    path = tmp_path / "x.npy"
    first = prepare_images(images, at(32), path)
    known = json.loads(path.with_suffix(".json").read_text())
    older = {key: known[key] for key in ("version", "geometries")} | {"imgsz": 32}
    path.with_suffix(".json").write_text(json.dumps(older))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    made = path.stat().st_mtime_ns
    assert prepare_images(images, at(32), path) == first
    assert not path.read_bytes().endswith(b"?")
    stretched = prepare_images(images, at(32, resize="stretch"), path)
    assert path.stat().st_mtime_ns != made
    assert stretched.geometries[0] == geometry(40, 20, at(32, resize="stretch"))


def test_progress_counts_images(images: list[Path], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    prepare_images(
        images, at(32), tmp_path / "x.npy", lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def cut(path: Path) -> Path:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def test_a_cut_off_image_is_named(images: list[Path], tmp_path: Path) -> None:
    cut(write_image(images[1], 160, 120))
    image_size(images[1])  # its header is whole
    with pytest.raises(BadInputError, match=r"b\.jpg: cannot be decoded as an image"):
        prepare_images(images, at(32), tmp_path / "x.npy")
    assert not list(tmp_path.glob("*.npy*")) + list(tmp_path.glob(".*partial"))


def test_text_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("hello")
    with pytest.raises(BadInputError, match="cannot be decoded as an image"):
        image_size(path)
    with pytest.raises(BadInputError, match="no such image"):
        image_size(tmp_path / "missing.jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_that_of_the_upright_image(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x.jpg"
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    height, width = read_rgb(path).shape[:2]
    assert image_size(path) == (width, height)
