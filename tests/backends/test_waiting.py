from __future__ import annotations

import os

import pytest

from deploymark.backends import registry, waiting
from deploymark.backends.base import LoadOptions, UnsupportedError

WAITING = ("torch", "torchscript", "aotinductor", "ncnn", "paddle")
"""Backends whose runtime computes with OpenMP."""


def options(device: str = "cpu", **given: str) -> LoadOptions:
    return LoadOptions(device, "fp32", 2, (1, 3, 64, 64), given)


def test_variables_of_the_shell_are_told_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in waiting.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert waiting.inherited() == {"OMP_WAIT_POLICY": "PASSIVE"}
    waiting.forget()
    assert waiting.inherited() == {}
    assert os.environ["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize("name", WAITING)
def test_nothing_is_set_unless_asked(name: str) -> None:
    backend = registry.resolve(registry.BUILTIN[name])
    settings = backend.resolve_runtime_options(options())
    assert settings["wait"] == "default"
    assert backend.runtime_environment(settings) == {}
    passive = backend.resolve_runtime_options(options(wait="passive"))
    assert backend.runtime_environment(passive)["OMP_WAIT_POLICY"] == "PASSIVE"
    with pytest.raises(UnsupportedError, match="wait is one of default, passive, active"):
        backend.resolve_runtime_options(options(wait="never"))


@pytest.mark.parametrize("name", sorted(registry.BUILTIN))
def test_the_first_choice_is_what_nobody_asked_for(name: str) -> None:
    backend = registry.resolve(registry.BUILTIN[name])
    choices = backend.runtime_choices(options())
    resolved = backend.resolve_runtime_options(options())
    assert resolved == {option: values[0] for option, values in choices.items()}
    for option, values in choices.items():
        for value in values:
            given = LoadOptions("cpu", "fp32", 2, (1, 3, 64, 64), {option: value})
            assert backend.resolve_runtime_options(given)[option] == value
    with pytest.raises(UnsupportedError, match=f"{name} has no runtime option no_such"):
        backend.resolve_runtime_options(options(no_such="thing"))
