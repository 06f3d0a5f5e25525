from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.cells import Cell, expand
from deploymark.bench.matrix.scenario_settings import (
    MultiStream,
    Offline,
    Server,
    SingleStream,
    named,
    scenarios_of,
)
from deploymark.bench.matrix.schema import Matrix, json_schema, read_matrix

MATRIX = """models:
  - {path: builtin:digits, data: builtin:digits}
backends: [onnxruntime]
threads: [1, 2]
"""

MISTAKES = {
    "scenario: servr": ("5:1: scenario: expected", "did you mean 'server'?"),
    "scenario: [offline, servr]": ("5:21: scenario[1]: expected", "did you mean 'server'?"),
    "scenario: {target_qps: 3}": ("5:1: scenario: expected 'single-stream'",),
    "scenario: {kind: server, target_qp: 3}": ("5:26: scenario.target_qp", "'target_qps'"),
    "scenario: [{kind: server, target_qps: -3}]": ("5:27: scenario[0].target_qps", "greater than"),
    "scenario: {kind: server, target_latency_ms: .inf}": ("must be a finite number",),
    "scenario: {kind: single-stream, streams: [2]}": (
        "5:33: scenario.streams: unknown key (got [2])",
    ),
    "scenario: {kind: offline, streams: [1, 2, 2]}": ("scenario.streams: 2 is given twice",),
    "scenario: {kind: offline, streams: []}": ("scenario.streams: must not be empty",),
    "scenario: {kind: offline, streams: [0]}": ("scenario.streams[0]: must be greater",),
    "overrides: [{when: {threads: 1}, set: {scenario: {kind: server, target_qps: x}}}]": (
        "overrides[0].set.scenario.target_qps: must be a valid number",
    ),
}


def cells_of(folder: Path, text: str) -> tuple[Cell, ...]:
    path = folder / "m.yaml"
    path.write_text(MATRIX + text + "\n")
    matrix, source = read_matrix(path)
    assert Matrix.model_validate(json.loads(matrix.model_dump_json())) == matrix
    document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    jsonschema.validate(document, json.loads(json_schema()))
    return expand(matrix, source).cells


@pytest.mark.parametrize(("text", "said"), MISTAKES.items())
def test_mistakes(tmp_path: Path, text: str, said: tuple[str, ...]) -> None:
    with pytest.raises(BadInputError) as error:
        cells_of(tmp_path, text)
    for part in said:
        assert part in error.value.message


def test_no_scenario_unless_asked(tmp_path: Path) -> None:
    assert [cell.scenarios for cell in cells_of(tmp_path, "")] == [(), ()]


@pytest.mark.parametrize("text", ["server", "[server]", "{kind: server}", "[{kind: server}]"])
def test_one_scenario_in_every_way_to_write_it(tmp_path: Path, text: str) -> None:
    for cell in cells_of(tmp_path, f"scenario: {text}"):
        assert cell.scenarios == (Server(kind="server"),)


def test_a_list_of_both_ways(tmp_path: Path) -> None:
    text = "scenario: [single-stream, {kind: offline, streams: [1, 2, 4], min_duration_s: 3}]"
    cells = cells_of(tmp_path, text)
    single, offline = cells[0].scenarios
    assert single == SingleStream(kind="single-stream")
    assert single.streams == (1,)
    assert (offline.streams, offline.duration_s) == ((1, 2, 4), 3)
    assert [cell.id[-2:] for cell in cells] == ["t1", "t2"]  # a scenario is no part of an id


def test_overrides_choose_the_cells(tmp_path: Path) -> None:
    text = "scenario: offline\noverrides: [{when: {threads: 2}, set: {scenario: [server]}}]"
    one, two = cells_of(tmp_path, text)
    assert [scenario.kind for scenario in one.scenarios] == ["offline"]
    assert [scenario.kind for scenario in two.scenarios] == ["server"]


def test_two_of_a_kind_have_names_of_their_own() -> None:
    slow, fast = Server(kind="server", target_qps=5), Server(kind="server", target_qps=50)
    found = named((slow, Offline(kind="offline"), fast))
    assert [name for name, _ in found] == ["server", "offline", "server-2"]
    assert found[2][1] is fast


def test_official_raises_what_is_below_the_rules() -> None:
    # mlperf.conf of LoadGen 6: 600 s, 662 queries of a multi-stream, 24576 images offline.
    short = MultiStream(kind="multi-stream")
    assert (short.duration_s, short.queries, short.percentile) == (10, 100, 90)
    multi = MultiStream(kind="multi-stream", official=True)
    assert (multi.duration_s, multi.queries, multi.percentile) == (600, 662, 99)
    server = Server(kind="server", official=True, min_duration_s=900, target_percentile=99.9)
    assert (server.duration_s, server.percentile) == (900, 99.9)
    assert Offline(kind="offline", official=True).queries == 24_576


def test_words_are_scenarios_with_defaults() -> None:
    kinds = ("single-stream", "multi-stream", "server", "offline")
    assert [scenario.kind for scenario in scenarios_of(kinds)] == list(kinds)
