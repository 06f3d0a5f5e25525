from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deploymark.backends import ptq
from deploymark.backends.base import ExportError

NODES = [
    "/model.0/conv/Conv",
    "/model.0/act/Sigmoid",
    "/model.0/act/Mul",
    "/model.2/cv1/conv/Conv",
    "/model.2/cv1/act/Mul",
    "/model.2/Slice_1",
    "/model.2/m.0/m/m.0/cv1/conv/Conv",
    "/model.2/m.0/m/m.0/Add",
    "/model.2/Concat",
    "/model.12/Concat",
    "/model.23/cv3.0/cv3.0.0/cv3.0.0.1/conv/Conv",
    "/model.23/cv3.0/cv3.0.2/Conv",
    "/model.23/dfl/Softmax",
    "/model.23/dfl/conv/Conv",
    "/model.23/Concat_3",
    "Add_7",
]


def test_a_layer_is_a_convolution_with_its_activation_or_an_operator_between_layers() -> None:
    assert ptq.layers(NODES) == {
        "model.0": NODES[0:3],
        "model.2.cv1": NODES[3:5],
        "model.2.Slice_1": [NODES[5]],
        "model.2.m.0.m.0.cv1": [NODES[6]],
        "model.2.m.0.m.0.Add": [NODES[7]],
        "model.2.Concat": [NODES[8]],
        "model.12": [NODES[9]],
        "model.23.cv3.0.0.1": [NODES[10]],
        "model.23.cv3.0.2": [NODES[11]],
        "model.23.dfl": NODES[12:14],
        "model.23.Concat_3": [NODES[14]],
        "Add_7": [NODES[15]],
    }


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([], []),
        (["model.2.cv1"], ["model.2.cv1"]),
        # A module stands for all layers in it, and not for model.23.
        (["model.2.m.0", "model.12"], ["model.2.m.0.m.0.cv1", "model.2.m.0.m.0.Add", "model.12"]),
        (["model.23.cv3.*"], ["model.23.cv3.0.0.1", "model.23.cv3.0.2"]),
        (["*.Concat*", "model.0"], ["model.0", "model.2.Concat", "model.23.Concat_3"]),
        (["/model.23/dfl/conv/Conv"], ["model.23.dfl"]),
    ],
)
def test_layers_are_named_by_patterns(patterns: list[str], names: list[str]) -> None:
    assert ptq.chosen(ptq.layers(NODES), patterns) == names


def test_a_pattern_that_names_nothing_is_told_what_is_close() -> None:
    with pytest.raises(ExportError, match=r"no layer is named like 'model\.2\.cv9'") as caught:
        ptq.chosen(ptq.layers(NODES), ["model.0", "model.2.cv9"])
    assert "model.2.cv1" in caught.value.remedy
    with pytest.raises(ExportError, match=r"'backbone\.\*'") as caught:
        ptq.chosen(ptq.layers(NODES), ["backbone.*"])
    assert not caught.value.remedy


def test_every_name_of_a_layer_names_that_layer_alone() -> None:
    known = ptq.layers(NODES)
    assert all(ptq.chosen(known, [layer]) == [layer] for layer in known)


def test_the_first_images_calibrate() -> None:
    images: list[Any] = [np.full((1, 3, 2, 2), index, np.float32) for index in range(5)]
    assert ptq.first_images(images, None) is images
    assert [image[0, 0, 0, 0] for image in ptq.first_images(images, 2)] == [0, 1]
    with pytest.raises(ExportError, match="asks for 6, and 5 were given"):
        ptq.first_images(images, 6)
