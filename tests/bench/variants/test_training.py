from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from deploymark.backends.base import ExportError, UnsupportedError
from deploymark.bench.matrix.steps import Training, TwoFourStep
from deploymark.bench.variants.prune import learned_convolutions
from deploymark.bench.variants.schedules import learning_rate
from deploymark.bench.variants.training import train
from deploymark.bench.variants.two_four import run

pytestmark = [pytest.mark.heavy, pytest.mark.alone]

torch = pytest.importorskip("torch")
pytest.importorskip("ultralytics")

SHORT = Training(epochs=1, batch=4, lr0=1e-3)


def small(step_context: Any, **changes: Any) -> Any:
    """8 images of 64 pixels: two steps an epoch."""
    return step_context(training=8, selection=2, **{"imgsz": 64, **changes})


def weights(module: Any) -> list[Any]:
    return [value.clone() for value in module.state_dict().values()]


def equal(first: list[Any], second: list[Any]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_trains_and_tells(
    detector: Any, step_context: Any, drawn_digits: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    said: list[str] = []
    context = small(step_context, say=said.append, imgsz=96)
    args, before, there = copy.deepcopy(detector.args), weights(detector), files(drawn_digits)
    settings = SHORT.model_copy(update={"epochs": 2, "imgsz": 64, "seed": 3})
    trained, record = train(detector, settings, context)

    assert not trained.training
    assert {value.dtype for value in trained.parameters()} == {torch.float32}
    assert not equal(before, weights(trained))
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert [entry["epoch"] for entry in record["history"]] == [1, 2]
    for entry in record["history"]:
        assert min(entry[key] for key in ("box_loss", "cls_loss", "dfl_loss")) > 0
    lasts = [learning_rate(settings, step, steps=4, steps_per_epoch=2) for step in (1, 3)]
    assert [entry["lr"] for entry in record["history"]] == lasts
    assert {key: record[key] for key in ("training_images", "selection_images", "epochs")} == {
        "training_images": 8,
        "selection_images": 2,
        "epochs": 2,
    }
    assert (record["imgsz"], record["batch"], record["seed"]) == (64, 4, 3)
    assert 0 <= record["map50_95_after"] <= 1
    assert 0 <= record["map50_95_before"] <= 1
    assert any(what.startswith("epoch 2 of 2: box ") for what in said)
    # The arguments of the checkpoint stay as they were: none of this training's folders.
    assert trained.args == args
    # Nothing is left behind, and nothing written where the user's data are.
    assert not any(context.folder.iterdir())
    assert not any(here.iterdir())
    assert files(drawn_digits) == there


def test_the_same_seed_gives_the_same_weights(
    detector: Any, step_context: Any, one_thread: None
) -> None:
    context = small(step_context)
    results = [
        weights(train(copy.deepcopy(detector), settings, context)[0])
        for settings in (SHORT, SHORT, SHORT.model_copy(update={"seed": 1}))
    ]
    assert equal(results[0], results[1])
    assert not equal(results[0], results[2])


def test_two_of_four_zeros_stay(detector: Any, step_context: Any) -> None:
    context = small(step_context)
    run(detector, TwoFourStep(kind="2:4"), context)
    # A few zeros by chance are no pruning: such weights are free.
    stem = learned_convolutions(detector)[0].weight
    stem.data[0, 0, 0, 0] = 0
    was = [layer.weight.detach().clone() for layer in learned_convolutions(detector)]
    trained, _ = train(detector, SHORT, context)
    now = [layer.weight for layer in learned_convolutions(trained)]
    after_each_step = [layer.weight for layer in learned_convolutions(detector)]
    zeros = sum(int((weight == 0).sum()) for weight in was)
    assert zeros > 500_000
    for before, *after in zip(was[1:], now[1:], after_each_step[1:], strict=True):
        assert not any(weight[before == 0].any() for weight in after)
    assert sum(int((weight == 0).sum()) for weight in now) < zeros
    assert now[0][0, 0, 0, 0] != 0


def test_a_narrowed_network_stays_narrow(detector: Any, step_context: Any) -> None:
    block = detector.model[2].m[0]
    first, norm, second = block.cv1.conv, block.cv1.bn, block.cv2.conv
    kept = first.out_channels // 2
    first.out_channels = norm.num_features = second.in_channels = kept
    first.weight = torch.nn.Parameter(first.weight[:kept].detach().clone())
    second.weight = torch.nn.Parameter(second.weight[:, :kept].detach().clone())
    for name in ("weight", "bias"):
        setattr(norm, name, torch.nn.Parameter(getattr(norm, name)[:kept].detach().clone()))
    for name in ("running_mean", "running_var"):
        setattr(norm, name, getattr(norm, name)[:kept].clone())
    shapes = [tuple(value.shape) for value in detector.parameters()]
    trained, _ = train(detector, SHORT, small(step_context))
    assert [tuple(value.shape) for value in trained.parameters()] == shapes


class Rounded(torch.nn.Module):
    """A convolution with the state that simulated quantization has: a scale, a zero point."""

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        self.convolution = convolution
        self.register_buffer("scale", torch.tensor(0.1))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))

    def forward(self, values: Any) -> Any:
        if self.training:
            self.zero_point += 1
        return torch.fake_quantize_per_tensor_affine(
            self.convolution(values), self.scale, torch.zeros_like(self.zero_point), -128, 127
        )


def test_simulated_quantization_survives(detector: Any, step_context: Any) -> None:
    head = detector.model[-1]
    head.cv2[0][2] = Rounded(head.cv2[0][2])
    trained, _ = train(detector, SHORT, small(step_context))
    rounded = trained.model[-1].cv2[0][2]
    assert isinstance(rounded, Rounded)
    # Whole numbers are not averaged: that of the last step is kept.
    assert int(rounded.zero_point) == 2


def test_an_extra_loss_is_added_and_told(
    detector: Any, step_context: Any, one_thread: None
) -> None:
    context = small(step_context)
    seen: list[tuple[Any, ...]] = []

    def extra(images: Any, raw: Any) -> tuple[Any, dict[str, float]]:
        seen.append((images.shape, float(images.min()), float(images.max()), sorted(raw)))
        seen[-1] += (torch.get_num_threads(),)
        loss = raw["scores"].square().mean()
        return loss * len(images), {"scores_loss": float(loss.detach())}

    torch.set_num_threads(2)
    trained, record = train(copy.deepcopy(detector), SHORT, context, extra_loss=extra)
    assert len(seen) == 2
    shape, low, high, names, threads = seen[0]
    assert (tuple(shape), threads) == ((4, 3, 64, 64), 2)
    assert 0 <= low < high <= 1
    assert {"boxes", "scores"} <= set(names)
    assert record["history"][0]["scores_loss"] > 0
    plain, _ = train(detector, SHORT, context)
    assert not equal(weights(trained), weights(plain))


def test_both_heads_train(step_context: Any) -> None:
    from deploymark.bench.variants.checkpoint import quiet_ultralytics

    quiet_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    module = DetectionModel("yolo26n.yaml", nc=10, verbose=False)
    before = weights(module)
    trained, record = train(module, SHORT, small(step_context))
    head = trained.model[-1]
    assert head.one2one_cv2 is not None
    assert not equal(before, weights(trained))
    assert record["history"][0]["l1_loss"] > 0
    # A network without arguments keeps those that it was trained with.
    assert trained.args["imgsz"] == 64


def test_an_image_that_cannot_be_read_is_left_out(
    detector: Any, step_context: Any, tmp_path: Path, capfd: Any
) -> None:
    context = small(step_context)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    first, *others = context.data.training
    data = dataclasses.replace(
        context.data, training=(dataclasses.replace(first, path=broken), *others)
    )
    _, record = train(detector, SHORT, small(step_context, data=data))
    assert record["training_images"] == 7
    assert record["notes"] == ["1 of 8 images could not be read"]
    log = capfd.readouterr().err
    assert "epoch 1 of 1: box " in log
    assert "lr0=0.001" in log


def test_a_diverging_training_is_told_at_once(detector: Any, step_context: Any) -> None:
    settings = Training(epochs=3, batch=4, lr0=1e30, warmup_epochs=0)
    with pytest.raises(ExportError, match=r"became (nan|-?inf) in epoch \d, step \d") as caught:
        train(detector, settings, small(step_context))
    assert caught.value.remedy == "Lower `lr0`, now 1e+30."
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_cannot_be_is_told_before_training(detector: Any, step_context: Any) -> None:
    context = small(step_context)
    with pytest.raises(UnsupportedError, match="imgsz 70 is no multiple of 32") as caught:
        train(detector, SHORT.model_copy(update={"imgsz": 70}), context)
    assert caught.value.remedy == "Use 64 or 96."
    with pytest.raises(UnsupportedError, match="mosaic"):
        train(detector, SHORT.model_copy(update={"hyperparameters": {"mosaic": 2.0}}), context)
