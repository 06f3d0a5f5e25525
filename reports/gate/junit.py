"""``junit.xml`` of a gate, for the test pages of CI systems.

One test case a check; its class is the cell, so that pages group by cell. A regression and a budget
exceeded are failures, a candidate that could not be measured is an error. An inconclusive check is
``skipped`` with its reason: pages then show it as neither passed nor broken, and the exit code of
the gate, 3, says what to make of it. The elements and attributes are those that Jenkins' schema
(jenkinsci/xunit-plugin, ``junit-10.xsd``) and Ant's (windyroad/JUnit-Schema) have in common.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from deploymark.bench.records.files import write_text_atomically
from deploymark.bench.records.verdicts import JUNIT_FILE, CellVerdict, Check, Gate, load_gate
from deploymark.reports.gate import words as gate_words
from deploymark.reports.page import facts, figure_words, figures
from deploymark.reports.page.plain_text import seen

_SUITE = "deploymark gate"


def _clean(text: str) -> str:
    """Text with what XML 1.0 has no place for, not even escaped (section 2.2), made visible."""
    return seen(text)


def _case(suite: ET.Element, cell: str, name: str, seconds: float = 0.0) -> ET.Element:
    return ET.SubElement(
        suite,
        "testcase",
        {"classname": _clean(cell), "name": _clean(name), "time": f"{seconds:.3f}"},
    )


def _end(case: ET.Element, kind: str, of_type: str, message: str, details: str = "") -> None:
    element = ET.SubElement(case, kind, {"type": of_type, "message": _clean(message)})
    element.text = _clean(details or message)


def _name(check: Check) -> str:
    if check.kind == "budget":
        return f"{figure_words.title(check.figure)} {gate_words.limit(check)}"
    return f"{figure_words.title(check.figure)} change"


def _details(cell: CellVerdict, check: Check) -> str:
    lines = [
        gate_words.sentence(check),
        check.reason,
        gate_words.remedy(cell, check) if check.verdict == "inconclusive" else "",
        f"threshold {gate_words.limit(check)}" if check.kind == "change" else "",
        f"{check.pairs} pairs" if check.pairs is not None else "",
        f"confidence {100 * check.confidence:.4g} %" if check.confidence is not None else "",
        check.method,
    ]
    return "\n".join(line for line in lines if line)


def _add_check(suite: ET.Element, cell: CellVerdict, check: Check, seconds: float) -> None:
    case = _case(suite, cell.cell, _name(check), seconds)
    details = _details(cell, check)
    message = gate_words.sentence(check)
    if check.verdict == "regressed":
        _end(case, "failure", gate_words.check_outcome(check), message, details)
    elif check.verdict == "inconclusive":
        reasons = (check.reason, gate_words.remedy(cell, check))
        why = "; ".join(reason for reason in reasons if reason)
        text = f"inconclusive: {message}" + (f"; {why}" if why else "")
        _end(case, "skipped", "inconclusive", text)
    else:
        ET.SubElement(case, "system-out").text = _clean(details)


def _add_cell(suite: ET.Element, cell: CellVerdict) -> None:
    # The time of a cell is that of its pairs, and told once, where the pairs are judged.
    timed = next((c for c in cell.checks if c.pairs is not None), None)
    for check in cell.checks:
        _add_check(suite, cell, check, cell.seconds if check is timed else 0.0)
    if cell.status == "ok":
        return
    case = _case(suite, cell.cell, "comparison", 0.0 if timed else cell.seconds)
    reason = cell.reason or "no reason was recorded"
    details = f"{reason}\n{cell.remedy}".rstrip()
    kind = "error" if gate_words.outcome(cell) == "failed" else "skipped"
    _end(case, kind, cell.status, f"{cell.status}: {reason}", details)


def _properties(gate: Gate) -> list[tuple[str, str]]:
    found = [
        (f"{name} {key}", text)
        for name, side in (("baseline", gate.baseline), ("candidate", gate.candidate))
        for key, text in gate_words.side_words(side)
    ]
    found += [
        (f"package {name}", f"{before} {gate_words.ARROW} {after}")
        for name, before, after in gate_words.package_differences(gate)
    ]
    found.append(("machine", facts.machine_line(gate.machine)))
    found.append(("verdict", gate.verdict))
    if gate.deploymark_version:
        found.append(("deploymark", gate.deploymark_version))
    settings = facts.nested_facts(gate.settings)
    return found + [(f"setting {fact.name}", fact.text) for fact in settings]


def render_junit(gate: Gate) -> str:
    """The whole file: one suite, its properties, one case a check."""
    suite = ET.Element("testsuite", {"name": _SUITE})
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(gate):
        ET.SubElement(properties, "property", {"name": _clean(name), "value": _clean(value)})
    for cell in gate_words.by_severity(gate.cells):
        _add_cell(suite, cell)
    for entry in gate.unmatched:
        name, why = gate_words.unmatched_words(entry)
        _end(_case(suite, name, "comparison"), "skipped", "unmatched", why)
    totals = {"tests": str(len(suite.findall("testcase")))}
    for kind, attribute in (("failure", "failures"), ("error", "errors")):
        totals[attribute] = str(len(suite.findall(f"testcase/{kind}")))
    time = f"{sum(cell.seconds for cell in gate.cells):.3f}"
    root = ET.Element("testsuites", {"name": _SUITE, **totals, "time": time})
    skipped = str(len(suite.findall("testcase/skipped")))
    suite.attrib.update({**totals, "skipped": skipped, "time": time})
    host = gate.machine.get("host")
    suite.set("hostname", _clean(str(host)) if host else "unknown")
    started = figures.in_utc(gate.started)
    if started is not None:
        # As Ant writes it: to the second, without a zone.
        suite.set("timestamp", f"{started:%Y-%m-%dT%H:%M:%S}")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def write_junit(folder: Path) -> Path:
    """Read ``gate.json`` in ``folder`` and write ``junit.xml`` beside it; returns its path.

    Raises BadInputError where there is none.
    """
    path = folder / JUNIT_FILE
    write_text_atomically(path, render_junit(load_gate(folder)))
    return path
