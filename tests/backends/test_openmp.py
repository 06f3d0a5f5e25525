from __future__ import annotations

import pytest

from deploymark.backends.base import LoadOptions
from deploymark.backends.registry import BUILTIN, resolve


@pytest.mark.parametrize("name", ["torch", "torchscript", "aotinductor", "ncnn", "paddle"])
def test_what_computes_with_openmp_says_how_it_waits(name: str) -> None:
    backend = resolve(BUILTIN[name])
    choices = backend.runtime_choices(LoadOptions("cpu", "fp32", 1, (1, 3, 64, 64)))
    assert choices is not None
    assert choices["wait"] == ("default", "passive", "active")
    assert backend.giving_way == {"wait": "passive"}
    assert backend.runtime_environment({"wait": "passive"})["OMP_WAIT_POLICY"] == "PASSIVE"
    assert backend.runtime_environment({}) == {}
    elsewhere = backend.runtime_choices(LoadOptions("cuda", "fp32", 1, (1, 3, 64, 64)))
    assert "wait" not in (elsewhere or {})
