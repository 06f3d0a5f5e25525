from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from deploymark.backends.base import Detector
from deploymark.backends.inputs import ExtraInput, InputSpec
from deploymark.backends.layout import OutputSpec
from deploymark.bench.choose.choose import choose
from deploymark.bench.choose.hand_over import hand_over
from deploymark.bench.errors import BadInputError
from deploymark.bench.records.answer import Answer
from deploymark.bench.records.run import Run, load_run
from deploymark.bench.store import MANIFEST, ArtifactKey, Store
from tests.bench.choose.conftest import fp32, row
from tests.run_series import MakeRun

DETECTOR = Detector(
    ("cat", "dog | <b>"),
    output=OutputSpec("rtdetr", names=("labels", "boxes", "scores")),
    spec=InputSpec(
        resize="stretch",
        colours="bgr",
        extra=(ExtraInput("orig_target_sizes", "orig_target_sizes"),),
    ),
    family="rtdetr",
)


@pytest.fixture
def answered(make_run: MakeRun) -> tuple[Run, Answer]:
    """A run whose winner, of onnxruntime, lies in the store."""
    store = Store()
    with store.workspace() as workspace:
        (workspace / "files").mkdir()
        (workspace / "files" / "model.onnx").write_bytes(b"weights")
        artifact = store.add(
            ArtifactKey("recipe", "version"),
            workspace,
            entry="model.onnx",
            detector=dataclasses.asdict(DETECTOR),
            recipe={},
            versions={},
            build_s=1.0,
        )
    run = load_run(
        make_run(
            0,
            fp32(imgsz="96x160"),
            row(
                "int8",
                5.0,
                backend="onnxruntime",
                device="cpu",
                imgsz="96x160",
                artifact_sha256=artifact.sha256,
            ),
        )
    )
    return run, choose(run)


def test_what_ships_is_there_with_its_card_and_loader(
    answered: tuple[Run, Answer], tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "ship"
    files = hand_over(*answered, folder)
    assert [path.name for path in files] == ["CARD.md", "load.py", "model.onnx"]
    assert (folder / "model.onnx").read_bytes() == b"weights"
    card = (folder / "CARD.md").read_text()
    for told in (
        "# int8",
        "latency p50 | 5.00 ms [4.95, 5.05]",
        "cat, dog \\| &lt;b>",
        "fp32 - 0.01: met",
        "| size | 96 x 160 (height x width), batch 1 |",
        "| input | (1, 3, 96, 160), stretched, bilinear, BGR in 0 to 1, float32, NCHW, with ",
        ", with orig_target_sizes (wh) |",
        "| output | rtdetr, labels + boxes + scores |",
        "python load.py picture.jpg",
    ):
        assert told in card
    loader = (folder / "load.py").read_text()
    compile(loader, "load.py", "exec")
    assert 'with_name("model.onnx")' in loader
    assert "(1, 3, 96, 160)" in loader
    assert 'OUTPUTS = ("labels", "boxes", "scores")' in loader
    assert "$" not in loader
    assert [path.name for path in folder.parent.iterdir()] == ["ship"]


def test_an_empty_folder_is_taken_and_a_full_one_is_left_alone(
    answered: tuple[Run, Answer], tmp_path: Path
) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    (full / "mine").write_text("x")
    assert len(hand_over(*answered, empty)) == 3
    with pytest.raises(BadInputError, match="not an empty folder"):
        hand_over(*answered, full)
    assert [path.name for path in full.iterdir()] == ["mine"]


def test_nothing_is_left_where_the_artifact_is_gone(
    answered: tuple[Run, Answer], tmp_path: Path
) -> None:
    Store().remove()
    with pytest.raises(BadInputError, match="not in the store"):
        hand_over(*answered, tmp_path / "ship")
    assert not (tmp_path / "ship").exists()


def test_an_artifact_of_an_older_version_is_read_as_it_was_meant(
    answered: tuple[Run, Answer], tmp_path: Path
) -> None:
    (manifest,) = (Store().root / "artifacts").glob(f"*/*/{MANIFEST}")
    known = json.loads(manifest.read_text())
    del known["crc"]  # older versions wrote none
    known["detector"] = {"names": ["cat"], "layout": "anchors-last", "boxes": "normalised"}
    manifest.write_text(json.dumps(known))
    hand_over(*answered, tmp_path / "ship")
    told = "| output | anchors-last, boxes as shares of the input's sides, NMS at 0.7 |"
    assert told in (tmp_path / "ship" / "CARD.md").read_text()


def test_without_a_winner_there_is_nothing_to_copy(make_run: MakeRun, tmp_path: Path) -> None:
    run = load_run(make_run(0, row("a", 5.0)))
    answer = choose(run, ["latency_p50_ms <= 1"])
    with pytest.raises(BadInputError, match="no winner"):
        hand_over(run, answer, tmp_path / "ship")


def test_a_backend_that_is_not_here_has_no_loader(
    answered: tuple[Run, Answer], tmp_path: Path
) -> None:
    run, answer = answered
    next(cell for cell in run.cells if cell.cell == "int8").backend = "somebodys"
    assert [path.name for path in hand_over(run, answer, tmp_path / "ship")] == [
        "CARD.md",
        "model.onnx",
    ]
