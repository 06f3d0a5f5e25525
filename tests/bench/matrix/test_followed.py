"""What is asked of exported files, and whether they can follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploymark.backends.base import Size
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.cells import expand, select
from deploymark.bench.matrix.command_line import Overrides, with_overrides
from deploymark.bench.matrix.followed import check_followed, with_asked_precision
from deploymark.bench.matrix.given import GivenArtifact
from deploymark.bench.matrix.schema import Matrix
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.yaml_source import YamlSource

FILE = {"artifact": "my.onnx", "data": "d.yaml"}
CHECKPOINT = {"path": "builtin:digits", "data": "builtin:digits"}
FIXED = GivenArtifact("onnxruntime", Path("my.onnx"), imgsz=Size(160, 160), precision="fp32")


def check(
    values: dict[str, Any],
    options: Overrides,
    given: GivenArtifact = FIXED,
    selection: str = "",
    document: dict[str, Any] | None = None,
) -> list[str]:
    """The cells that would be measured."""
    matrix = with_overrides(Matrix.model_validate(values), options)
    where = YamlSource("m.yaml", document, options.places())
    found = with_asked_precision(matrix, {"my": (given,)}, where)
    expansion = expand(matrix, where, given=found)
    chosen = select(expansion, selection)
    check_followed(matrix, expansion.cells, chosen, where)
    return [cell.id for cell in chosen]


def refused(*arguments: Any, **more: Any) -> list[str]:
    with pytest.raises(BadInputError) as caught:
        check(*arguments, **more)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Overrides(imgsz=["320"]), "--imgsz 320: my.onnx is fixed at 160 px"),
        (Overrides(imgsz=["160", "320"]), "--imgsz 160,320: 320: my.onnx is fixed at 160 px"),
        (
            Overrides(precisions=["int8"]),
            "--precisions int8: my.onnx is fp32 as it is",
        ),
    ],
)
def test_what_a_file_cannot_follow_is_refused(options: Overrides, words: str) -> None:
    assert refused({"models": [FILE]}, options)[0].startswith(words)


def test_all_that_cannot_be_followed_is_told_at_once() -> None:
    lines = refused({"models": [FILE]}, Overrides(imgsz=["320"], precisions=["int8"]))
    assert lines[0] == "2 things are wrong"
    assert [line[:7] for line in lines[1::2]] == ["--imgsz", "--preci"]


def test_what_a_file_does_follow_is_taken() -> None:
    same = Overrides(imgsz=["160"], precisions=["fp32"])
    assert check({"models": [FILE]}, same) == ["my-as-is-fp32-onnxruntime-cpu-160"]
    open_size = GivenArtifact("onnxruntime", Path("my.onnx"))
    told = Overrides(imgsz=["96"], precisions=["fp16"])
    # Nothing in the file tells its precision, and one is given.
    assert check({"models": [FILE]}, told, open_size) == ["my-as-is-fp16-onnxruntime-cpu-96"]


def test_a_matrix_of_files_alone_is_held_to_what_it_names() -> None:
    values = {"models": [FILE], "imgsz": [320]}
    (first, _) = refused(values, Overrides(), document=values)
    assert first == "m.yaml:1:1: imgsz[0]: my.onnx is fixed at 160 px"
    # Beside a checkpoint the file has its own size, and the matrix's is the checkpoint's.
    both = {"models": [FILE, CHECKPOINT], "imgsz": [320], "backends": ["onnxruntime"]}
    assert len(check(both, Overrides(), document=both)) == 2


def test_a_shipped_matrix_says_nothing_of_the_model_that_is_given() -> None:
    shipped = {"models": [CHECKPOINT], "imgsz": [640], "backends": ["onnxruntime"]}
    options = Overrides(model="my.onnx", data="d.yaml")
    assert check(shipped, options, document=shipped) == ["my-as-is-fp32-onnxruntime-cpu-160"]


def test_an_option_holds_for_the_cells_that_are_chosen() -> None:
    both = {"models": [FILE, CHECKPOINT], "backends": ["onnxruntime"]}
    options = Overrides(imgsz=["320"])
    assert refused(both, options)[0] == "--imgsz 320: my.onnx is fixed at 160 px"
    assert check(both, options, selection="digits") == ["digits-dense-fp32-onnxruntime-cpu-320"]


def test_what_nothing_can_read_here_tells_nothing() -> None:
    absent = GivenArtifact("tensorrt", Path("my.onnx"), Outcome("unavailable", "not installed"))
    assert len(check({"models": [FILE]}, Overrides(imgsz=["320"]), absent)) == 1


def test_a_file_of_a_rectangle_says_both_sides() -> None:
    wide = GivenArtifact("onnxruntime", Path("my.onnx"), imgsz=Size(384, 640))
    lines = refused({"models": [FILE]}, Overrides(imgsz=["640"]), wide)
    assert lines[0] == "--imgsz 640: my.onnx is fixed at 384x640 px"
    assert check({"models": [FILE]}, Overrides(), wide) == ["my-as-is-fp32-onnxruntime-cpu-384x640"]
