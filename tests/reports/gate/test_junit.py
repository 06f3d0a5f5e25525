from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

from deploymark.bench.records.verdicts import CellVerdict, Gate, Side, write_gate
from deploymark.reports.gate.junit import render_junit, write_junit

MakeGate = Callable[..., Gate]
Cells = dict[str, CellVerdict]

# What junit-10.xsd of Jenkins' xunit plugin allows: attributes (those it requires with a !) and
# children.
SCHEMA: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name!", "tests!", "failures!", "errors!", "time", "skipped", "timestamp", "hostname"},
        {"properties", "testcase"},
    ),
    "properties": (set(), {"property"}),
    "property": ({"name!", "value!"}, set()),
    "testcase": (
        {"name!", "classname", "time"},
        {"skipped", "error", "failure", "system-out"},
    ),
    "skipped": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "failure": ({"type", "message"}, set()),
    "system-out": (set(), set()),
}


def fits_the_schema(element: ET.Element) -> None:
    attributes, children = SCHEMA[element.tag]
    assert set(element.attrib) <= {name.rstrip("!") for name in attributes}, element.tag
    assert {name[:-1] for name in attributes if name.endswith("!")} <= set(element.attrib)
    assert {child.tag for child in element} <= children, element.tag
    for child in element:
        fits_the_schema(child)


def parsed(gate: Gate) -> ET.Element:
    root = ET.fromstring(render_junit(gate).encode("utf-8"))  # noqa: S314 - our own
    fits_the_schema(root)
    return root


def endings(root: ET.Element) -> dict[tuple[str, str], str]:
    return {
        (case.get("classname", ""), case.get("name", "")): case[0].tag
        for case in root.iter("testcase")
    }


def test_each_check_is_a_case_and_ends_as_it_should(make_gate: MakeGate) -> None:
    root = parsed(make_gate())
    found = endings(root)
    assert found["m-slow", "latency p50 change"] == "failure"
    assert found["m-slow", "mAP50-95 change"] == "failure"
    assert found["m-slow", "artifact change"] == "system-out"
    assert found["m-late", "latency p95 at most 20 ms"] == "failure"
    assert found["m-late", "latency p50 change"] == "system-out"
    assert found["m-unclear", "latency p50 change"] == "skipped"
    assert found["m-broken", "comparison"] == "error"
    assert found["m-absent", "comparison"] == "skipped"
    assert found["m-gone", "comparison"] == "skipped"
    assert len(found) == 16
    (suite,) = root
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "16", "failures": "3", "errors": "1", "skipped": "3"}
    assert root.get("failures") == "3"
    assert suite.get("timestamp") == "2026-11-24T10:00:00"
    assert suite.get("hostname") == "bench-01"


def test_messages_say_what_and_what_to_do(make_gate: MakeGate) -> None:
    root = parsed(make_gate())
    messages = {
        (case.get("classname"), case[0].tag): case[0].get("message", "")
        for case in root.iter("testcase")
    }
    failure = messages["m-late", "failure"]
    assert failure == "latency p95 21.3 ms, at most 20 ms"
    skipped = messages["m-unclear", "skipped"]
    assert "--max-pairs 60" in skipped
    assert messages["m-broken", "error"] == "crashed: signal 11"


def test_time_is_told_once_a_cell(make_gate: MakeGate) -> None:
    root = parsed(make_gate())
    (suite,) = root
    total = sum(float(case.get("time", "nan")) for case in root.iter("testcase"))
    assert abs(total - float(suite.get("time", "nan"))) < 1e-6
    assert total > 0


def test_properties_name_both_sides_and_the_machine(make_gate: MakeGate) -> None:
    root = parsed(make_gate())
    found = {each.get("name"): each.get("value") for each in root.iter("property")}
    assert found["baseline reference"] == "results/old"
    assert found["candidate interpreter"] == "/usr/bin/python3.12"
    assert found["package onnxruntime"] == "1.31.0 → 1.32.0"
    assert found["setting min effect"] == "0.01"
    assert "A CPU" in str(found["machine"])


def test_hostile_names_and_control_characters(
    make_gate: MakeGate, gate_cells: Cells, hostile: str
) -> None:
    nasty = f"{hostile}\x00\x1b[31m\ud800\ufffe]]>&"
    clean = f"{hostile}\\x00\\x1b[31m\\ud800\\ufffe]]>&"
    cells = [
        dataclasses.replace(cell, cell=nasty, reason=nasty, remedy=nasty)
        for cell in gate_cells.values()
    ]
    side = Side(nasty, nasty)
    entry = {"cell": nasty, "side": nasty, "reason": nasty}
    gate = make_gate(*cells, baseline=side, machine={"host": nasty}, unmatched=[entry])
    root = parsed(gate)
    assert {case.get("classname") for case in root.iter("testcase")} == {clean}
    (error,) = root.iter("error")
    assert error.get("message") == f"crashed: {clean}"


def test_write(make_gate: MakeGate, tmp_path: Path) -> None:
    write_gate(tmp_path, make_gate(cells=[], started="not a time", machine={}))
    path = write_junit(tmp_path)
    assert path == tmp_path / "junit.xml"
    root = ET.parse(path).getroot()  # noqa: S314 - our own
    fits_the_schema(root)
    assert root[0].get("hostname") == "unknown"
    assert "timestamp" not in root[0].attrib
