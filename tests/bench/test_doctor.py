from __future__ import annotations

from backends.base import Probe, Service
from bench.doctor import backend_findings
from bench.findings import Finding
from bench.probing import Found

HERE = Service(served=True)
EMULATED = Service(served=True, native=False, reason="in float32")
ELSEWHERE = Service(served=False, reason="predicting needs macOS", remedy="Take a Mac.")
NEVER = Service(served=False, exists=False, reason="no such thing")


def finding(**probe: object) -> Finding:
    defaults: dict[str, object] = {"installed": True, "version": "1.2", "can_export": True}
    (found,) = backend_findings([("x", Found(Probe("x", **{**defaults, **probe})))])  # type: ignore[arg-type]
    return found


def test_what_is_served_is_told_by_device() -> None:
    services = {("cpu", "fp32"): HERE, ("cpu", "fp16"): EMULATED, ("cpu", "int8"): NEVER}
    found = finding(services={**services, ("gpu", "fp16"): HERE})
    assert found == Finding("ok", "x", "1.2 cpu: fp32, fp16 (emulated); gpu: fp16")


def test_a_device_that_is_missing_is_told_with_its_reason() -> None:
    found = finding(services={("cpu", "fp32"): HERE, ("all", "fp32"): ELSEWHERE})
    assert found == Finding("ok", "x", "1.2 cpu: fp32; predicting needs macOS (all)")


def test_a_backend_that_measures_nothing_here_is_noted_with_what_mends_it() -> None:
    services = {("all", "fp32"): ELSEWHERE, ("cpu", "fp32"): ELSEWHERE, ("all", "bf16"): NEVER}
    found = finding(services=services)
    assert found.state == "note"
    assert found.text == "1.2 measures nothing here; predicting needs macOS"
    assert found.remedy == "Take a Mac."


def test_a_missing_backend_is_noted_with_the_command_that_installs_it() -> None:
    found = finding(installed=False, version=None, reason="not installed", remedy="pip install x")
    assert found == Finding("note", "x", "not installed", "pip install x")


def test_a_backend_that_cannot_export_is_noted() -> None:
    found = finding(services={("cpu", "fp32"): HERE}, can_export=False, reason="without torch")
    assert found.state == "note"
    assert "cannot export: without torch" in found.text
