from __future__ import annotations

from pathlib import Path

from deploymark.bench.doctor.meters import meter_findings
from tests.trees import write_tree


def test_a_machine_without_a_meter_is_told_what_would_bring_one(tmp_path: Path) -> None:
    roots = dict.fromkeys(("powercap", "hwmon", "power_supply"), str(tmp_path))
    found = meter_findings(roots)
    assert {finding.what for finding in found} == {"energy"}
    assert {finding.state for finding in found} == {"note"}
    assert found[0].text.startswith("not measured: there is no meter")
    told = " ".join(finding.text for finding in found)
    assert told.count("there is no RAPL counter") == 1
    assert "energy.meter of a matrix" in found[0].remedy
    assert any("intel_rapl_msr" in finding.remedy for finding in found)


def test_a_meter_is_named_with_what_it_sees(tmp_path: Path) -> None:
    write_tree(
        tmp_path,
        {
            "powercap/intel-rapl:0/name": "package-0\n",
            "powercap/intel-rapl:0/energy_uj": "5\n",
            "powercap/intel-rapl:0/max_energy_range_uj": "262143328850\n",
        },
    )
    roots = dict.fromkeys(("hwmon", "power_supply"), str(tmp_path / "none"))
    found = meter_findings({**roots, "powercap": str(tmp_path / "powercap")})
    told = [finding.text for finding in found]
    assert "RAPL package-0: counter, sees the package; it did not move in some seconds" in told
