from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploymark.bench.cli.main import app
from deploymark.bench.compare.compare import DESCRIPTIVE, FIGURES, compare
from deploymark.bench.errors import BadInputError, NothingToRunError
from deploymark.bench.records.comparison import KEY_FIGURES
from deploymark.bench.records.launches import append_launch
from deploymark.bench.records.run import CellResult, RunInfo, write_cells, write_run_info

MakeRun = Callable[..., Path]


def cell(name: str, **values: Any) -> CellResult:
    known: dict[str, Any] = {
        "status": "ok",
        "model": "m",
        "latency_p50_ms": 10.0,
        "latency_ci_low_ms": 9.9,
        "latency_ci_high_ms": 10.1,
        "map50_95": 0.4,
        "artifact_bytes": 1 << 20,
        "artifact_sha256": "a" * 64,
        "energy_source": None,
    }
    return CellResult(cell=name, **(known | values))


def launches(name: str, *medians_ms: float) -> list[dict[str, Any]]:
    return [
        {
            "cell": name,
            "launch": number,
            "status": "ok",
            "latency_ns": [round(ms * 1e6)] * 3,
            "e2e_ns": [],
            "cold_ms": 20.0,
            "load_ms": 30.0,
        }
        for number, ms in enumerate(medians_ms)
    ]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(
        name: str, *cells: CellResult, records: list[dict[str, Any]] | None = None, **values: Any
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        known: dict[str, Any] = {
            "matrix": {"measure": {"launches": 3}},
            "matrix_file": "m.yaml",
            "machine": {"host": "desk", "cpu": "A CPU", "gpus": []},
            "packages": {"onnxruntime": "1.31.0"},
            "seed": 0,
            "started": "2026-11-24T10:00:00Z",
            "finished": "2026-11-24T10:05:00Z",
        }
        write_run_info(folder, RunInfo(**(known | values)))
        write_cells(folder, cells)
        if records is not None:
            with (folder / "launches.jsonl").open("w", encoding="utf-8") as stream:
                for record in records:
                    append_launch(stream, record)
        return folder

    return make


def test_ratio_with_the_interval_of_launches(make_run: MakeRun) -> None:
    one = make_run("one", cell("c"), records=launches("c", 9.9, 10.0, 10.1))
    two = make_run("two", cell("c", latency_p50_ms=11.0), records=launches("c", 10.9, 11.0, 11.1))
    found = compare([one, two])
    first, other = found.cells[0].figures["latency_p50_ms"]
    assert (first.value, first.ratio, first.low) == (10.0, None, 9.9)
    assert other.ratio == pytest.approx(1.1)
    assert other.ratio_low is not None
    assert other.ratio_high is not None
    assert 1.05 < other.ratio_low < 1.1 < other.ratio_high < 1.15
    assert found.cells[0].fastest == 0
    assert found.notes == [DESCRIPTIVE]
    assert "deploymark gate" in DESCRIPTIVE


def test_disturbed_and_failed_launches_do_not_count(make_run: MakeRun) -> None:
    good = launches("c", 9.9, 10.0, 10.1)
    bad = [record | {"disturbed": True, "launch": 9} for record in launches("c", 50.0, 90.0)]
    failed = {"cell": "c", "launch": 5, "status": "crashed", "reason": "", "remedy": ""}
    one = make_run("one", cell("c"), records=good)
    two = make_run("two", cell("c"), records=[*good, *bad, failed])
    other = compare([one, two]).cells[0].figures["latency_p50_ms"][1]
    assert other.ratio_high is not None
    assert other.ratio_high < 1.05


def test_the_launches_of_a_marked_cell_count_and_the_mark_is_kept(make_run: MakeRun) -> None:
    records = [{**record, "disturbed": ["steal"]} for record in launches("c", 11.9, 12.0, 12.1)]
    one = make_run("one", cell("c"), records=launches("c", 9.9, 10.0, 10.1))
    two = make_run("two", cell("c", latency_p50_ms=12.0, disturbed=True), records=records)
    found = compare([one, two]).cells[0]
    assert found.disturbed == [False, True]
    assert found.figures["latency_p50_ms"][1].ratio_low == pytest.approx(1.2, rel=0.05)


def test_scores_have_differences_and_sizes_have_ratios(make_run: MakeRun) -> None:
    one = make_run("one", cell("c"))
    two = make_run("two", cell("c", map50_95=0.37, artifact_bytes=1 << 19))
    figures = compare([one, two]).cells[0].figures
    assert figures["map50_95"][1].difference == pytest.approx(-0.03)
    assert figures["map50_95"][1].ratio is None
    assert figures["artifact_bytes"][1].ratio == 0.5
    latency = figures["latency_p50_ms"][1]
    assert latency.ratio == 1.0
    assert latency.ratio_low is None
    assert "two launches" in latency.reason


def test_what_is_not_alike_is_not_compared(make_run: MakeRun) -> None:
    dataset = {"name": "d", "model": "m", "scored_hash": "1"}
    one = make_run(
        "one", cell("c", energy_j_per_image=0.1, energy_source="RAPL"), datasets=[dataset]
    )
    two = make_run(
        "two",
        cell("c", energy_j_per_image=0.2, energy_source="modelled"),
        datasets=[dataset | {"scored_hash": "2"}],
    )
    figures = compare([one, two]).cells[0].figures
    energy, score = figures["energy_j_per_image"][1], figures["map50_95"][1]
    assert (energy.value, energy.ratio) == (0.2, None)
    assert energy.reason == "measured by modelled, in the first run by RAPL"
    assert (score.value, score.difference) == (0.4, None)
    assert "other images" in score.reason


def test_cells_that_one_run_has_or_could_not_measure(make_run: MakeRun) -> None:
    one = make_run("one", cell("both"), cell("old"), cell("broke"))
    two = make_run("two", cell("both"), cell("new"), cell("broke", status="crashed", reason="11"))
    found = compare([one, two])
    by_name = {row.cell: row for row in found.cells}
    assert list(by_name) == ["both", "old", "broke", "new"]
    assert by_name["old"].statuses == ["ok", None]
    assert by_name["old"].fastest is None
    assert by_name["new"].figures["latency_p50_ms"][0].reason == "this run has no such cell"
    # nothing of the first run to relate to
    assert by_name["new"].figures["latency_p50_ms"][1].ratio is None
    broke = by_name["broke"].figures["latency_p50_ms"][1]
    assert (broke.value, broke.reason) == (None, "crashed: 11")


def test_the_fastest_of_three(make_run: MakeRun) -> None:
    folders = [
        make_run(str(number), cell("c", latency_p50_ms=ms))
        for number, ms in enumerate((10.0, 8.0, 9.0))
    ]
    found = compare(folders, figures=["map50_95"])
    assert found.cells[0].fastest == 1
    assert list(found.cells[0].figures) == ["map50_95"]


def test_figures_that_no_cell_has_are_left_out(make_run: MakeRun) -> None:
    one, two = make_run("one", cell("c")), make_run("two", cell("c"))
    assert compare([one, two]).figures == ["latency_p50_ms", "map50_95", "artifact_bytes"]
    assert set(KEY_FIGURES) <= set(FIGURES)
    assert not {"imgsz", "threads", "cell", "warnings"} & set(FIGURES)


def test_runs_of_one_machine_are_named_by_folder(make_run: MakeRun) -> None:
    found = compare([make_run("a/run", cell("c")), make_run("b/run", cell("c"))])
    assert not found.several_machines
    assert [run.label for run in found.runs] == ["run (1)", "run (2)"]


def test_machines_are_named_by_host(make_run: MakeRun) -> None:
    jetson = {"host": "jetson", "cpu": "Cortex", "gpus": ["Orin"]}
    folders = [
        make_run("one", cell("c")),
        make_run("two", cell("c"), machine=jetson),
        make_run("three", cell("c"), machine=jetson),
    ]
    found = compare(folders)
    assert found.several_machines
    assert [run.label for run in found.runs] == ["desk", "jetson two", "jetson three"]
    assert found.runs[1].detail == "Cortex"
    names = {(each.kind, each.name) for each in found.differences}
    assert ("machine", "host") in names


def test_artifacts_of_other_bytes_and_an_unfinished_run_are_noted(make_run: MakeRun) -> None:
    one = make_run("one", cell("c"), cell("d"))
    two = make_run("two", cell("c", artifact_sha256="b" * 64), cell("d"), finished=None)
    notes = " ".join(compare([one, two]).notes)
    assert "1 of 2 cells have artifacts of other bytes" in notes
    assert "two has no end" in notes


def test_bad_input(make_run: MakeRun, tmp_path: Path) -> None:
    one, two = make_run("one", cell("c")), make_run("two", cell("c"))
    link = tmp_path / "latest"
    link.symlink_to("one")
    for folders, words in (
        ([one], "two run directories"),
        ([one, link], "are the same run"),
        ([one, tmp_path], "not a run directory"),
    ):
        with pytest.raises(BadInputError, match=words):
            compare(folders)
    with pytest.raises(BadInputError, match="did you mean 'latency_p50_ms'"):
        compare([one, two], figures=["latncy_p50_ms"])
    with pytest.raises(BadInputError, match="executed_precision"):
        compare([one, two], figures=["executed_precision"])
    with pytest.raises(NothingToRunError, match="selects no cell"):
        compare([one, two], select="nothing")
    with pytest.raises(NothingToRunError, match="no cells"):
        compare([make_run("empty"), make_run("empty too")])


@pytest.mark.parametrize(
    "text", ["{]\n", "[]\n", '{"cell": "c"}\n', '{"cell": "c", "status": "ok"}\n']
)
def test_broken_launches_are_one_clear_error(make_run: MakeRun, text: str) -> None:
    one, two = make_run("one", cell("c")), make_run("two", cell("c"))
    (two / "launches.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match=r"launches\.jsonl(:1)? cannot be read"):
        compare([one, two])


def test_the_command(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    one = make_run("one", cell("c-fp32"), cell("c-int8"), records=launches("c-fp32", 9.9, 10.0))
    slower = cell("c-fp32", latency_p50_ms=11.0)
    two = make_run("two", slower, cell("c-int8"), records=launches("c-fp32", 10.9, 11.0))
    data, markdown = tmp_path / "c.json", tmp_path / "c.md"
    options = ["-k", "fp32", "--figures", "latency_p50_ms", "--json", str(data)]
    done = CliRunner().invoke(
        app, ["compare", str(one), str(two), *options, "--markdown", str(markdown)]
    )
    assert done.exit_code == 0, done.output
    assert "*10.0 [9.90, 10.1]" in done.output
    assert "11.0 1.10× [" in done.output
    assert "c-int8" not in done.output
    assert "deploymark gate" in " ".join(done.output.split())
    told = json.loads(data.read_text(encoding="utf-8"))
    assert told["schema_version"] == 1
    assert told["cells"][0]["figures"]["latency_p50_ms"][1]["ratio"] == pytest.approx(1.1)
    assert markdown.read_text(encoding="utf-8").startswith("# Deploymark: 2 runs compared")


@pytest.mark.parametrize(
    "arguments",
    [["one"], ["one", "none"], ["one", "two", "--figures", "x"], ["one", "two", "-k", "("]],
)
def test_the_command_ends_with_2_for_bad_input(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    make_run("one", cell("c"))
    make_run("two", cell("c"))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["compare", *arguments])
    assert done.exit_code == 2, done.output


def test_a_file_that_cannot_be_written(make_run: MakeRun, tmp_path: Path) -> None:
    one, two = make_run("one", cell("c")), make_run("two", cell("c"))
    away = tmp_path / "none" / "c.md"
    done = CliRunner().invoke(app, ["compare", str(one), str(two), "--markdown", str(away)])
    assert done.exit_code == 2
    assert "--markdown" in done.output
