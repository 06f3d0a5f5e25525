from __future__ import annotations

from typing import Any

import pytest

from bench.variants.steps import Training

pytestmark = pytest.mark.heavy

torch = pytest.importorskip("torch")
pytest.importorskip("ultralytics")

from bench.variants.training import train  # noqa: E402 - torch is there


def test_trains(detector: Any, step_context: Any) -> None:
    said: list[str] = []
    context = step_context(say=said.append)
    _trained, record = train(detector, Training(epochs=2, batch=8), context)
    assert [entry["epoch"] for entry in record["history"]] == [1, 2]
    assert any("epoch 2 of 2" in what for what in said)
    assert not any(context.folder.iterdir())
