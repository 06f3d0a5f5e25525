from __future__ import annotations

import pytest

from deploymark.bench.matrix.request import RunRequest, resolve_matrix


@pytest.mark.parametrize(("strict", "on_disturbed"), [(False, "mark"), (True, "fail")])
def test_strict_is_part_of_the_resolved_matrix(strict: bool, on_disturbed: str) -> None:
    request = RunRequest(backends=("onnxruntime",), strict=strict)
    resolved = resolve_matrix(request)
    assert resolved.matrix.validity.on_disturbed == on_disturbed
    assert resolved.matrix.validity.repeats == 2, "the rest of the section stays"
