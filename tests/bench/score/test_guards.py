"""Broken outputs made from good ones: each is told, with its cause; good ones are not remarked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ultralytics")

from tests.bench.score.broken_outputs import BROKEN, CUT, SOFT, Good, good, judged

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def source(digits: Path) -> Good:
    return good(digits)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("layout", ["anchors", "detections"])
def test_good_outputs_are_not_remarked(source: Good, layout: str, labelled: bool) -> None:
    assert judged(source, source.raw(layout), layout, labelled=labelled) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_output_is_told_with_its_cause(source: Good, name: str) -> None:
    layout, change, guard, cause = BROKEN[name]
    found = judged(source, change(source.raw(layout)).astype(np.float32), layout)
    assert found, name
    first = found[0]
    assert (first.guard, first.hard) == (guard, name not in SOFT), first
    assert cause in first.words
    assert first.remedy
    assert any(item.cuts for item in found) == (name in CUT)
