from __future__ import annotations

import pytest

from deploymark.bench.run.timings import OF_LAUNCHES, WORDS, Timings, of_launches, timing_lines

LAUNCH = {
    "status": "ok",
    "duration_s": 5.0,
    "import_ms": 1000.0,
    "load_ms": 400.0,
    "cold_ms": 100.0,
    "warmup": {"seconds": 0.5},
    "latency_ns": [200_000_000] * 4,
    "set_aside_ns": [200_000_000],
    "e2e_ns": [100_000_000] * 2,
    "boxes_s": 0.8,
}


def test_the_parts_of_launches_are_all_of_their_time() -> None:
    parts = of_launches({"a": [LAUNCH, LAUNCH], "b": [{"status": "crashed", "duration_s": 3.0}]})
    assert set(parts) == set(OF_LAUNCHES) <= set(WORDS)
    assert parts["import_s"] == 2.0
    assert parts["timed_s"] == 2.0, "what was set aside took its time, too"
    assert sum(parts.values()) == pytest.approx(13.0)


def test_launches_of_former_versions_have_fewer_parts() -> None:
    newer = {"boxes_s", "set_aside_ns"}
    former = {name: value for name, value in LAUNCH.items() if name not in newer}
    assert of_launches({"a": [former]})["boxes_s"] == 0.0


def test_a_part_that_comes_again_adds_up_however_it_is_left() -> None:
    timings = Timings({"build_s": 2.0})
    with pytest.raises(KeyError), timings.part("build_s"):
        raise KeyError
    assert timings.seconds["build_s"] >= 2.0


def test_words() -> None:
    seconds = {"build_s": 20.04, "measure_s": 40.0, "score_s": 0.01, "import_s": 12.0}
    assert timing_lines(seconds) == [
        "time: 1 min 00 s: build 20.0 s, launches 40.0 s",
        "  launches: imports 12.0 s",
    ]
