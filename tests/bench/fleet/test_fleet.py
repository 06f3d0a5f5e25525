"""A fleet on the loopback, through the command line: over TLS, over SSH, and with parts killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.errors import FleetError
from deploymark.bench.fleet.knock import Tls, knock
from deploymark.reports.several.page import MARK
from tests.fleets import MATRIX, Fleet, at_work, certificates, ssh_server, wait_until

pytest.importorskip("asyncssh")
pytest.importorskip("distributed")

pytestmark = [pytest.mark.heavy, pytest.mark.real]

CELL = "digits-dense-fp32-onnxruntime-cpu-64-t1"


def command(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deploymark", *words],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "DEPLOYMARK_CACHE": str(folder / "cache")},
    )


def deploymark(folder: Path, *words: str) -> tuple[int, str]:
    with command(folder, *words) as process:
        said, _ = process.communicate(timeout=300)
    return process.returncode, said


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cell whose launches take about two seconds."""
    pytest.importorskip("ultralytics")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("fleet-bundle")
    (folder / "m.yaml").write_text(MATRIX % 1.5)
    code, said = deploymark(folder, "bundle", "m.yaml", "-o", "d.dmb")
    assert code == 0, said
    return folder / "d.dmb"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[dict[str, Any]]:
    with ssh_server(tmp_path / "ssh") as told:
        yield told


def hosts_file(folder: Path, *hosts: dict[str, Any]) -> str:
    file = folder / "hosts.yaml"
    rows = [{key: value for key, value in host.items() if key != "home"} for host in hosts]
    file.write_text(json.dumps({"hosts": rows}))
    return str(file)


def lines(run: Path) -> list[dict[str, Any]]:
    file = run / "launches.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def the_run(folder: Path) -> Path:
    return next((folder / "results").glob("2*"), folder)


def test_devices_over_tls_that_are_killed_and_a_driver_that_is(
    bundle: Path, tmp_path: Path
) -> None:
    ca, cert, key = certificates(tmp_path / "tls")
    dask = ["--tls-ca-file", str(ca), "--tls-cert", str(cert), "--tls-key", str(key)]
    ours = ["--tls-ca", str(ca), "--tls-cert", str(cert), "--tls-key", str(key)]
    fleet = Fleet(tmp_path, dask)
    try:
        fleet.scheduler()
        fleet.worker("a")
        fleet.worker("b")
        fleet.worker("other", resource="")
        wait_until(lambda: "Register worker addr" in fleet.log("scheduler"))

        strange = [str(file) for file in certificates(tmp_path / "strange")]
        knock(fleet.address, Tls(str(ca), str(cert), str(key)))
        with pytest.raises(FleetError, match="the certificates do not fit"):
            knock(fleet.address, Tls(strange[0], str(cert), str(key)))
        with pytest.raises(FleetError, match="the scheduler refuses"):
            knock(fleet.address, Tls(str(ca), strange[1], strange[2]))

        wait_until(lambda: fleet.log("scheduler").count("Register worker addr") == 3)
        begun = command(tmp_path, "fleet", str(bundle), "--scheduler", fleet.address, *ours)
        wait_until(lambda: the_run(tmp_path) != tmp_path)
        wait_until(lambda: len(at_work(tmp_path / "b")) == 2)
        fleet.kill("b")
        wait_until(lambda: not at_work(tmp_path / "b"), 30)
        wait_until(lambda: len(lines(the_run(tmp_path))) >= 1)
        begun.kill()
        begun.communicate()
        wait_until(lambda: not at_work(tmp_path), 30)

        run = the_run(tmp_path)
        before = lines(run)
        fleet.worker("b")
        wait_until(lambda: fleet.log("scheduler").count("Register worker addr") == 4)
        code, said = deploymark(
            tmp_path, "fleet", "--resume", str(run), "--scheduler", fleet.address, *ours
        )
        assert code == 0, said
        after = lines(run)
        assert after[: len(before)] == before
        assert sorted((item["machine"], item["launch"]) for item in after) == [
            ("a", 0), ("a", 1), ("b", 0), ("b", 1),
        ]  # fmt: skip
        rows = json.loads((run / "cells.json").read_text())
        assert [(row["machine"], row["cell"], row["status"]) for row in rows] == [
            ("a", CELL, "ok"),
            ("b", CELL, "ok"),
        ]
        assert set(json.loads((run / "run.json").read_text())["machines"]) == {"a", "b"}
        for name in ("a", "b"):
            part = run / "machines" / name
            (own,) = json.loads((part / "cells.json").read_text())
            assert own["map50_95"] is not None
            assert (part / "report.html").is_file()
        assert MARK in (run / "report.html").read_text()
        assert not at_work(tmp_path)
    finally:
        fleet.end()


def test_workers_are_started_over_ssh(bundle: Path, host: dict[str, Any], tmp_path: Path) -> None:
    file = hosts_file(tmp_path, {"name": "board", **host})
    code, said = deploymark(tmp_path, "fleet", str(bundle), "--hosts", file)
    assert code == 0, said
    (row,) = json.loads((the_run(tmp_path) / "cells.json").read_text())
    assert (row["machine"], row["status"], row["launches"]) == ("board", "ok", 2)
    assert not at_work(Path(host["home"]))


def test_a_host_without_dask_is_collected_from(
    bundle: Path, host: dict[str, Any], tmp_path: Path
) -> None:
    unreachable = {**host, "name": "gone", "port": 1}
    file = hosts_file(tmp_path, {"name": "board", **host}, unreachable)
    code, said = deploymark(tmp_path, "fleet", str(bundle), "--collect", "--hosts", file)
    assert code == 1, said
    assert "gone: SSH to 127.0.0.1 port 1 fails" in said
    (run,) = (tmp_path / "results").glob("2*-board")
    (row,) = json.loads((run / "cells.json").read_text())
    assert row["status"] == "ok"
    assert (run / "report.html").is_file()
    assert not list(Path(host["home"], "deploymark-fleet").glob("run-*"))
