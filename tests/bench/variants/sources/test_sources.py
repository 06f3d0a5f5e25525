"""What is loaded from each kind of source, and what is refused with which words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from deploymark.backends.base import Size
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.model_source import ModelSource
from deploymark.bench.variants.sources import random_models, torchvision
from deploymark.bench.variants.sources.models import describe, factory, open_model

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")

SIZE = Size(64, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of a small YOLOS and of an image processor that is not its default."""
    transformers = pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("yolos")
    random_models.yolos().module.model.save_pretrained(path)
    processor = transformers.YolosImageProcessor(
        resample=3, image_mean=[0.5, 0.5, 0.5], image_std=[0.25, 0.25, 0.25]
    )
    processor.save_pretrained(path)
    return path


def hugging_face(path: Path) -> ModelSource:
    return ModelSource("hugging-face", str(path))


def test_a_folder_is_opened_with_its_processor(folder: Path) -> None:
    model = open_model(hugging_face(folder), SIZE)
    detector = describe(model, SIZE)
    assert detector.names == random_models.DIGITS
    assert detector.family == "yolos"
    assert (detector.spec.height, detector.spec.width) == SIZE
    assert detector.spec.resize == "stretch"
    assert detector.spec.interpolation == "bicubic-antialias"
    assert (detector.spec.mean, detector.spec.deviation) == ((0.5,) * 3, (0.25,) * 3)
    assert (detector.output.layout, detector.output.scores) == ("detr", "softmax")
    images = random_models.pictures(1)
    expected = random_models.yolos().module(images)
    for found, known in zip(factory(model)()(images), expected, strict=True):
        torch.testing.assert_close(found, known)


def test_sides_off_the_patches_are_refused(folder: Path) -> None:
    with pytest.raises(BadInputError, match="imgsz 64x90 is no multiple of 16") as caught:
        open_model(hugging_face(folder), Size(64, 90))
    assert caught.value.remedy == "Use 64x80 or 64x96."


def test_a_folder_without_some_of_its_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    lost = "bbox_predictor.layers.1.weight"
    save_file({k: v for k, v in state.items() if k != lost}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(BadInputError, match=f"lack 1 of those .*: {lost}"):
        open_model(hugging_face(tmp_path), SIZE)


@pytest.mark.parametrize(
    ("values", "said"),
    [({"resample": 1}, "resample 1"), ({"rescale_factor": 0.1}, "rescale_factor 0.1 is not 1/255")],
)
def test_what_a_processor_asks_for_and_is_not_known(
    values: dict[str, Any], said: str, folder: Path, tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values), "utf-8")
    with pytest.raises(BadInputError, match=said):
        open_model(hugging_face(tmp_path), SIZE)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torchvision")
    path = tmp_path_factory.mktemp("state") / "ssdlite.pth"
    module = torchvision.built("ssdlite320_mobilenet_v3_large", 4)
    torch.save({"model": module.state_dict(), "names": ["-", "cat", "dog", "cow"]}, path)
    return path


def test_classes_of_a_state_are_counted(state: Path) -> None:
    source = ModelSource("torchvision", str(state), architecture="ssdlite320_mobilenet_v3_large")
    detector = describe(open_model(source, SIZE), SIZE)
    assert detector.names == ("-", "cat", "dog", "cow")
    assert detector.spec.resize == "stretch"
    assert detector.output.layout == "torchvision"


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("ssd300_vgg16", "no state of ssd300_vgg16: it has none of head"),
        ("ssdlite", "no detector 'ssdlite' that gives boxes"),
        ("retinanet_resnet50_fpn", "no state of retinanet_resnet50_fpn: it has none of head"),
    ],
)
def test_a_state_of_another_architecture_is_refused(
    architecture: str, said: str, state: Path
) -> None:
    with pytest.raises(BadInputError, match=said):
        open_model(ModelSource("torchvision", str(state), architecture=architecture), SIZE)


def test_keys_of_a_state_that_do_not_fit_are_named(state: Path, tmp_path: Path) -> None:
    held = torch.load(state, weights_only=True)["model"]
    lost = "backbone.features.0.0.0.weight"
    held["mine"] = held.pop(lost)
    torch.save(held, tmp_path / "changed.pth")
    source = ModelSource(
        "torchvision",
        str(tmp_path / "changed.pth"),
        architecture="ssdlite320_mobilenet_v3_large",
    )
    with pytest.raises(BadInputError, match=f"it lacks {lost}; it has besides mine"):
        open_model(source, SIZE)


LOADERS = """
import torch
from deploymark.backends.model import LoadedModel
from deploymark.backends.layout import OutputSpec


class Detector(torch.nn.Module):
    def forward(self, images):
        return torch.zeros(images.shape[0], 6, 5) + images.mean()


def good(path):
    return LoadedModel(Detector().eval(), ("cat", "dog"), family=str(path))


def more_classes(path):
    return LoadedModel(Detector().eval(), ("cat", "dog", "cow"))


def two_outputs(path):
    return LoadedModel(Detector().eval(), ("cat", "dog"), output=OutputSpec("detr"))


def training(path):
    return LoadedModel(Detector(), ("cat", "dog"))


def nothing(path):
    return None


def broken(path):
    raise KeyError("weights")
"""


@pytest.fixture
def loaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_loaders.py").write_text(LOADERS, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_loaders", raising=False)
    return "my_loaders"


def test_a_loader_is_given_its_path(loaders: str) -> None:
    source = ModelSource("loader", "/weights.bin", loader=f"{loaders}:good")
    detector = describe(open_model(source, SIZE), SIZE)
    assert (detector.family, detector.names) == ("/weights.bin", ("cat", "dog"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent", "my_loaders:absent cannot be imported: AttributeError"),
        ("nothing", "returns NoneType, not a LoadedModel"),
        ("broken", r"failed: KeyError: 'weights' \(.*my_loaders.py:\d+\)"),
        ("training", "is in training mode"),
        ("more_classes", r"of shape \(1, 6, 5\) is no anchors of 3 classes"),
        ("two_outputs", "not the tensors logits, boxes of the layout detr"),
    ],
)
def test_what_a_loader_does_wrong_is_told(name: str, said: str, loaders: str) -> None:
    source = ModelSource("loader", None, loader=f"{loaders}:{name}")
    with pytest.raises(BadInputError, match=said):
        describe(open_model(source, SIZE), SIZE)
