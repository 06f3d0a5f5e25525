from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploymark.bench.history.past_runs import machine_id, machine_name, machine_settings
from tests.run_series import MACHINE


def same(**changes: Any) -> bool:
    ours, other = machine_settings(MACHINE), machine_settings(MACHINE | changes)
    return machine_id(ours) == machine_id(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "two"},
        {"os": "Linux 6.2"},
        {"python": "3.12"},
        {"memory_bytes": (8 << 30) - (20 << 20)},
        {"gpus": ["Some GPU, 560.7, 8192 MiB"]},
        {"cpu_flags": ["aes", "avx2", "rfds_clear"]},
    ],
)
def test_updates_are_no_other_machine(changes: dict[str, Any]) -> None:
    assert same(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"cpu": "Another"},
        {"cores_usable": 2},
        {"memory_bytes": 16 << 30},
        {"gpus": ["Another GPU, 550.1, 8192 MiB"]},
        {"gpus": []},
        {"cpu_flags": ["aes"]},
        {"governor": "powersave"},
        {"cgroup_cpu_max": "100000 100000"},
        {"os": "Darwin 25"},
    ],
)
def test_other_hardware_or_settings_are_another_machine(changes: dict[str, Any]) -> None:
    assert not same(**changes)


ODD = st.sampled_from([None, "", "x", 3, -1.5, float("nan"), float("inf"), True, [], [1, "a"], {}])


@given(st.dictionaries(st.sampled_from([*MACHINE, "smt"]), ODD))
def test_any_fingerprint_has_an_id_and_a_name(machine: dict[str, Any]) -> None:
    settings = machine_settings(machine, by_host=True)
    assert len(machine_id(settings)) == 8
    assert machine_name(settings)
