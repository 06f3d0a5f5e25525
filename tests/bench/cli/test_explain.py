"""Bad input of ``deploymark explain``; real cells are in ``tests/bench/explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.bench.conftest import CommandLine


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere", "cell"), "nowhere is not a run directory"),
        (("run", "digits-dense-fp32-onnxruntime-cpu-161"), "has no such cell"),
        (("run", "failed"), "was not measured (crashed: signal 11)"),
        (("run", "good", "--against", "good"), "that is the cell itself"),
    ],
)
def test_bad_input(deploymark: CommandLine, words: tuple[str, ...], told: str) -> None:
    from tests.run_series import result, run_maker

    cells = [
        result("good"),
        result("failed", status="crashed", reason="signal 11"),
        result("digits-dense-fp32-onnxruntime-cpu-160"),
    ]
    run_maker(deploymark.folder)(1, *cells, name="run")
    done = deploymark("explain", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
