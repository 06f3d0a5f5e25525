from __future__ import annotations

import io

import pytest

from deploymark.bench.progress import Progress, duration_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3600, "1 h 00 min"), (4000, "1 h 06 min")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_without_a_terminal_there_are_plain_lines() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.phase("measure", 2)
        progress.now("not shown")
        progress.done("[red]cell[/red]: p50 3 ms")
        progress.done("another")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "measure: 2"
    assert lines[1].startswith("[1/2] [red]cell[/red]: p50 3 ms · ")
    assert lines[2] == "[2/2] another"
    assert "\x1b" not in stream.getvalue()


def test_a_note_stays_on_the_screen_as_it_is() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.note("[load] is a name")
    assert stream.getvalue() == "[load] is a name\n"


def test_a_phase_may_turn_out_longer_or_shorter() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.phase("measure", 1)
        progress.done("a launch")
        progress.to_come(3)
        progress.done("a further one")
        progress.to_come(1)
        progress.done("the last one")
    ends = [line.partition(" ")[0] for line in stream.getvalue().splitlines()[1:]]
    assert ends == ["[1/1]", "[2/4]", "[3/3]"]
