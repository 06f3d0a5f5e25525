"""How long it takes to tell what is wrong with a large data set.

``python tests/benchmarks/data_check.py PHOTOS`` makes two sets of copies of the JPEG files in the
folder PHOTOS: 3,000 photos with five bad files of five kinds, and 20,000 with a label file each,
and loads them, each in a process of its own. No cache of files is dropped: they were just written.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LABEL = "".join(f"{index} 0.5 0.5 0.{index + 1} 0.{index + 1}\n" for index in range(7))

LOAD = """
import sys, time
from pathlib import Path
from deploymark.bench.data.datasets import DataSource, load_dataset
from deploymark.bench.errors import BadInputError
start = time.perf_counter()
try:
    dataset = load_dataset(
        DataSource("d", yaml=Path(sys.argv[1])),
        calibration_images=0, max_images=None, seed=0, on_fault=sys.argv[2],
    )
    told = "\\n".join(dataset.census.lines())
except BadInputError as error:
    told = str(error)
print(told)
print(f"{sys.argv[2]}: {time.perf_counter() - start:.2f} s")
"""


def make_set(folder: Path, photos: list[bytes], count: int) -> Path:
    """A data set of ``count`` photos, no two of the same bytes."""
    (folder / "images" / "val").mkdir(parents=True)
    (folder / "labels" / "val").mkdir(parents=True)
    for index in range(count):
        data = photos[index % len(photos)] + f"{index}".encode()
        (folder / "images" / "val" / f"{index:06}.jpg").write_bytes(data)
        (folder / "labels" / "val" / f"{index:06}.txt").write_text(LABEL)
    (folder / "data.yaml").write_text("val: images/val\nnames: [a, b, c, d, e, f, g]\n")
    return folder / "data.yaml"


def damage(folder: Path, photo: bytes) -> None:
    """Five bad files of five kinds, at the end of the set."""
    images, labels = folder / "images" / "val", folder / "labels" / "val"
    (images / "zz1.jpg").write_bytes(photo[: len(photo) // 2])
    (images / "zz2.jpg").write_bytes(b"")
    (images / "zz3.jpg").write_bytes(b"<!doctype html><html>404</html>")
    (labels / "002999.txt").write_text(LABEL + "99 .5 .5 .1 .1\n")
    (labels / "002998.txt").write_text(LABEL + "0 320 240 10 10\n")


def main(photos: Path) -> None:
    """Make the sets and time them."""
    found = [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))]
    random.Random(0).shuffle(found)  # noqa: S311 - no secret
    size = sum(map(len, found)) / len(found)
    print(f"{len(found)} different photos of {size / 1024:.0f} KiB on average")
    with tempfile.TemporaryDirectory() as scratch:
        yaml = make_set(Path(scratch) / "bad", found, 3000)
        damage(yaml.parent, found[0])
        for on_fault in ("refuse", "skip"):
            subprocess.run([sys.executable, "-c", LOAD, str(yaml), on_fault], check=True)
        yaml = make_set(Path(scratch) / "many", found, 20_000)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", LOAD, str(yaml), "refuse"], check=True)
        print(
            f"20,000 label files and their photos: {time.perf_counter() - start:.2f} s, with start"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
