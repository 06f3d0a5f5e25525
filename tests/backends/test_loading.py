from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploymark.backends import loading
from deploymark.backends.base import LoadError, LoadOptions, UnavailableError


def options(device: str = "cpu") -> LoadOptions:
    return LoadOptions(device, "fp32", threads=1, input_shape=(1, 3, 64, 64))


def test_a_runtime_that_is_there_is_imported() -> None:
    assert loading.runtime("pathlib", "Install it.").Path is Path


@pytest.mark.parametrize(("called", "said"), [("", "no_such_runtime"), ("Runtime", "Runtime")])
def test_a_runtime_that_is_not_is_unavailable(called: str, said: str) -> None:
    with pytest.raises(UnavailableError, match=f"^{said} cannot be imported: No module") as caught:
        loading.runtime("no_such_runtime", "Install it.", called=called)
    assert caught.value.remedy == "Install it."


def test_a_file_has_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "model").touch()
    loading.require_file(tmp_path / "model")
    with pytest.raises(LoadError, match="there is no file"):
        loading.require_file(tmp_path)


def test_the_processor_is_the_one_device() -> None:
    loading.require_cpu("some", options())
    with pytest.raises(UnavailableError, match="some has no device 'npu' here"):
        loading.require_cpu("some", options("npu"))


@pytest.mark.parametrize("found", [(1, 3, 64, 64), [1, 3, 64, 64], (None, 3, -1, "width")])
def test_a_shape_that_fits(found: Any) -> None:
    loading.require_shape(Path("m"), found, options())


@pytest.mark.parametrize("found", [(1, 3, 64, 96), (64, 64), ()])
def test_a_shape_that_does_not_fit(found: Any) -> None:
    with pytest.raises(LoadError, match=r"m takes images of shape \(.*\), not \(1, 3, 64, 64\)"):
        loading.require_shape(Path("m"), list(found), options())
