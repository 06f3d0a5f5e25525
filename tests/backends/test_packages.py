from __future__ import annotations

from importlib.metadata import version

from deploymark.backends import packages


def test_the_first_installed_distribution_counts() -> None:
    assert packages.installed_version("no-such-distribution", "pytest") == version("pytest")
    assert packages.installed_version("no-such-distribution") is None


def test_missing_modules_are_named_in_order() -> None:
    assert packages.missing(["pytest", "no_such_b", "json", "no_such_a"]) == (
        "no_such_b",
        "no_such_a",
    )
