from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends.base import Detector
from deploymark.bench.errors import BadInputError
from deploymark.bench.variants.checkpoint import (
    describe,
    float_nodes,
    load_detector,
    model_factory,
    save_detector,
    training_imgsz,
)
from deploymark.bench.variants.prune import l1_unstructured

SIZE = 64

SaveModel = Callable[..., Path]


def inspected(path: Path, size: int) -> Detector:
    """What a build child says of a YOLO's checkpoint."""
    return describe(model_factory(path, size)(), size)


@pytest.fixture(scope="module")
def save_model(tmp_path_factory: pytest.TempPathFactory) -> SaveModel:
    """Save an untrained model of an Ultralytics configuration as a checkpoint."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("ultralytics")
    from ultralytics.nn import tasks

    folder = tmp_path_factory.mktemp("checkpoints")

    def save(
        config: str, model: str = "DetectionModel", key: str = "model", **settings: Any
    ) -> Path:
        path = folder / f"{config}-{key}-{len(list(folder.iterdir()))}.pt"
        torch.manual_seed(0)
        module = getattr(tasks, model)(f"{config}.yaml", verbose=False, **settings)
        torch.save({key: module.half()}, path)
        return path

    return save


@pytest.fixture(scope="module")
def yolo11n(save_model: SaveModel) -> Path:
    return save_model("yolo11n", nc=3)


@pytest.fixture(scope="module")
def pixels() -> Any:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    return torch.from_numpy(random.random((2, 3, SIZE, SIZE), dtype=np.float32))


def test_the_file_is_checked_without_opening_it(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"is not a \.pt checkpoint"):
        model_factory(tmp_path / "model.bin", SIZE)
    with pytest.raises(BadInputError, match=r"model\.pt: no such file"):
        model_factory(tmp_path / "model.pt", SIZE)


def test_importing_imports_no_framework() -> None:
    code = (
        "import sys, deploymark.bench.variants.checkpoint, deploymark.bench.variants.prune;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'ultralytics')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.heavy
def test_a_checkpoint_is_described(yolo11n: Path) -> None:
    detector = inspected(yolo11n, SIZE)
    assert detector.names == ("0", "1", "2")
    assert detector.stride == 32
    assert detector.output.layout == "anchors"
    assert detector.family == "yolo11n"
    assert detector.params is not None
    assert 2_500_000 < detector.params < 2_700_000
    assert detector.nonzero_fraction == pytest.approx(1.0, abs=1e-3)


@pytest.mark.heavy
def test_macs_are_those_of_thop(yolo11n: Path) -> None:
    thop = pytest.importorskip("thop")
    torch = pytest.importorskip("torch")
    module = model_factory(yolo11n, SIZE)()
    counted = describe(module, SIZE).macs
    inputs = [torch.zeros(1, 3, SIZE, SIZE)]
    reference = thop.profile(module, inputs=inputs, verbose=False)[0]
    # thop also counts what little work is not a convolution's.
    assert counted == pytest.approx(reference, rel=0.02)
    assert describe(module, 2 * SIZE).macs == pytest.approx(4 * counted)


@pytest.mark.heavy
def test_the_module_is_fused_and_gives_one_tensor(yolo11n: Path, pixels: Any) -> None:
    torch = pytest.importorskip("torch")
    module = model_factory(yolo11n, SIZE)()
    output = module(pixels)
    assert isinstance(output, torch.Tensor)
    assert tuple(output.shape) == (2, 4 + 3, 8 * 8 + 4 * 4 + 2 * 2)
    assert output.dtype == torch.float32
    assert not output.requires_grad
    assert not module.training
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in module.modules())


@pytest.mark.heavy
def test_modules_share_nothing(yolo11n: Path, pixels: Any) -> None:
    torch = pytest.importorskip("torch")
    factory = model_factory(yolo11n, SIZE)
    first, second = factory(), factory()
    expected = first(pixels)
    assert torch.equal(second(pixels), expected)
    for parameter in second.parameters():
        parameter.data.zero_()
    assert torch.equal(first(pixels), expected)
    assert not torch.equal(second(pixels), expected)
    assert torch.equal(factory()(pixels), expected)


@pytest.mark.heavy
def test_fused_output_is_that_of_ultralytics(yolo11n: Path, pixels: Any) -> None:
    torch = pytest.importorskip("torch")
    from ultralytics.nn.tasks import load_checkpoint

    reference, _ = load_checkpoint(str(yolo11n))
    with torch.inference_mode():
        expected = reference(pixels)[0]
        torch.testing.assert_close(
            model_factory(yolo11n, SIZE)()(pixels), expected, rtol=1e-3, atol=1e-3
        )


@pytest.mark.heavy
@pytest.mark.parametrize("config", ["yolo26n", "yolov10n"])
def test_a_one_to_one_head_is_used(save_model: SaveModel, config: str, pixels: Any) -> None:
    path = save_model(config)
    detector = inspected(path, SIZE)
    assert detector.output.layout == "detections"
    module = model_factory(path, SIZE)()
    assert tuple(module(pixels).shape) == (2, 84, 6)  # fewer places than 300
    assert tuple(module(pixels.new_zeros(1, 3, SIZE, SIZE)).shape) == (1, 84, 6)
    assert model_factory(path, 320)().model[-1].max_det == 300


@pytest.mark.heavy
def test_float_nodes_are_the_decode_of_the_head(yolo11n: Path) -> None:
    (pattern,) = float_nodes(model_factory(yolo11n, SIZE)())
    names = {
        "/model.23/Concat": True,
        "/model.23/dfl/conv/Conv": True,
        "/model.23/Sigmoid": True,
        "/model.23/cv2.0/cv2.0.0/conv/Conv": False,
        "/model.23/cv3.1/cv3.1.2/Conv": False,
        "/model.23/one2one_cv2.0/one2one_cv2.0.2/Conv": False,
        "/model.23/one2one_cv3.0/one2one_cv3.0.2/Conv": False,
        "/model.2/Concat": False,
        "/model.22/cv1/conv/Conv": False,
        "/x/model.23/Concat": False,
    }
    assert {name: bool(re.fullmatch(pattern, name)) for name in names} == names


@pytest.mark.heavy
def test_float_nodes_follow_the_index_of_the_head(save_model: SaveModel) -> None:
    module = model_factory(save_model("yolov8n"), SIZE)()
    assert re.fullmatch(float_nodes(module)[0], "/model.22/Concat")


@pytest.mark.heavy
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_pruned_checkpoint_is_saved_and_its_zeros_outlive_fusing(
    yolo11n: Path, tmp_path: Path, scope: Any
) -> None:
    module = load_detector(yolo11n)
    l1_unstructured(module, 0.5, scope=scope)
    save_detector(module, tmp_path / "pruned.pt")
    pruned = inspected(tmp_path / "pruned.pt", SIZE)
    dense = inspected(yolo11n, SIZE)
    assert pruned.nonzero_fraction == pytest.approx(0.5, abs=0.03)
    assert (pruned.params, pruned.macs) == (dense.params, dense.macs)


@pytest.mark.heavy
def test_the_size_of_training_is_read_from_the_checkpoint(digits: Path, yolo11n: Path) -> None:
    assert training_imgsz(load_detector(digits / "digits.pt")) == 320
    module = load_detector(yolo11n)
    module.args = {"imgsz": 500}
    assert training_imgsz(module) == 480
    module.args = {}
    assert training_imgsz(module) == 640


@pytest.mark.heavy
def test_the_moving_average_goes_first(save_model: SaveModel, tmp_path: Path, pixels: Any) -> None:
    torch = pytest.importorskip("torch")
    plain = save_model("yolov8n", nc=2)
    held = torch.load(plain, weights_only=False)
    other = torch.load(save_model("yolo11n", nc=2), weights_only=False)
    both = tmp_path / "both.pt"
    torch.save({"model": other["model"], "ema": held["model"]}, both)
    expected = model_factory(plain, SIZE)()(pixels)
    assert torch.equal(model_factory(both, SIZE)()(pixels), expected)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("config", "model", "message"),
    [
        (
            "yolo11n-cls",
            "ClassificationModel",
            "is a 'classify' model, Deploymark measures detectors",
        ),
        ("yolo11n-seg", "SegmentationModel", "is a 'segment' model"),
        ("yolo11n-pose", "PoseModel", "is a 'pose' model"),
        ("yolo11n-obb", "OBBModel", "is a 'obb' model"),
        ("rtdetr-resnet50", "RTDETRDetectionModel", "ends in a RTDETRDecoder"),
    ],
)
def test_other_models_are_told(
    save_model: SaveModel, config: str, model: str, message: str
) -> None:
    path = save_model(config, model)
    with pytest.raises(BadInputError, match=message):
        inspected(path, SIZE)


@pytest.mark.heavy
def test_images_that_are_not_rgb_are_told(save_model: SaveModel) -> None:
    with pytest.raises(BadInputError, match="takes images of 1 channels"):
        inspected(save_model("yolov8n", ch=1), SIZE)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("imgsz", "remedy"), [(100, "Use 96 or 128"), (31, "Use 32 or 64"), (0, "Use 32 or 64")]
)
def test_an_image_size_off_the_stride_is_told(yolo11n: Path, imgsz: int, remedy: str) -> None:
    with pytest.raises(BadInputError, match=f"imgsz {imgsz} is no multiple of 32") as caught:
        inspected(yolo11n, imgsz)
    assert caught.value.remedy.startswith(remedy)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "content", ["junk", "empty", "cut", "tensors", "state", "other", "bare", "script"]
)
def test_other_files_are_told(content: str, yolo11n: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "yolov5n.pt"  # a name that Ultralytics would replace and look for online
    if content == "junk":
        path.write_bytes(b"hello, no checkpoint")
    elif content == "empty":
        path.write_bytes(b"")
    elif content == "cut":
        path.write_bytes(yolo11n.read_bytes()[:100_000])
    elif content == "tensors":
        torch.save({"weight": torch.zeros(2)}, path)
    elif content == "state":
        torch.save(model_factory(yolo11n, SIZE)().state_dict(), path)
    elif content == "other":
        torch.save({"model": torch.nn.Linear(2, 2)}, path)
    elif content == "bare":
        torch.save(torch.nn.Linear(2, 2), path)
    else:
        # The plain archive of TorchScript; scripting itself is deprecated.
        import zipfile

        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("yolov5n/constants.pkl", b"")
            archive.writestr("yolov5n/version", b"3")
    with pytest.raises(BadInputError) as caught:
        inspected(path, SIZE)
    assert str(path) in caught.value.message
    assert "deploymark-" not in caught.value.message  # the temporary alias is nothing to a user
    if content in {"other", "bare"}:
        assert "holds a Linear, no model of Ultralytics" in caught.value.message


@pytest.mark.heavy
def test_a_name_that_ultralytics_rewrites_is_opened_as_it_is(yolo11n: Path, tmp_path: Path) -> None:
    path = tmp_path / "it's yolov5n.pt"
    path.write_bytes(yolo11n.read_bytes())
    assert inspected(path, SIZE).family == "yolo11n"


@pytest.mark.heavy
def test_nothing_is_asked_of_the_network(
    yolo11n: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that the checkpoint needs and nobody has is told, not installed or looked for."""

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    path = tmp_path / "foreign.pt"
    torch = pytest.importorskip("torch")
    foreign = type("Foreign", (), {"__module__": "a_module_of_nobody"})
    module = type(sys)("a_module_of_nobody")
    module.Foreign = foreign  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_module_of_nobody", module)
    torch.save({"model": foreign()}, path)
    monkeypatch.delitem(sys.modules, "a_module_of_nobody")
    with pytest.raises(BadInputError, match="a_module_of_nobody"):
        inspected(path, SIZE)
    assert inspected(yolo11n, SIZE).stride == 32


@pytest.mark.heavy
def test_ultralytics_is_quiet_and_leaves_no_trace(yolo11n: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from deploymark.bench.variants.checkpoint import describe, model_factory;"
        f"describe(model_factory(Path({str(yolo11n)!r}), {SIZE})(), {SIZE});"
        "import os; from ultralytics import settings; from ultralytics.utils import checks, ONLINE;"
        "assert settings['sync'] is False and not ONLINE and not checks.AUTOINSTALL;"
        "print(os.environ['YOLO_CONFIG_DIR'])"
    )
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("YOLO_")
    } | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (config,) = done.stdout.splitlines()
    assert not Path(config).exists()
    assert not list(tmp_path.rglob("*ltralytics*"))


@pytest.mark.heavy
def test_a_real_checkpoint(coco_mini: Path) -> None:
    pytest.importorskip("ultralytics")
    detector = inspected(coco_mini / "yolo11n-coco.pt", 320)
    assert len(detector.names) == 80
    assert detector.names[0] == "person"
    assert detector.family == "yolo11n"
    assert detector.params == 2_616_248
    assert detector.macs == 810_132_800


def test_classes_are_found_by_the_names_of_former_versions(
    yolo11n: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_blocks = pytest.importorskip("deploymark.bench.variants.split_blocks")
    module = load_detector(yolo11n)
    assert split_blocks.split_blocks(module) > 0
    split = [part for part in module.modules() if type(part).__module__ == split_blocks.__name__]
    assert split
    former = "bench.variants.split_blocks"
    with monkeypatch.context() as patch:
        for name in ("bench", "bench.variants", former):
            patch.setitem(sys.modules, name, split_blocks)
        for kind in {type(part) for part in split}:
            patch.setattr(kind, "__module__", former)
        save_detector(module, tmp_path / "former.pt")
    assert former.encode() in (tmp_path / "former.pt").read_bytes()
    loaded = load_detector(tmp_path / "former.pt")
    assert {type(part) for part in split} <= {type(part) for part in loaded.modules()}
    assert not {"bench", "bench.variants", former} & set(sys.modules)
