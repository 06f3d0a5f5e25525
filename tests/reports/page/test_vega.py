from __future__ import annotations

import pytest

from deploymark.bench.errors import DeploymarkError
from deploymark.reports.page import vega


def test_a_failing_bundle_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vega, "_CHILD", "raise SystemExit('no such library')")
    bundle = vega.VegaBundle()
    with bundle, pytest.raises(DeploymarkError, match="no such library") as caught:
        bundle.script()
    assert caught.value.remedy


def test_a_bundle_that_is_not_wanted_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vega, "_CHILD", "import time; time.sleep(600)")
    with vega.VegaBundle() as bundle:
        pass
    assert bundle._child.poll() is not None
