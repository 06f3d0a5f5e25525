"""What is fuzzed: for each kind of file a good one, how it is changed, and what reads it."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from unittest import mock

from deploymark.backends import file_kind
from deploymark.backends.foreign import metadata_beside
from deploymark.backends.litert.file import read_notes
from deploymark.backends.ncnn import files as ncnn_files
from deploymark.backends.onnx import content, wire
from deploymark.backends.paddle import program as paddle_program
from deploymark.bench.choose.of_run import answer_run
from deploymark.bench.compare.compare import compare
from deploymark.bench.errors import DeploymarkError
from deploymark.bench.explain.explain import explain_run
from deploymark.bench.history.history import Choice, history, write_history
from deploymark.bench.matrix.schema import read_matrix, recorded_matrix
from deploymark.bench.records.files import dump_json
from deploymark.bench.records.launches import check_launches, read_launches
from deploymark.bench.records.run import read_run_info
from deploymark.reports.compare.compare import render_compare_markdown
from deploymark.reports.run.render import write_report
from deploymark.reports.run.summary import write_summary
from tests.data_sets import coco, document, load, yolo
from tests.fuzz.mutations import mutated, mutated_json, mutated_lines
from tests.run_series import MACHINE, result, run_maker

Change = Callable[[bytes, random.Random], bytes]
Read = Callable[[Path], object]


@dataclasses.dataclass(frozen=True)
class Target:
    """``make`` writes the good file into a folder and tells it; ``readers`` are given the file.

    They may raise nothing but errors of our own tree.
    """

    make: Callable[[Path], Path]
    change: Change
    readers: tuple[Read, ...]


MATRIX = b"""
name: fuzzed
models:
  - {path: builtin:digits, data: builtin:digits, names: [a, b]}
variants: [dense, {name: half, steps: [{prune: {amount: 0.5}}]}]
imgsz: [160, [96, 128]]
backends: [{name: onnxruntime, precisions: [fp32, int8], threads: [1, 2]}, ncnn]
precisions: [fp32, int8]
scoring: {max_images: 16}
measure: {launches: 3, warmup_max_s: 0.3}
exclude: [{backend: ncnn, precision: int8}]
gate: {max_pairs: 2, map50_95: {max_drop: 0.01}}
choose: {where: ["map50_95 >= fp32 - 0.01"]}
"""

DATA_YAML = """
path: .
train: images/val
val: images/val
nc: 3
names: {0: cat, 1: dog, 2: bird}
kpt_shape: [17, 3]
flip_idx: [1, 0]
"""

PARAM = (
    b"7767517\n3 3\n"
    b"Input            in0      0 1 in0 0=320 1=320 2=3\n"
    b"Convolution      conv_0   1 1 in0 1 0=16 1=3 11=3 -23330=4,3,1,2,3 6=432\n"
    b"Sigmoid          s        1 1 1 out0\n"
)

METADATA = b"""description: Ultralytics YOLO11n
task: detect
stride: 32
imgsz: [320, 320]
names: {0: cat, 1: dog}
args: {nms: false, conf: 0.25, half: false}
end2end: false
"""


def _tensor_type(*sizes: int) -> dict[str, Any]:
    element, shape = {"#": "0.t_f32"}, list(sizes)
    return {"#": "0.t_dtensor", "D": [element, shape, "NCHW", [], 0]}


PROGRAM: dict[str, Any] = {
    "base_code": {"magic": "pir", "version": 1, "trainable": False},
    "program": {
        "regions": [
            {
                "blocks": [
                    {
                        "ops": [
                            {"#": "p", "O": {"%": 1, "TT": _tensor_type(16, 3, 3, 3)}},
                            {"#": "1.data", "O": [{"%": 2, "TT": _tensor_type(1, 3, 320, 320)}]},
                            {"#": "1.conv2d", "O": [{"%": 3, "TT": _tensor_type(1, 16, 9, 9)}]},
                            {"#": "1.fetch", "O": [{"%": 4, "TT": _tensor_type(1, 6, 2100)}]},
                        ]
                    }
                ]
            }
        ]
    },
}


def _field(number: int, value: int | bytes) -> bytes:
    """One field of Protocol Buffers; numbers below 2^14."""
    if isinstance(value, int):
        return bytes([number << 3]) + _varint(value)
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])


def _end(name: bytes, *sizes: int) -> bytes:
    shape = b"".join(_field(1, _field(1, size)) for size in sizes)
    tensor = _field(1, 1) + _field(2, shape)
    return _field(1, name) + _field(2, _field(1, tensor))


def onnx_bytes() -> bytes:
    """A small graph: one convolution, its weights, an input and an output, and notes."""
    weights = _field(1, 2) + _field(1, 3) + _field(2, 1) + _field(8, b"w") + _field(9, bytes(24))
    node = _field(1, b"in") + _field(1, b"w") + _field(2, b"out") + _field(4, b"Conv")
    graph = _field(1, node) + _field(5, weights)
    graph += _field(11, _end(b"in", 1, 3, 320, 320)) + _field(12, _end(b"out", 1, 6, 2100))
    notes = _field(1, b"names") + _field(2, b"{0: 'cat', 1: 'dog'}")
    return _field(1, 9) + _field(7, graph) + _field(14, notes)


def _weights_bytes() -> bytes:
    """One weight of Paddle's file: head, description, and its numbers."""
    description = b"\x08\x05" + b"".join(_field(2, size) for size in (16, 3, 3, 3))
    head = bytes(16) + len(description).to_bytes(4, "little")
    return head + description + bytes(4 * 432)


def _file(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def _tflite(folder: Path) -> Path:
    path = folder / "m.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(64))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps({"names": {"0": "cat"}, "task": "detect"}))
    return path


def _ncnn(folder: Path) -> Path:
    (folder / "m.bin").write_bytes(b"\x47\x6b\x30\x01" + bytes(64))
    (folder / "metadata.yaml").write_bytes(METADATA)
    return _file("m.param", PARAM)(folder)


def _read_ncnn(path: Path) -> None:
    layers = ncnn_files.read_graph(path)
    ncnn_files.image_size(path, layers)
    ncnn_files.stored_precision(ncnn_files.weights_file(path), layers)


def _paddle(folder: Path) -> Path:
    (folder / "m.pdiparams").write_bytes(_weights_bytes())
    return _file("m.json", json.dumps(PROGRAM).encode())(folder)


def _read_paddle(path: Path) -> None:
    found = paddle_program.read_program(path)
    paddle_program.require_whole(path.with_suffix(".pdiparams"), found)


def _paddle_weights(folder: Path) -> Path:
    return _paddle(folder).with_suffix(".pdiparams")


def _read_weights(path: Path) -> None:
    _read_paddle(path.with_suffix(".json"))


def _labels(folder: Path) -> Path:
    yolo(folder, ["0 0.5 0.5 0.2 0.2\n1 0.25 0.5 0.1 0.3\n"])
    return folder / "labels/val/00.txt"


def _coco(folder: Path) -> Path:
    boxes = [[1, 2, 3, 4], [5, 6, 7.5, 8], [0, 0, 40, 20]]
    path = coco(folder, document(boxes, images=2)).annotations
    assert path is not None
    return path


def _data_yaml(folder: Path) -> Path:
    yolo(folder, ["0 0.5 0.5 0.2 0.2\n"], DATA_YAML)
    return folder / "data.yaml"


def _load_yolo(path: Path) -> object:
    from deploymark.bench.data.datasets import DataSource

    return load(DataSource("d", yaml=path))


def _load_coco(path: Path) -> object:
    from deploymark.bench.data.datasets import DataSource

    return load(DataSource("d", annotations=path))


CELLS = ("m-dense-fp32-onnxruntime-cpu-320", "m-dense-int8-onnxruntime-cpu-320")

MATRIX_OF_RUN = {
    "models": [{"path": "builtin:digits", "data": "builtin:digits", "name": "m"}],
    "backends": ["onnxruntime"],
    "precisions": ["fp32", "int8"],
    "imgsz": [320],
    "measure": {"launches": 2},
    "choose": {"where": ["map50_95 >= fp32 - 0.01"]},
}


def launch_line(cell: str, launch: int) -> dict[str, Any]:
    """A line of ``launches.jsonl`` with the keys that reports and answers read."""
    return {
        "cell": cell,
        "launch": launch,
        "status": "ok",
        "reason": "",
        "remedy": "",
        "disturbed": [],
        "started": "2026-01-01T00:00:00+00:00",
        "latency_ns": [10_000_000, 11_000_000, 12_000_000],
        "bursts": [3],
        "quiet": [True],
        "e2e_ns": [13_000_000],
        "cold_ms": 30.0,
        "load_ms": 50.0,
        "peak_rss_bytes": 100_000_000,
        "import_ms": 20.0,
        "warmup": {"steady": True, "iterations": 3, "seconds": 0.1, "first_ns": [13_000_000]},
        "conditions": {"load": 0.1},
        "predictions": None,
    }


def write_run(results: Path) -> Path:
    """Two cells with two launches each, an FP32 one and an INT8 one; a run before it beside it."""
    make = run_maker(results)
    sizes = {"imgsz": 320, "height": 320, "width": 320, "launches": 2, "iterations": 6}
    cells = [
        result(name, precision=precision, map50_95=0.4, map_images=50, artifact_bytes=5, **sizes)
        for name, precision in zip(CELLS, ("fp32", "int8"), strict=True)
    ]
    for day in range(2):
        folder = make(day, *cells, machine=MACHINE, matrix=MATRIX_OF_RUN, options=["--strict"])
        lines = [json.dumps(launch_line(cell, n)) for n in range(2) for cell in CELLS]
        (folder / "launches.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def _of_run(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return write_run(folder / "results") / name

    return make


def _compare(path: Path) -> None:
    run = path.parent
    others = [near for near in sorted(run.parent.iterdir()) if near != run]
    found = compare([others[0], run])
    render_compare_markdown(found)
    dump_json(dataclasses.asdict(found))


def _recorded(path: Path) -> None:
    recorded_matrix(read_run_info(path.parent).matrix, path)
    check_launches(path.parent)


class _NoLibrary:
    """Stands in for the library of the charts, which takes seconds and reads nothing of a run."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def script(self) -> str:
        return ""


def _page(path: Path) -> None:
    with mock.patch("deploymark.reports.run.render.VegaBundle", _NoLibrary):
        write_report(path.parent)


RUN_READERS: tuple[Read, ...] = (
    _compare,
    lambda path: history(path.parent.parent, Choice()),
    _recorded,
    lambda path: list(read_launches(path.parent)),
    lambda path: answer_run(path.parent),
    lambda path: explain_run(path.parent),
    lambda path: write_history(path.parent),
    lambda path: write_summary(path.parent),
)
"""What the commands do with a run: each may refuse it, whatever the others say."""


TARGETS: dict[str, Target] = {
    "matrix": Target(_file("m.yaml", MATRIX), mutated, (read_matrix,)),
    "data.yaml": Target(_data_yaml, mutated, (_load_yolo,)),
    "labels": Target(_labels, mutated, (lambda path: _load_yolo(path.parents[2] / "data.yaml"),)),
    "coco": Target(_coco, mutated_json, (_load_coco,)),
    "run.json": Target(_of_run("run.json"), mutated_json, RUN_READERS),
    "cells.json": Target(_of_run("cells.json"), mutated_json, RUN_READERS),
    "launches.jsonl": Target(_of_run("launches.jsonl"), mutated_lines, RUN_READERS),
    "run.json page": Target(_of_run("run.json"), mutated_json, (_page,)),
    "cells.json page": Target(_of_run("cells.json"), mutated_json, (_page,)),
    "launches.jsonl page": Target(_of_run("launches.jsonl"), mutated_lines, (_page,)),
    "onnx": Target(
        _file("m.onnx", onnx_bytes()),
        mutated,
        (wire.read_header, content.read_content, file_kind.kind_of),
    ),
    "tflite": Target(_tflite, mutated, (read_notes, file_kind.kind_of)),
    "ncnn": Target(_ncnn, mutated, (_read_ncnn, file_kind.kind_of)),
    "metadata.yaml": Target(
        _file("metadata.yaml", METADATA), mutated, (lambda path: metadata_beside(path.parent),)
    ),
    "paddle": Target(_paddle, mutated_json, (_read_paddle, file_kind.kind_of)),
    "paddle weights": Target(_paddle_weights, mutated, (_read_weights,)),
}


def execute(target: Target, path: Path, data: bytes) -> None:
    """Give ``data`` to all readers. Raises whatever is none of our errors."""
    path.write_bytes(data)
    for read in target.readers:
        try:
            read(path)
        except DeploymarkError:
            continue


def fresh(target: Target, folder: Path) -> Path:
    """The good file of a target, in a folder of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return target.make(folder)
