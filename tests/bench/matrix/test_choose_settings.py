from __future__ import annotations

from pathlib import Path

import pytest

from deploymark.bench.choose.question import question_of
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.choose_settings import ChooseSettings
from deploymark.bench.matrix.schema import read_matrix

MODEL = "models:\n  - {path: builtin:digits, data: builtin:digits}\nbackends: [torch]\n"


def read(tmp_path: Path, section: str) -> ChooseSettings | None:
    path = tmp_path / "m.yaml"
    path.write_text(MODEL + section)
    return read_matrix(path)[0].choose


def test_the_section_is_the_question(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        'choose: {where: ["latency_p95_ms <= 20ms"], maximize: map50, then: artifact_bytes}\n',
    )
    question = question_of(found, [])
    assert question.where == ["latency_p95_ms <= 20ms"]
    assert (question.objective, question.maximize, question.then) == (
        "map50",
        True,
        "artifact_bytes",
    )
    assert not question.default


def test_without_the_section_the_question_is_deploymarks_own(tmp_path: Path) -> None:
    assert read(tmp_path, "") is None
    question = question_of(None, [])
    assert question.default
    assert (question.objective, question.indifference) == ("latency_p50_ms", 0.02)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (
            'choose: {where: ["latncy_p95_ms <= 20"]}\n',
            ("4:18: choose.where[0]:", "did you mean 'latency_p95_ms'"),
        ),
        (
            'choose:\n  where: ["map50 >= 0", "artifact_bytes <= 8mb"]\n',
            ("5:25: choose.where[1]:", "did you mean 'MB'"),
        ),
        ("choose: {minimize: speed}\n", ("4:10: choose.minimize:", "no figure 'speed'")),
        ("choose: {then: sise}\n", ("choose.then:", "no figure 'sise'")),
        ("choose: {minimize: macs, maximize: macs}\n", ("give `minimize` or `maximize`",)),
        ("choose: {indifference: 2}\n", ("choose.indifference:", "less than 1")),
        ("choose: {were: []}\n", ("choose.were: unknown key", "'where'")),
    ],
)
def test_a_mistake_is_told_where_it_is(tmp_path: Path, section: str, told: tuple[str, ...]) -> None:
    with pytest.raises(BadInputError) as caught:
        read(tmp_path, section)
    for text in told:
        assert text in str(caught.value)
