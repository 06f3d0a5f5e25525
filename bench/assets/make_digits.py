"""Draw the digit-detection dataset: real handwritten digits on crops of real photographs.

The digits are scikit-learn's ``load_digits`` (1797 instances, 8x8 pixels), the photographs its
two sample images; both ship inside the scikit-learn wheel, so nothing is downloaded. The splits
share no digit instance, and every image is seeded by (seed, split, index) alone, so image 7 of a
split is the same whatever number of images is asked for.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from deploymark.bench.assets.compose_digits import (
    CLASSES,
    IMAGE_SIZE,
    SPLITS,
    Sample,
    Sources,
    compose,
    load_sources,
    split_instances,
)

COMMITTED_COUNTS = {"train": 0, "calib": 64, "val": 128}

JPEG_QUALITY = 76
EXAMPLE = """\
example:
  python -m deploymark.bench.assets.make_digits --out bench/assets/digits
  python -m deploymark.bench.assets.make_digits --out /data/digits --train 6000 --calib 64 --val 128
"""


def label_lines(sample: Sample) -> list[str]:
    """Return the sample's YOLO label lines: class, centre x and y, width, height in [0, 1]."""
    lines = []
    for label, (x1, y1, x2, y2) in zip(sample.classes, sample.boxes / IMAGE_SIZE, strict=True):
        centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
        lines.append(f"{label} {centre_x:.6f} {centre_y:.6f} {x2 - x1:.6f} {y2 - y1:.6f}")
    return lines


def make_dataset(out: Path, counts: dict[str, int], seed: int = 0) -> None:
    """Write images, labels, manifests and ``data.yaml`` of the splits with a count above zero."""
    sources = load_sources()
    pools = split_instances(sources.labels, seed)
    for split in SPLITS:
        if counts.get(split, 0) > 0:
            _write_split(out, sources, pools[split], seed, split, counts[split])
    write_data_yaml(out, train="train" if counts.get("train", 0) else "calib")


def write_data_yaml(out: Path, train: str) -> None:
    """Write ``data.yaml`` in Ultralytics' layout; its paths are relative to its own folder."""
    names = "".join(f"  {label}: '{label}'\n" for label in range(CLASSES))
    text = f"train: images/{train}\nval: images/val\nnames:\n{names}"
    (out / "data.yaml").write_text(text, encoding="utf-8")


def _write_split(
    out: Path, sources: Sources, pool: Sequence[int], seed: int, split: str, count: int
) -> None:
    images, labels = out / "images" / split, out / "labels" / split
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    used: dict[str, list[int]] = {}
    for index in range(count):
        sample = compose(sources, pool, seed, split, index)
        name = f"{split}_{index:05d}"
        Image.fromarray(sample.pixels).save(images / f"{name}.jpg", quality=JPEG_QUALITY)
        text = "".join(f"{line}\n" for line in label_lines(sample))
        (labels / f"{name}.txt").write_text(text, encoding="utf-8")
        used[f"{name}.jpg"] = list(sample.instances)
    manifest = {
        "seed": seed,
        "split": split,
        "source": "sklearn.datasets.load_digits",
        "instances": used,
    }
    (out / f"manifest-{split}.json").write_text(_pretty(manifest), encoding="utf-8")


def _pretty(manifest: dict[str, Any]) -> str:
    """Format a manifest with one image a line, which keeps it readable and its diffs small."""
    rows = ",\n".join(
        f"    {json.dumps(name)}: {ids}" for name, ids in manifest["instances"].items()
    )
    head = ",\n".join(
        f"  {json.dumps(key)}: {json.dumps(value)}"
        for key, value in manifest.items()
        if key != "instances"
    )
    return f'{{\n{head},\n  "instances": {{\n{rows}\n  }}\n}}\n'


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploymark.bench.assets.make_digits",
        description="Draw the digit-detection dataset in Ultralytics' layout.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    for split, count in COMMITTED_COUNTS.items():
        parser.add_argument(
            f"--{split}",
            type=int,
            default=count,
            metavar="N",
            help=f"images in {split} (default {count})",
        )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed (default 0)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(argv)
    counts = {split: int(getattr(options, split)) for split in SPLITS}
    make_dataset(options.out, counts, options.seed)
    print(f"wrote {sum(counts.values())} images to {options.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
