from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pydantic
import pytest
from ruamel.yaml import YAML

from deploymark.bench.matrix.validity import Validity, disturbances, remedy, told_together

QUIET: dict[str, Any] = {
    "wall_s": 1.0,
    "intervals": 1,
    "own_cpu_s": 0.99,
    "watched_cpus": 2,
    "usable_cpus": 2,
    "busy_s": 1.03,
    "steal_s": 0.0,
    "foreign_load_cores": 0.04,
    "steal_share": 0.0,
    "tick_error_s": 0.017,
    "throttled_s": 0.0,
    "throttled_periods": 0,
    "minor_faults": 4,
    "major_faults": 0,
    "voluntary_switches": 3,
    "involuntary_switches": 54,
    "cpu_pressure_us": 20_000,
    "throttle_events": 0,
    "overcurrent_events": None,
    "busy_threads": 1,
    "run_queue_wait_s": 0.0084,
    "cpu_mhz_min": 3900.0,
    "cpu_mhz_mean": 3900.0,
    "cpu_mhz_reference": 2400.0,
    "cpu_mhz_reference_kind": "base",
    "frequency_share": 1.6,
    "temperature_c": 71.0,
    "temperature_zone": "x86_pkg_temp",
    "firmware_throttling": None,
    "gpu": None,
}
GPU = {"before": None, "after": None, "throttle_reasons": ["gpu_idle"], "foreign_processes": []}


def found(changes: dict[str, Any], validity: Validity | None = None) -> list[str]:
    return disturbances({**QUIET, **changes}, validity or Validity())


def test_a_quiet_machine_disturbs_nothing() -> None:
    assert found({}) == []
    assert remedy([QUIET], Validity()) == ""
    assert told_together([QUIET], Validity()) == ""


def test_what_could_not_be_read_disturbs_nothing() -> None:
    unread = dict.fromkeys(QUIET, None) | {"wall_s": 1.0, "own_cpu_s": 0.9}
    assert disturbances(unread, Validity()) == []
    assert disturbances({}, Validity()) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"foreign_load_cores": 0.9},
            "foreign processes used 0.9 cores while timing (limit 0.25)",
        ),
        (
            {"steal_s": 0.08, "busy_s": 1.52},
            "the hypervisor withheld 5 % of the processor time while timing (limit 2 %)",
        ),
        (
            {"run_queue_wait_s": 0.5, "own_cpu_s": 0.5},
            "threads waited for a processor for 50 % of the time that they were ready (limit 10 %)",
        ),
        ({"major_faults": 34}, "34 pages were read from disk while timing (limit 10)"),
        (
            {"throttled_s": 0.4},
            "a processor quota of the control group stopped it for 40 % of the time (limit 1 %)",
        ),
        (
            {"frequency_share": 0.5, "cpu_mhz_min": 1200.0},
            "the processor's clock was at 1200 MHz, 50 % of its base clock (limit 70 %)",
        ),
        ({"throttle_events": 3}, "the processor was throttled while timing (3 events)"),
        (
            {"firmware_throttling": ["under-voltage", "throttled"]},
            "the firmware held the clock down: under-voltage, throttled",
        ),
        (
            {"gpu": {**GPU, "throttle_reasons": ["gpu_idle", "hw_slowdown"]}},
            "the GPU was throttled: hw_slowdown",
        ),
        (
            {"gpu": {**GPU, "foreign_processes": ["python", "trainer"]}},
            "2 other processes computed on the GPU: python, trainer (limit 0)",
        ),
    ],
)
def test_each_disturbance_is_told_with_figure_limit_and_remedy(
    changes: dict[str, Any], sentence: str
) -> None:
    assert found(changes) == [sentence]
    assert remedy([{**QUIET, **changes}], Validity())


@pytest.mark.parametrize(
    ("changes", "off"),
    [
        ({"foreign_load_cores": 0.9}, {"max_foreign_load_cores": None}),
        ({"steal_s": 0.08}, {"max_steal_share": None}),
        ({"run_queue_wait_s": 0.5}, {"max_run_queue_wait_share": None}),
        ({"major_faults": 34}, {"max_major_faults": None}),
        ({"throttled_s": 0.4}, {"max_quota_share": None}),
        ({"frequency_share": 0.5}, {"min_frequency_share": None}),
        ({"throttle_events": 3}, {"throttling": False}),
        ({"firmware_throttling": ["throttled"]}, {"throttling": False}),
        (
            {"gpu": {**GPU, "throttle_reasons": ["hw_slowdown"]}},
            {"gpu_throttle_reasons": ["sw_power_cap"]},
        ),
        ({"gpu": {**GPU, "foreign_processes": ["x"]}}, {"max_gpu_processes": None}),
    ],
)
def test_each_limit_can_be_switched_off(changes: dict[str, Any], off: dict[str, Any]) -> None:
    assert found(changes), "on by default"
    assert found(changes, Validity.model_validate(off)) == []


def test_the_veto_can_be_switched_off_as_a_whole() -> None:
    spoiled = {"foreign_load_cores": 0.9, "major_faults": 34, "throttle_events": 3}
    assert len(found(spoiled)) == 3
    assert found(spoiled, Validity(enabled=False)) == []


@pytest.mark.parametrize(
    ("changes", "on", "sentence"),
    [
        (
            {"temperature_c": 97.0},
            {"max_temperature_c": 90},
            "the thermal zone x86_pkg_temp was at 97 °C (limit 90 °C)",
        ),
        (
            {"involuntary_switches": 500, "wall_s": 2.0},
            {"max_involuntary_switches_per_s": 100},
            "250 involuntary context switches a second while timing (limit 100)",
        ),
        (
            {"gpu": {**GPU, "throttle_reasons": ["sw_power_cap"]}},
            {"gpu_throttle_reasons": ["sw_power_cap"]},
            "the GPU was throttled: sw_power_cap",
        ),
    ],
)
def test_further_limits_can_be_switched_on(
    changes: dict[str, Any], on: dict[str, Any], sentence: str
) -> None:
    assert found(changes) == []
    assert found(changes, Validity.model_validate(on)) == [sentence]


def test_the_rounding_of_a_short_window_disturbs_nothing() -> None:
    """One tick of foreign work and one of steal in 60 ms."""
    short = {"wall_s": 0.06, "own_cpu_s": 0.06, "busy_s": 0.08, "steal_s": 0.01}
    short["run_queue_wait_s"] = 0.0
    assert found({**short, "foreign_load_cores": 0.3}) == []


def test_threads_that_wait_for_each_other_disturb_nothing() -> None:
    waiting = {"run_queue_wait_s": 2.0, "own_cpu_s": 2.0}
    assert found({**waiting, "busy_threads": 4}) == []
    assert len(found({**waiting, "busy_threads": 2})) == 1


def test_one_remedy_serves_two_disturbances() -> None:
    hot = {**QUIET, "throttle_events": 3, "firmware_throttling": ["throttled"]}
    assert len(disturbances(hot, Validity())) == 2
    once = {**QUIET, "throttle_events": 3}
    assert remedy([hot, QUIET, hot], Validity()) == remedy([once], Validity())


def test_launches_are_told_together_with_the_range_of_their_figures() -> None:
    steal = {"steal_s": 0.08, "busy_s": 1.52}
    traces = [
        {**QUIET, **steal, "foreign_load_cores": 0.551},
        {**QUIET, "foreign_load_cores": 0.48},
        {**QUIET, "foreign_load_cores": 12.3},
        QUIET,
    ]
    assert told_together(traces, Validity()) == (
        "foreign processes used 0.48 to 12 cores while timing (limit 0.25); the hypervisor "
        "withheld 5 % of the processor time while timing (limit 2 %)"
    )
    slow = [
        {**QUIET, "frequency_share": share, "cpu_mhz_min": 2400 * share} for share in (0.5, 0.6)
    ]
    assert told_together(slow, Validity()) == (
        "the processor's clock was at 1200 to 1440 MHz, 50 to 60 % of its base clock (limit 70 %)"
    )


def test_what_disturbed_most_launches_comes_first() -> None:
    traces = [
        {**QUIET, "foreign_load_cores": 0.9},
        *({**QUIET, "major_faults": faults} for faults in (120, 34)),
    ]
    first, _, second = told_together(traces, Validity()).partition("; ")
    assert first == "34 to 120 pages were read from disk while timing (limit 10)"
    assert second.startswith("foreign processes used 0.9 cores")


def test_names_from_outside_stay_names() -> None:
    assert found({"gpu": {**GPU, "foreign_processes": ["{0}"]}}) == [
        "1 other processes computed on the GPU: {0} (limit 0)"
    ]


def test_shares_of_all_and_of_nothing_are_whole_numbers() -> None:
    (sentence,) = found({"run_queue_wait_s": 1.0, "own_cpu_s": 0.0})
    assert "for 100 % of the time" in sentence


def test_no_limit_is_taken_that_means_nothing() -> None:
    for settings in ({"repeats": -1}, {"max_steal_share": 2}, {"gpu_throttle_reasons": ["x"]}):
        with pytest.raises(pydantic.ValidationError):
            Validity.model_validate(settings)


def test_the_page_gives_the_defaults() -> None:
    page = Path(__file__).parents[3] / "docs/validity.md"
    block = re.search(r"```yaml\n(validity:\n.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert block is not None
    given = YAML(typ="safe").load(block[1])["validity"]
    assert Validity.model_validate(given) == Validity()
    assert given.keys() == Validity.model_fields.keys()
