from __future__ import annotations

import ast
from typing import Any

import pytest

from deploymark.backends.inputs import InputSpec
from deploymark.bench.choose.folding import decided, folded

TEXT = '''\
def prepare(values, spec: InputSpec, size=1):
    """What it does."""
    stretched = spec.resize == "stretch"
    # Before.
    if spec.colours in SWAPPED:
        # Why.
        values = values[::-1]
    elif spec.pad == 0:
        values = []
    elif size > 3:
        values = [size]
    else:
        values = values + [0]
    for value in values:
        if stretched:
            value += 1
        if size:
            value += size
    last = (
        spec.pad
        if spec.mean is not None
        else "grün"
    )
    if stretched:
        return values, last
    return values
'''


def run(text: str, spec: InputSpec) -> Any:
    names: dict[str, Any] = {"SWAPPED": ("bgr",)}
    exec("from __future__ import annotations\n" + text, names)  # noqa: S102 - the text above
    return names["prepare"]([1, 2], spec)


SPECS = [
    InputSpec(colours=colours, resize=resize, pad=pad, mean=mean)
    for colours in ("rgb", "bgr")
    for resize in ("letterbox", "stretch")
    for pad in (0, 114)
    for mean in (None, (0.0, 0.0, 0.0))
]


@pytest.mark.parametrize("spec", SPECS)
def test_does_the_same_with_fewer_questions(spec: InputSpec) -> None:
    text = folded(TEXT, {"SWAPPED": ("bgr",)}, {"InputSpec": spec})
    assert run(text, spec) == run(TEXT, spec)
    asked = [ast.unparse(node.test) for node in ast.walk(ast.parse(text)) if hasattr(node, "test")]
    assert not [test for test in asked if "spec" in test or "stretched" in test]


def test_what_is_taken_stays_as_it_is_written() -> None:
    spec = InputSpec(colours="bgr", resize="stretch")
    text = folded(TEXT, {"SWAPPED": ("bgr",)}, {"InputSpec": spec})
    assert text.splitlines()[2:6] == [
        '    stretched = spec.resize == "stretch"',
        "    # Before.",
        "    # Why.",
        "    values = values[::-1]",
    ]
    assert text.endswith("    return values, last")


@pytest.mark.parametrize(
    ("test", "answer"),
    [
        ("known == 1", (True,)),
        ("known == 2", (False,)),
        ("unknown == 1", None),
        ("known == 1 and unknown", None),
        ("f(known)", None),
        ("True", None),
    ],
)
def test_only_what_is_known_decides(test: str, answer: tuple[bool] | None) -> None:
    assert decided(ast.parse(test, mode="eval").body, {"known": 1}) == answer


def test_a_name_that_is_stored_is_not_the_modules() -> None:
    text = "def f(other):\n    SIZE = other\n    if SIZE == 1:\n        return 1\n    return 2"
    assert folded(text, {"SIZE": 1}, {}) == text
    text = "def f(SIZE):\n    if SIZE == 1:\n        return 1\n    return 2"
    assert folded(text, {"SIZE": 1}, {}) == text
