from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deploymark.backends.inputs import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    PLAIN_INPUT,
    InputSpec,
    Size,
)
from deploymark.bench.worker.letterbox import (
    Geometry,
    geometry,
    letterbox,
    read_rgb,
    to_input,
    unletterbox_boxes,
)

SIZES = [(480, 640), (427, 640), (640, 426), (333, 500), (120, 90), (1, 300), (1200, 1600)]


def at(size: int | str, **fields: Any) -> InputSpec:
    return InputSpec(**fields).at(Size.of(size))


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
    assert geometry(width, height, at(320)) == expected


@pytest.mark.heavy
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("of", ["320", "192x320", "320x192", "96x160"])
def test_equals_ultralytics_validation_transform(
    size: tuple[int, int], of: str, tmp_path: Path
) -> None:
    pytest.importorskip("ultralytics")
    import cv2
    from ultralytics.data.augment import LetterBox

    path = tmp_path / "image.png"
    Image.fromarray(noise(*size)).save(path)
    bgr = cv2.imread(str(path))
    place = geometry(size[1], size[0], at(of))
    resized = cv2.resize(bgr, place.resized, interpolation=cv2.INTER_LINEAR)
    box = LetterBox(new_shape=Size.of(of), scaleup=False)
    expected = box(image=resized)[..., ::-1]
    difference = np.abs(letterbox(read_rgb(path), at(of)).astype(int) - expected.astype(int))
    assert difference.max() <= 1
    # Its prediction letterboxes at once, and rounds where its validation rounds up.
    whole = LetterBox(new_shape=Size.of(of)).get_params({"img": bgr})
    assert np.abs(np.subtract(whole["new_unpad"], place.resized)).max() <= 1
    assert place.resized == pytest.approx(np.multiply(size[::-1], whole["ratio"]), abs=1)
    assert max(abs(whole["left"] - place.pad_x), abs(whole["top"] - place.pad_y)) <= 1


def yolox_preproc(img: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """Of YOLOX' yolox/data/data_augment.py, without its change of axes and type."""
    import cv2

    padded_img = np.ones((input_size[0], input_size[1], 3), dtype=np.uint8) * 114
    r = min(input_size[0] / img.shape[0], input_size[1] / img.shape[1])
    resized_img = cv2.resize(
        img, (int(img.shape[1] * r), int(img.shape[0] * r)), interpolation=cv2.INTER_LINEAR
    ).astype(np.uint8)
    padded_img[: int(img.shape[0] * r), : int(img.shape[1] * r)] = resized_img
    return padded_img


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("of", ["416", "384x640", "640x384"])
def test_at_the_top_left_it_is_that_of_yolox(size: tuple[int, int], of: str) -> None:
    pytest.importorskip("cv2")
    image = noise(*size)
    spec = at(of, placement="top-left", colours="bgr", range=(0, 255))
    expected = yolox_preproc(image[..., ::-1].copy(), spec.size).transpose(2, 0, 1)[None]
    ours = to_input(letterbox(image, spec)[None], spec)
    assert np.abs(ours - expected.astype(np.float32)).max() <= 1
    place = geometry(size[1], size[0], spec)
    assert (place.pad_x, place.pad_y) == (0, 0)


def test_stretched_pictures_fill_the_input() -> None:
    image = noise(90, 60)
    spec = at("32x64", resize="stretch", interpolation="nearest")
    place = geometry(60, 90, spec)
    assert place == Geometry(64 / 60, 32 / 90, 0, 0, 60, 90)
    assert place.resized == (64, 32)
    boxed = letterbox(image, spec)
    assert boxed.shape == (32, 64, 3)
    np.testing.assert_array_equal(boxed[0], image[0, np.arange(64) * 60 // 64])
    back = unletterbox_boxes(np.array([[16, 8, 32, 16]], np.float32), place)
    np.testing.assert_allclose(back, [[15, 22.5, 30, 45]])


def test_another_grey() -> None:
    boxed = letterbox(np.full((10, 40, 3), 7, np.uint8), at("40x40", pad=0))
    assert [int(level) for level in np.unique(boxed)] == [0, 7]


def test_same_size_is_copied_unchanged() -> None:
    image = noise(320, 320)
    np.testing.assert_array_equal(letterbox(image, at(320)), image)


def test_border_is_grey_and_centred() -> None:
    boxed = letterbox(np.zeros((50, 100, 3), dtype=np.uint8), at(64))
    assert boxed.shape == (64, 64, 3)
    assert boxed.dtype == np.uint8
    assert (boxed[:16] == 114).all()
    assert (boxed[16:48] == 0).all()
    assert (boxed[48:] == 114).all()


def test_takes_pillow_images_and_arrays_alike() -> None:
    image = noise(60, 80)
    np.testing.assert_array_equal(
        letterbox(Image.fromarray(image), at(32)), letterbox(image, at(32))
    )


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


def test_to_input_of_the_default_is_what_it_was() -> None:
    """Bit by bit: figures of square YOLO cells must not change."""
    images = noise(16, 24).reshape(2, 8, 24, 3)
    divided = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(to_input(images), divided)
    assert to_input(images, PLAIN_INPUT.at(Size(8, 24))).flags.c_contiguous


@pytest.mark.parametrize("channels_last", [False, True])
def test_to_input_changes_colours_and_values_in_their_order(channels_last: bool) -> None:
    images = noise(16, 24).reshape(2, 8, 24, 3)
    spec = InputSpec(
        channels_last=channels_last,
        range=(0, 255),
        colours="bgr",
        mean=(103.53, 116.28, 123.675),
        deviation=(57.375, 57.12, 58.395),
    )
    blue = (images[..., 2].astype(np.float64) - 103.53) / 57.375
    red = (images[..., 0].astype(np.float64) - 123.675) / 58.395
    taken = to_input(images, spec)
    assert taken.flags.c_contiguous
    assert taken.dtype == np.float32
    first, last = (taken[..., 0], taken[..., 2]) if channels_last else (taken[:, 0], taken[:, 2])
    np.testing.assert_allclose(first, blue, atol=1e-5)
    np.testing.assert_allclose(last, red, atol=1e-5)


def test_to_input_of_imagenet_is_that_of_torchvision() -> None:
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    images = noise(8, 12)[None]
    spec = InputSpec(mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
    tensor = functional.to_dtype(functional.to_image(images[0]), scale=True)
    expected = functional.normalize(tensor, list(IMAGENET_MEAN), list(IMAGENET_DEVIATION))
    np.testing.assert_allclose(to_input(images, spec)[0], expected.numpy(), atol=1e-6)


def test_to_input_is_signed_where_a_contract_has_it() -> None:
    images = np.array([0, 51, 255], np.uint8).repeat(3).reshape(1, 1, 3, 3)
    signed = to_input(images, InputSpec(range=(-1, 1), channels_last=True))
    np.testing.assert_allclose(signed[0, 0, :, 0], [-1, -0.6, 1], atol=1e-6)


FIELDS = {
    "Ultralytics": {},
    "YOLOX": {"placement": "top-left"},
    "stretched": {"resize": "stretch"},
}


@settings(deadline=None)
@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    spec=st.builds(
        lambda size, fields: at(size, **FIELDS[fields]),
        st.sampled_from([32, 320, "384x640", "640x96"]),
        st.sampled_from(sorted(FIELDS)),
    ),
    corner=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_boxes_come_back_to_where_they_were(
    width: int, height: int, spec: InputSpec, corner: tuple[float, float, float, float]
) -> None:
    place = geometry(width, height, spec)
    resized_width, resized_height = place.resized
    if spec.placement == "centre":
        assert resized_width == spec.width or resized_height == spec.height
    assert 0 < resized_width <= spec.size.width - place.pad_x
    assert 0 < resized_height <= spec.size.height - place.pad_y
    assert min(place.pad_x, place.pad_y) >= 0
    source = np.array([corner]) * [width, height, width, height]
    gain = [place.gain_x, place.gain_y] * 2
    inside = source * gain + [place.pad_x, place.pad_y] * 2
    np.testing.assert_allclose(
        unletterbox_boxes(inside, place), source, atol=1e-6 * max(width, height)
    )


def test_boxes_are_clipped_to_the_image() -> None:
    place = geometry(640, 480, at(320))
    boxes = unletterbox_boxes(np.array([[-5, 0, 330, 320]], dtype=np.float32), place)
    np.testing.assert_array_equal(boxes, [[0, 0, 640, 480]])


def test_no_boxes_are_no_boxes() -> None:
    empty = np.empty((0, 4), dtype=np.float32)
    assert unletterbox_boxes(empty, geometry(10, 10, at(32))).shape == (0, 4)


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
