from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import pytest

from deploymark.backends import converter, exporting
from deploymark.backends.base import ExportError, UnsupportedError


def test_a_failure_is_an_export_error_that_says_why() -> None:
    with (
        pytest.raises(ExportError, match=r"^Squeezing failed: ValueError: too thin$") as caught,
        exporting.failures("Squeezing"),
    ):
        raise ValueError("too thin")
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_error_of_ours_passes_as_it_is() -> None:
    with pytest.raises(UnsupportedError, match=r"^no such head$"), exporting.failures("Squeezing"):
        raise UnsupportedError("no such head")


def test_quiet_holds_back_and_puts_back(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("chatty")
    logger.setLevel(logging.INFO)
    with exporting.quiet("chatty"):
        warnings.warn("deprecated", stacklevel=1)
        logger.warning("nearly")
        logger.error("really")
    assert caplog.messages == ["really"]
    assert logger.level == logging.INFO


@pytest.mark.heavy
def test_a_model_gives_one_tensor() -> None:
    torch = pytest.importorskip("torch")
    exporting.forward_once(torch.nn.Identity(), torch.zeros(1))
    with pytest.raises(ExportError, match="the model returns tuple, not one tensor"):
        exporting.forward_once(lambda x: (x, x), torch.zeros(1))


def test_a_converter_runs_in_the_folder_that_it_may_litter(tmp_path: Path) -> None:
    code = "import sys; open('left', 'w').close(); print('one\\ntwo\\nthree\\nfour'); sys.exit(3)"
    done = converter.run([sys.executable, "-c", code], tmp_path, called="Mill")
    assert (tmp_path / "left").is_file()
    error = converter.failure("Mill", done, done.stdout)
    assert error.message == "Mill ended with 3: two; three; four"


def test_a_converter_that_hangs_or_is_not_there_is_an_export_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExportError, match=r"^Mill cannot be started: "):
        converter.run([str(tmp_path / "mill")], tmp_path, called="Mill")
    monkeypatch.setattr(converter, "LIMIT_S", 0.1)
    sleeps = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(ExportError, match=r"^Mill did not finish within 0\.1 s$"):
        converter.run(sleeps, tmp_path, called="Mill")
