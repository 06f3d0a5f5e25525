from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import base


class Doubling(base.Session):
    def infer_impl(self, images: Any) -> Any:
        return images * 2

    def executed_precision(self) -> base.ExecutedPrecision:
        return base.ExecutedPrecision(reason="cannot tell")


class Plain(base.Backend):
    name = "plain"

    def probe(self) -> base.Probe:
        return base.Probe("plain", installed=True)

    def export(self, request: base.ExportRequest) -> base.Artifact:
        return base.Artifact(request.folder, "model")

    def load(self, artifact: base.Artifact, options: base.LoadOptions) -> base.Session:
        return Doubling(options.input_shape)


def test_infer_takes_what_the_session_was_opened_for() -> None:
    session = Doubling((1, 3, 4, 4))
    assert session.infer(np.ones((1, 3, 4, 4), np.float32)).max() == 2
    assert session.device_memory_bytes() is None


@pytest.mark.parametrize(
    "wrong",
    [
        np.ones((2, 3, 4, 4), np.float32),
        np.ones((3, 4, 4), np.float32),
        np.ones((1, 3, 4, 4)),
        np.ones((1, 3, 4, 4), np.uint8),
    ],
)
def test_infer_refuses_other_arrays_and_says_what_it_takes(wrong: Any) -> None:
    with pytest.raises(base.InputError, match=r"takes float32 \(1, 3, 4, 4\), got"):
        Doubling((1, 3, 4, 4)).infer(wrong)


def test_a_probe_answers_for_what_it_does_not_know() -> None:
    served = base.Service(served=True)
    probe = base.Probe(
        "b", installed=True, services={("cpu", "fp32"): served, ("gpu", "fp32"): served}
    )
    assert probe.devices == ("cpu", "gpu")
    assert probe.service("cpu", "fp32") is served
    other = probe.service("cpu", "int8-qat")
    assert (other.served, other.exists) == (False, False)
    assert other.reason == "b has no int8-qat on cpu"
    elsewhere = probe.service("npu", "fp32")
    assert (elsewhere.served, elsewhere.exists) == (False, True)
    assert "cpu, gpu" in elsewhere.reason


def test_options_are_refused_unless_a_backend_has_some() -> None:
    assert Plain().resolve_options("fp32", {}) == {}
    with pytest.raises(base.UnsupportedError, match="got a, b"):
        Plain().resolve_options("fp32", {"b": 1, "a": 2})


def test_errors_carry_their_remedy() -> None:
    error = base.LoadError("no such file", remedy="Build it first.")
    assert str(error) == "no such file\n  Build it first."
    assert str(base.LoadError("no such file")) == "no such file"
    assert isinstance(error, base.DeploymarkError)


def test_an_artifacts_path_is_its_entry() -> None:
    assert base.Artifact(Path("store") / "ab", "model.xml").path == Path("store/ab/model.xml")
