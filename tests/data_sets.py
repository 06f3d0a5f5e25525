"""Small data sets that tests make, damage and load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deploymark.bench.data.datasets import Dataset, DataSource, load_dataset
from deploymark.bench.data.faults import OnFault

WIDTH, HEIGHT = 40, 20


def write_image(path: Path, seed: int = 0) -> Path:
    """A picture of 40 x 20 pixels, another one for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def yolo(root: Path, labels: Sequence[str | bytes | None], text: str = "") -> DataSource:
    """A ``data.yaml`` with an image for each label file; None for an image without."""
    (root / "labels" / "val").mkdir(parents=True, exist_ok=True)
    for index, content in enumerate(labels):
        write_image(root / "images" / "val" / f"{index:02}.png", index)
        if content is not None:
            data = content if isinstance(content, bytes) else content.encode()
            (root / "labels" / "val" / f"{index:02}.txt").write_bytes(data)
    (root / "data.yaml").write_text(text or "val: images/val\nnames: [cat, dog, bird]\n")
    return DataSource("d", yaml=root / "data.yaml")


def document(boxes: Sequence[Sequence[Any]], images: int = 1) -> dict[str, Any]:
    """A COCO JSON with these boxes, one image after the other."""
    return {
        "images": [
            {"id": index, "file_name": f"{index:02}.png", "width": WIDTH, "height": HEIGHT}
            for index in range(images)
        ],
        "annotations": [
            {
                "id": index,
                "image_id": index % images,
                "category_id": 1 + index % 2,
                "bbox": list(box),
            }
            for index, box in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def coco(root: Path, content: Any) -> DataSource:
    """A COCO JSON, given as a document or as bytes, with the images that ``document`` names."""
    for index in range(4):
        write_image(root / f"{index:02}.png", index)
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (root / "instances_val.json").write_bytes(data)
    return DataSource("d", annotations=root / "instances_val.json")


def load(
    source: DataSource,
    on_fault: OnFault = "refuse",
    *,
    calibration: int = 0,
    max_images: int | None = None,
) -> Dataset:
    """The data set; without images to calibrate on unless asked for."""
    return load_dataset(
        source,
        calibration_images=calibration,
        max_images=max_images,
        seed=0,
        on_fault=on_fault,
    )


def boxes_of(dataset: Dataset) -> int:
    """Boxes on the images scored."""
    return sum(len(image.boxes) for image in dataset.scored)
