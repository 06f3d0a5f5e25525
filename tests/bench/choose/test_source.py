from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deploymark.bench.choose.source import source_of
from deploymark.bench.worker.letterbox import geometry, letterbox, unletterbox_boxes
from deploymark.bench.worker.main import scenario
from deploymark.bench.worker.resize import RESIZERS, resize_bilinear


def names_of(*functions: Any, **instead: str) -> dict[str, Any]:
    """What the text of functions defines, run with nothing but its own imports."""
    source = source_of(functions, instead=instead, given=frozenset({"InputSpec"}), facts={})
    assert "deploymark" not in source.text
    found: dict[str, Any] = {"__name__": __name__}  # dataclasses look their module up
    lines = ["from __future__ import annotations", *source.imports, source.text]
    exec("\n".join(lines), found)  # noqa: S102 - our own source
    return found


def test_a_function_comes_with_what_it_uses() -> None:
    found = names_of(resize_bilinear)
    assert {"resize_bilinear", "_taps", "_blend", "_interleaved"} < found.keys()
    assert not {"resize_bicubic", "RESIZERS", "Image"} & found.keys()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    ours = found["resize_bilinear"](pixels, 20, 40)
    np.testing.assert_array_equal(ours, resize_bilinear(pixels, 20, 40))


def test_classes_decorators_and_texts_come_along() -> None:
    source = source_of([geometry], instead={}, given=frozenset({"InputSpec"}), facts={})
    assert "@dataclasses.dataclass(frozen=True)\nclass Geometry:" in source.text
    assert source.imports == ("import dataclasses", "import math")
    place = names_of(geometry, unletterbox_boxes)["Geometry"](0.5, 0.5, 0, 40, 640, 480)
    assert place.resized == (320, 240)


def test_a_table_is_cut_to_what_is_asked_for() -> None:
    found = names_of(letterbox, RESIZERS='RESIZERS = {"nearest": resize_nearest}')
    assert "resize_nearest" in found
    assert "resize_bilinear" not in found
    assert set(found["RESIZERS"]) < set(RESIZERS)


def test_only_annotations_name_what_is_for_type_checkers() -> None:
    source = source_of([resize_bilinear], instead={}, given=frozenset(), facts={})
    assert source.typing == ("import numpy.typing as npt",)


def test_what_imports_this_package_within_a_function_cannot_ship() -> None:
    with pytest.raises(ValueError, match="within a function, cannot ship"):
        source_of([scenario], instead={}, given=frozenset(), facts={})
