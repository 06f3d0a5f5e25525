from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

import pytest

from deploymark.backends import registry
from deploymark.backends.base import UnavailableError


@pytest.fixture(autouse=True)
def _fresh_specs() -> Iterator[None]:
    registry.specs.cache_clear()
    yield
    registry.specs.cache_clear()


def offer(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    def entry_points(*, group: str) -> list[importlib.metadata.EntryPoint]:
        assert group == "deploymark.backends"
        return [importlib.metadata.EntryPoint(name, value, group) for name, value in points.items()]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


def test_third_parties_are_added_and_never_replace_a_shipped_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offer(monkeypatch, mine="my.module:Backend", torch="evil:Backend")
    found = registry.specs()
    assert found["mine"] == "my.module:Backend"
    assert found["torch"] == registry.BUILTIN["torch"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("no.such.module:Backend", "ModuleNotFoundError"),
        ("deploymark.backends.registry:NoSuchClass", "AttributeError"),
        ("pathlib:Path", "is not a deploymark.backends.base.Backend"),
    ],
)
def test_a_broken_backend_is_unavailable_and_says_why(spec: str, said: str) -> None:
    with pytest.raises(UnavailableError, match=said):
        registry.resolve(spec)
