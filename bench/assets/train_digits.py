"""Train the embedded digit detector: YOLO11n from random weights, on the CPU, offline.

Two stages keep it to about half an hour on two cores: most of the learning happens at half the
resolution, where an image costs a quarter, and a short second stage settles it at full size.
No step is selected on the validation images: the last weights of the last stage are the result.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploymark.bench.assets.compose_digits import IMAGE_SIZE
from deploymark.bench.assets.make_digits import make_dataset, write_data_yaml

ARCHITECTURE = "yolo11n.yaml"
TRAIN_IMAGES = 2500
VAL_IMAGES = 128
BATCH = 8
MAX_BYTES = 6_000_000

EXAMPLE = """\
example:
  python -m deploymark.bench.assets.train_digits --out bench/assets/digits
"""


@dataclass(frozen=True)
class Stage:
    """One training run; sizes in pixels, ``epochs`` in passes over the data.

    ``lr0`` is AdamW's highest learning rate, ``scale`` the random enlargement, plus or minus,
    ``fraction`` the part of the training images it sees.
    """

    name: str
    imgsz: int
    epochs: int
    lr0: float
    warmup_epochs: float
    scale: float
    fraction: float = 1.0


STAGES = (
    Stage("coarse", imgsz=160, epochs=8, lr0=1.5e-3, warmup_epochs=0.5, scale=0.4),
    # Ultralytics lowers the rate once an epoch: three short epochs end lower than one long one.
    Stage(
        "fine",
        imgsz=IMAGE_SIZE,
        epochs=3,
        lr0=7e-4,
        warmup_epochs=0.1,
        scale=0.2,
        fraction=0.4,
    ),
)

# Mirrored or mixed digits are other digits, or none; colour and place already vary in the images.
AUGMENTATION: dict[str, float] = {
    "fliplr": 0.0,
    "flipud": 0.0,
    "mosaic": 0.0,
    "mixup": 0.0,
    "degrees": 0.0,
    "translate": 0.1,
    "hsv_h": 0.0,
    "hsv_s": 0.0,
    "hsv_v": 0.0,
}


def prepare_environment(folder: Path, threads: int) -> None:
    """Make Ultralytics offline and quiet; it reads all of this once, when first imported."""
    os.environ.update(
        {
            "YOLO_OFFLINE": "1",
            "YOLO_AUTOINSTALL": "false",
            "YOLO_CONFIG_DIR": str(folder),
            "OMP_NUM_THREADS": str(threads),
            # Spinning threads cost the other users of the machine more than they gain here.
            "OMP_WAIT_POLICY": "PASSIVE",
        }
    )
    from ultralytics import settings

    settings.update({"sync": False})


def train(out: Path, work: Path, *, images: int, seed: int, threads: int) -> Path:
    """Make the training set under ``work``, train, and return the path of ``out/digits.pt``.

    The file is written after every stage, so a detector is there before the last one ends.
    """
    data = work / "data"
    make_dataset(data, {"train": images, "val": VAL_IMAGES}, seed)
    write_data_yaml(data, train="train")
    prepare_environment(work / "config", threads)
    from ultralytics import YOLO

    out.mkdir(parents=True, exist_ok=True)
    result = out / "digits.pt"
    start: Path | str = ARCHITECTURE
    for stage in STAGES:
        model: Any = YOLO(str(start))
        model.train(**_arguments(stage, data, work / "runs", seed))
        start = work / "runs" / stage.name / "weights" / "last.pt"
        publish(start, result)
        print(
            f"{stage.name}: mAP50-95 {score(result, data / 'data.yaml'):.4f} at {IMAGE_SIZE} px",
            flush=True,
        )
    return result


def _arguments(stage: Stage, data: Path, runs: Path, seed: int) -> dict[str, Any]:
    return {
        "data": str(data / "data.yaml"),
        "project": str(runs),
        "name": stage.name,
        "exist_ok": True,
        "imgsz": stage.imgsz,
        "epochs": stage.epochs,
        "batch": BATCH,
        # The default of 64 would gather eight batches into one step: too few steps for a short run.
        "nbs": BATCH,
        "optimizer": "AdamW",
        "lr0": stage.lr0,
        "lrf": 0.02,
        "cos_lr": True,
        "warmup_epochs": stage.warmup_epochs,
        "warmup_bias_lr": stage.lr0,
        "scale": stage.scale,
        "fraction": stage.fraction,
        "cls": 1.0,
        "device": "cpu",
        "workers": 0,
        "cache": "ram",
        "seed": seed,
        "deterministic": True,
        # The AMP check and the plots' font would each be a download.
        "amp": False,
        "plots": False,
        "val": False,
        **AUGMENTATION,
    }


def score(weights: Path, data: Path) -> float:
    """Return the FP32 mAP50-95, in [0, 1], on the validation images at IMAGE_SIZE."""
    from ultralytics import YOLO

    model: Any = YOLO(str(weights))
    metrics = model.val(
        data=str(data),
        imgsz=IMAGE_SIZE,
        rect=False,
        batch=BATCH,
        workers=0,
        plots=False,
        device="cpu",
        project=str(data.parent.parent / "runs"),
        name="score",
        exist_ok=True,
    )
    return float(metrics.box.map)


def publish(checkpoint: Path, target: Path) -> None:
    """Write ``checkpoint`` to ``target`` as half-precision weights that name no local path."""
    import torch
    from ultralytics.utils.torch_utils import strip_optimizer

    strip_optimizer(str(checkpoint), s=str(target))
    content: dict[str, Any] = torch.load(target, map_location="cpu", weights_only=False)
    content["train_args"] = _scrub(content["train_args"])
    for key in ("git", "train_results", "train_metrics"):
        content.pop(key, None)
    model = content["model"]
    model.args = _scrub(dict(model.args))
    model.yaml["yaml_file"] = ARCHITECTURE
    model.pt_path = target.name
    torch.save(content, target)
    _check(target)


def _scrub(arguments: dict[str, Any]) -> dict[str, Any]:
    """Reduce every absolute path among the arguments to its last part."""
    return {
        key: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for key, value in arguments.items()
    }


def _check(target: Path) -> None:
    """Raise ValueError if the file is too large to embed or names a folder of this machine."""
    content = target.read_bytes()
    if len(content) > MAX_BYTES:
        raise ValueError(f"{target}: {len(content)} bytes, more than the {MAX_BYTES} allowed")
    here = (Path.home(), Path.cwd(), Path(tempfile.gettempdir()))
    folders = {str(Path(*path.parts[:2])) + os.sep for path in here}
    leaks = sorted(folder for folder in folders if folder.encode() in content)
    if leaks:
        raise ValueError(f"{target}: names local folders: {', '.join(leaks)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploymark.bench.assets.train_digits",
        description="Train the embedded digit detector from scratch and write DIR/digits.pt.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for digits.pt"
    )
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="folder for the training set and logs (default: temporary)",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=TRAIN_IMAGES,
        metavar="N",
        help=f"training images to draw (default {TRAIN_IMAGES})",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed (default 0)")
    parser.add_argument(
        "--threads", type=int, default=2, metavar="N", help="torch threads (default 2)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="digits-") as temporary:
        work = (options.work or Path(temporary)).resolve()
        result = train(
            options.out, work, images=options.images, seed=options.seed, threads=options.threads
        )
    print(f"wrote {result} ({result.stat().st_size} bytes)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
