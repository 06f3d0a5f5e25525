from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deploymark.backends.layout import InputSpec
from deploymark.bench.worker.letterbox import (
    PAD_GREY,
    Geometry,
    geometry,
    letterbox,
    read_rgb,
    to_input,
    unletterbox_boxes,
)

SIZES = [(480, 640), (427, 640), (640, 426), (333, 500), (120, 90), (1, 300), (1200, 1600)]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (640, 480, Geometry(0.5, 0.5, 0, 40, 640, 480)),
        (480, 640, Geometry(0.5, 0.5, 40, 0, 480, 640)),
        (100, 100, Geometry(3.2, 3.2, 0, 0, 100, 100)),
        # 427 / 2 is rounded up to 214, and the odd border gives its extra row to the bottom.
        (640, 427, Geometry(0.5, 214 / 427, 0, 53, 640, 427)),
        (640, 425, Geometry(0.5, 213 / 425, 0, 53, 640, 425)),
    ],
)
def test_geometry_is_that_of_ultralytics_validation(
    width: int, height: int, expected: Geometry
) -> None:
    assert geometry(width, height, 320) == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("imgsz", [320, 416])
def test_resizes_like_opencv(size: tuple[int, int], imgsz: int) -> None:
    cv2 = pytest.importorskip("cv2")
    image = noise(*size)
    place = geometry(size[1], size[0], imgsz)
    width, height = place.resized
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    boxed = letterbox(image, imgsz)
    inside = boxed[place.pad_y : place.pad_y + height, place.pad_x : place.pad_x + width]
    difference = np.abs(inside.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert difference.mean() < 0.25


@pytest.mark.heavy
@pytest.mark.parametrize("size", SIZES)
def test_equals_ultralytics_validation_transform(size: tuple[int, int], tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    import cv2
    from ultralytics.data.augment import LetterBox

    path = tmp_path / "image.png"
    Image.fromarray(noise(*size)).save(path)
    bgr = cv2.imread(str(path))
    place = geometry(size[1], size[0], 320)
    resized = cv2.resize(bgr, place.resized, interpolation=cv2.INTER_LINEAR)
    expected = LetterBox(new_shape=(320, 320), scaleup=False)(image=resized)[..., ::-1]
    difference = np.abs(letterbox(read_rgb(path), 320).astype(int) - expected.astype(int))
    assert difference.max() <= 1


def test_same_size_is_copied_unchanged() -> None:
    image = noise(320, 320)
    np.testing.assert_array_equal(letterbox(image, 320), image)


def test_border_is_grey_and_centred() -> None:
    boxed = letterbox(np.zeros((50, 100, 3), dtype=np.uint8), 64)
    assert boxed.shape == (64, 64, 3)
    assert boxed.dtype == np.uint8
    assert (boxed[:16] == PAD_GREY).all()
    assert (boxed[16:48] == 0).all()
    assert (boxed[48:] == PAD_GREY).all()


def test_takes_pillow_images_and_arrays_alike() -> None:
    image = noise(60, 80)
    np.testing.assert_array_equal(letterbox(Image.fromarray(image), 32), letterbox(image, 32))


def test_to_input_is_what_a_session_takes() -> None:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    taken = to_input(images, InputSpec("uint8", channels_last=True, range=(0, 255)))
    np.testing.assert_array_equal(taken, images)
    assert taken.dtype == np.uint8
    full = to_input(images, InputSpec(range=(0, 255)))
    np.testing.assert_array_equal(full, images.transpose(0, 3, 1, 2))
    assert full.dtype == np.float32
    last = to_input(images, InputSpec(channels_last=True))
    np.testing.assert_array_equal(last, images / np.float32(255))
    assert all(array.flags.c_contiguous for array in (taken, full, last))


def test_to_input_is_channels_first_in_0_to_1() -> None:
    images = np.stack([noise(8, 8, seed=1), np.full((8, 8, 3), 255, dtype=np.uint8)])
    result = to_input(images)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert result.shape == (2, 3, 8, 8)
    assert result[1].min() == result[1].max() == 1.0
    np.testing.assert_array_equal(
        result[0, 2], (images[0, :, :, 2].astype(np.float32) / np.float32(255))
    )


@settings(deadline=None)
@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    imgsz=st.sampled_from([32, 320, 640]),
    corner=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_boxes_come_back_to_where_they_were(
    width: int, height: int, imgsz: int, corner: tuple[float, float, float, float]
) -> None:
    place = geometry(width, height, imgsz)
    resized_width, resized_height = place.resized
    assert max(resized_width, resized_height) == imgsz
    assert 0 <= place.pad_x <= imgsz - resized_width
    assert 0 <= place.pad_y <= imgsz - resized_height
    source = np.array([corner]) * [width, height, width, height]
    gain = [place.gain_x, place.gain_y] * 2
    inside = source * gain + [place.pad_x, place.pad_y] * 2
    np.testing.assert_allclose(
        unletterbox_boxes(inside, place), source, atol=1e-6 * max(width, height)
    )


def test_boxes_are_clipped_to_the_image() -> None:
    place = geometry(640, 480, 320)
    boxes = unletterbox_boxes(np.array([[-5, 0, 330, 320]], dtype=np.float32), place)
    np.testing.assert_array_equal(boxes, [[0, 0, 640, 480]])


def test_no_boxes_are_no_boxes() -> None:
    empty = np.empty((0, 4), dtype=np.float32)
    assert unletterbox_boxes(empty, geometry(10, 10, 32)).shape == (0, 4)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(noise(20, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    path = tmp_path / "turned.png"
    image.save(path, exif=exif)
    turned = read_rgb(path)
    assert turned.shape == (40, 20, 3)
    np.testing.assert_array_equal(turned, np.rot90(np.asarray(image), k=-1))


def test_reads_exif_like_opencv(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(noise(24, 40)).save(path, exif=exif, quality=95)
    np.testing.assert_array_equal(read_rgb(path), cv2.imread(str(path))[..., ::-1])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_modes_become_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    image = Image.fromarray(np.full((4, 6, 3), 200, dtype=np.uint8))
    (image.quantize() if mode == "P" else image.convert(mode)).save(path)
    assert (read_rgb(path) == 200).all()
    assert read_rgb(path).shape == (4, 6, 3)


def test_sixteen_bits_keep_the_high_byte(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 6), 0x8001, dtype=np.uint16)).save(path)
    assert (read_rgb(path) == 0x80).all()
