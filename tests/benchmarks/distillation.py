"""Does the teacher help? A small student trained with and without it, over several seeds.

The teacher is the embedded digits detector; the student is the same with channels removed, to less
than half of its multiply-accumulates. Both arms see the same images in the same order; the 128
validation images that score them were never seen by either::

    python tests/benchmarks/distillation.py --out distillation.jsonl

Each finished training is a line of that file. A second call with the same settings does what is
missing, and prints the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "bench" / "assets" / "digits"
SIDE = 320
CLASSES = 10
SELECTION_IMAGES = 32
"""Held out of the training images; the step scores itself on them."""

ARMS = {"taught": False, "alone": True}
"""With the teacher, and the ablation without."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a row of the table depends on besides its seed."""

    epochs: int
    images: int
    imgsz: int
    batch: int
    lr0: float
    macs: float
    temperature: float
    class_gain: float
    box_gain: float


def drawn(folder: Path, count: int) -> Any:
    """``count`` training images and those of the selection, drawn in ``folder``."""
    from deploymark.bench.assets.make_digits import make_dataset
    from deploymark.bench.data.training_data import TrainingData

    make_dataset(folder, {"train": count + SELECTION_IMAGES})
    images = labelled(folder / "images" / "train")
    return TrainingData(images[:count], images[count:])


def labelled(folder: Path) -> tuple[Any, ...]:
    """The images of a folder of digits with their labels."""
    from deploymark.bench.data.image_lists import list_images
    from deploymark.bench.data.labels import yolo_labels

    return tuple(yolo_labels(path, SIDE, SIDE, CLASSES) for path in list_images(folder))


def context(settings: Settings, seed: int, data: Any, folder: Path, name: str) -> Any:
    """What a step works with, as in a build child."""
    from deploymark.bench.variants.apply import StepContext

    scratch = folder / name
    scratch.mkdir()
    return StepContext(
        original=DIGITS / "digits.pt",
        imgsz=settings.imgsz,
        seed=seed,
        data=data,
        folder=scratch,
        say=lambda _what: None,
    )


def make_student(settings: Settings, data_file: Path, folder: Path) -> dict[str, Any]:
    """``student.pt`` in ``folder``, pruned from the teacher; returns the step's record."""
    from deploymark.bench.data.training_data import TrainingData
    from deploymark.bench.matrix.steps import StructuredStep
    from deploymark.bench.variants.apply import run_step
    from deploymark.bench.variants.checkpoint import load_detector, save_detector

    step = StructuredStep(kind="structured", macs=settings.macs)
    place = context(settings, 0, TrainingData.read(data_file), folder, "student")
    student, record = run_step(load_detector(place.original), step, place)
    save_detector(student, folder / "student.pt")
    return record


def trained(settings: Settings, seed: int, arm: str, data_file: Path, folder: Path) -> Any:
    """Train the student of ``folder`` in this process; returns a line of the results."""
    from deploymark.bench.data.training_data import TrainingData
    from deploymark.bench.matrix.steps import DistillStep
    from deploymark.bench.variants.apply import run_step
    from deploymark.bench.variants.checkpoint import load_detector
    from deploymark.bench.variants.evaluate import Evaluator

    step = DistillStep(
        kind="distill",
        ablation=ARMS[arm],
        epochs=settings.epochs,
        batch=settings.batch,
        lr0=settings.lr0,
        imgsz=settings.imgsz,
        temperature=settings.temperature,
        class_gain=settings.class_gain,
        box_gain=settings.box_gain,
    )
    place = context(settings, seed, TrainingData.read(data_file), folder, f"seed-{seed}-{arm}")
    started = time.monotonic()
    student, record = run_step(load_detector(folder / "student.pt"), step, place)
    seconds = time.monotonic() - started
    evaluator = Evaluator(labelled(DIGITS / "images" / "val"), settings.imgsz)
    return {
        "seed": seed,
        "arm": arm,
        "settings": dataclasses.asdict(settings),
        "map50_95": evaluator.map50_95(student),
        "teacher_map50_95": evaluator.map50_95(load_detector(place.original)),
        "seconds": round(seconds, 1),
        "record": record,
    }


def read_rows(out: Path, settings: Settings) -> dict[tuple[int, str], Any]:
    """The finished trainings of these settings by seed and arm."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.is_file() else []
    rows = [json.loads(line) for line in lines]
    wanted = dataclasses.asdict(settings)
    return {(row["seed"], row["arm"]): row for row in rows if row["settings"] == wanted}


def run_missing(settings: Settings, seeds: Sequence[int], out: Path, jobs: int) -> None:
    """Do the trainings that ``out`` does not hold, ``jobs`` at a time."""
    done = read_rows(out, settings)
    missing = [(seed, arm) for seed in seeds for arm in ARMS if (seed, arm) not in done]
    if not missing:
        return
    with (
        tempfile.TemporaryDirectory(prefix="distillation-") as name,
        # A process each, and none forked from one that runs threads of torch.
        ProcessPoolExecutor(
            jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1
        ) as pool,
    ):
        folder = Path(name)
        data_file = folder / "data.json"
        drawn(folder / "digits", settings.images).write(data_file)
        pool.submit(make_student, settings, data_file, folder).result()
        futures = [
            pool.submit(trained, settings, seed, arm, data_file, folder) for seed, arm in missing
        ]
        for future in as_completed(futures):
            row = future.result()
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(f"seed {row['seed']} {row['arm']}: {row['seconds']} s", file=sys.stderr)


def table(rows: dict[tuple[int, str], Any], seeds: Sequence[int]) -> str:
    """A Markdown table: a line a seed, and the means with their sample standard deviations."""
    pairs = [tuple(rows[seed, arm]["map50_95"] for arm in ARMS) for seed in seeds]
    columns = [[taught for taught, _ in pairs], [alone for _, alone in pairs]]
    columns.append([taught - alone for taught, alone in pairs])
    lines = [
        "| seed | with the teacher | without | difference |",
        "| ---: | ---: | ---: | ---: |",
        *(
            f"| {seed} | {taught:.4f} | {alone:.4f} | {difference:+.4f} |"
            for seed, taught, alone, difference in zip(seeds, *columns, strict=True)
        ),
    ]
    if len(seeds) > 1:
        means = [statistics.mean(values) for values in columns]
        spreads = [statistics.stdev(values) for values in columns]
        cells = [f"{mean:.4f} ± {spread:.4f}" for mean, spread in zip(means, spreads, strict=True)]
        cells[-1] = f"{means[-1]:+.4f} ± {spreads[-1]:.4f}"
        lines.append(f"| mean ± sd | {' | '.join(cells)} |")
    return "\n".join(lines)


def heading(settings: Settings, row: Any) -> str:
    """What was trained, in a sentence or two."""
    record = row["record"]
    teacher, student = record["teacher"], record["student"]
    return (
        f"mAP50-95 on 128 validation images at {settings.imgsz} px. Teacher: "
        f"{row['teacher_map50_95']:.4f}, {teacher['macs'] / 1e9:.3f} GMACs, "
        f"{teacher['params'] / 1e6:.2f} M parameters. Student: {student['macs'] / 1e9:.3f} GMACs "
        f"({student['macs'] / teacher['macs']:.1%}), {student['params'] / 1e6:.2f} M parameters, "
        f"{settings.epochs} epochs of {settings.images} images."
    )


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, added to")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--imgsz", type=int, default=SIDE)
    parser.add_argument("--batch", type=int, default=16)
    # Four times that of steps: a network cut to less than half has far to go, in either arm.
    parser.add_argument("--lr0", type=float, default=2e-3)
    parser.add_argument("--macs", type=float, default=0.45, help="share of the teacher's, at most")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--class-gain", type=float, default=1.0)
    parser.add_argument("--box-gain", type=float, default=1.0)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, a thread each")
    options = vars(parser.parse_args())
    out, jobs = options.pop("out").resolve(), options.pop("jobs")
    seeds = [int(seed) for seed in options.pop("seeds").split(",")]
    settings = Settings(**options)
    os.environ.update(OMP_NUM_THREADS="1")
    run_missing(settings, seeds, out, jobs)
    rows = read_rows(out, settings)
    print(heading(settings, rows[seeds[0], "taught"]))
    print()
    print(table(rows, seeds))


if __name__ == "__main__":
    main()
