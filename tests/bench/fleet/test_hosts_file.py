from __future__ import annotations

from pathlib import Path

import pytest

from deploymark.bench.errors import BadInputError
from deploymark.bench.fleet.hosts_file import read_hosts


def hosts(folder: Path, text: str) -> Path:
    file = folder / "hosts.yaml"
    file.write_text(text)
    return file


def test_paths_of_keys_are_relative_to_the_file(tmp_path: Path) -> None:
    file = hosts(tmp_path, "hosts:\n  - {name: nano-1, address: 10.0.0.7, key: keys/id}\n")
    (host,) = read_hosts(file)
    assert (host.name, host.port, host.python) == ("nano-1", 22, "python3")
    assert host.key == str(tmp_path / "keys" / "id")
    assert host.known_hosts is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hosts: []\n", ":1:1: hosts: "),
        ("hosts:\n  - {name: a}\n", "missing key 'address'"),
        ("hosts:\n  - {name: a, address: b, usr: c}\n", "did you mean 'user'"),
        ("hosts:\n  - {name: ../a, address: b}\n", ":2:6: hosts[0].name"),
        ("hosts:\n  - {name: a, address: b, folder: ~/x}\n", "hosts[0].folder"),
        ("hosts:\n  - {name: a, address: b}\n  - {name: a, address: c}\n", "two hosts are named"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_hosts(hosts(tmp_path, text))
    assert said in str(caught.value)
    assert "hosts.yaml:" in str(caught.value)
