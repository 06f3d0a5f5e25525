"""The device's side, in this process: files by hash, and the agent from the source that is sent."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from deploymark.bench.fleet import device
from deploymark.bench.fleet.contents import source


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def send(data: bytes, pieces: int = 1) -> None:
    step = len(data) // pieces + 1
    offset = 0
    while offset >= 0:
        piece = data[offset : offset + step]
        offset = device.put(sha256(data), offset, piece, len(data))


def send_source() -> None:
    for name in device.missing(source().files):
        send(source().places[name].read_bytes())


def test_a_file_is_pulled_once_and_again_where_it_was_changed() -> None:
    data = b"weights" * 1000
    files = {"a/model.onnx": (sha256(data), len(data)), "b.onnx": (sha256(data), len(data))}
    assert device.missing(files) == [sha256(data)]
    send(data, pieces=3)
    assert device.missing(files) == []
    folder = device._folder(files)
    assert (folder / "a" / "model.onnx").read_bytes() == (folder / "b.onnx").read_bytes() == data
    (folder / "b.onnx").write_bytes(b"x" * len(data))  # hard links: the pulled file is the same
    assert device.missing(files) == [sha256(data)]
    send(data)
    assert (device._folder(files) / "b.onnx").read_bytes() == data


def test_a_piece_out_of_place_says_where_to_go_on() -> None:
    data = b"0123456789"
    name = sha256(data)
    assert device.put(name, 0, data[:4], len(data)) == 4
    assert device.put(name, 8, data[8:], len(data)) == 4
    assert device.put(name, 4, data[4:], len(data)) == -1
    assert device.put(name, 0, data, len(data)) == -1


def test_what_is_not_what_its_hash_says_is_not_kept() -> None:
    assert device.put(sha256(b"right"), 0, b"wrong", 5) == 0
    assert device.missing({"a": (sha256(b"right"), 5)})


@pytest.mark.parametrize("path", ["../a", "/a", "a/../../b", "a\\b", "C:/a", "a//b"])
def test_a_path_cannot_leave_its_folder(path: str) -> None:
    send(b"x")
    with pytest.raises(ValueError, match="leaves its folder"):
        device._folder({path: (sha256(b"x"), 1)})
    assert not [item for item in device.cache_folder().rglob("*") if item.name in {"a", "b"}]


def perform(call: dict[str, Any]) -> dict[str, Any]:
    request = {"source": source().files, "files": {}, "call": call, "timeout_s": 60.0}
    return device.perform(request)


def test_the_agent_is_sent_and_says_what_the_device_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_wanted", lambda: lambda: True)
    call = {"kind": "about", "packages": ["numpy", "no-such-package"]}
    lacking = perform(call)
    assert set(lacking["missing"]) == set(source().places)
    send_source()
    reply = perform(call)
    assert reply["code"] == 0, reply["log"]
    assert reply["message"]["event"] == "result"
    assert reply["message"]["machine"]["cores_usable"] >= 1
    assert set(reply["message"]["packages"]) == {"numpy"}
    assert not list((device.cache_folder() / "scratch").iterdir())


def test_an_agent_that_nobody_waits_for_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(device, "_wanted", lambda: lambda: False)
    monkeypatch.setattr(device, "_LOOK_S", 0.01)
    send_source()
    assert perform({"kind": "about", "packages": []}) == {"unwanted": True}


def test_dask_s_own_environment_is_no_part_of_a_measurement(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "OMP_NUM_THREADS": "1",
        "DASK_PARENT": "tcp://127.0.0.1:1",
        "KMP_AFFINITY": "compact",
    }.items():
        monkeypatch.setenv(name, value)
    found = device._environment(tmp_path, tmp_path)
    assert not {"MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS", "DASK_PARENT"} & found.keys()
    assert found["KMP_AFFINITY"] == "compact"
    assert found["PYTHONPATH"] == str(tmp_path)
