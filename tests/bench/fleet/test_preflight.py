from __future__ import annotations

import pytest

from deploymark.bench.errors import BadInputError, FleetError
from deploymark.bench.fleet.knock import Tls, knock
from deploymark.bench.fleet.preflight import check_tls, check_versions, open_warning
from deploymark.bench.fleet.roster import clean_name
from tests.fleets import free_port


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:8786", "tcp://[::1]:8786", "tcp://localhost:1", "tls://bench:8786"]
)
def test_what_nobody_else_can_use_is_not_warned_of(address: str) -> None:
    assert not open_warning(address)


@pytest.mark.parametrize("address", ["tcp://10.0.0.5:8786", "tcp://bench:8786"])
def test_a_scheduler_that_is_open_to_a_network_is(address: str) -> None:
    assert "whoever reaches it runs code on every device" in open_warning(address)


def test_certificates_come_in_threes_and_with_tls() -> None:
    check_tls("tls://a:1", "ca", "cert", "key")
    check_tls("tcp://a:1", None, None, None)
    with pytest.raises(BadInputError, match="three files"):
        check_tls("tls://a:1", "ca", None, None)
    with pytest.raises(BadInputError, match="begins with tls://"):
        check_tls("tcp://a:1", "ca", "cert", "key")
    with pytest.raises(BadInputError, match="is behind TLS"):
        check_tls("tls://a:1", None, None, None)


def test_nobody_answers() -> None:
    with pytest.raises(FleetError, match="no scheduler answers"):
        knock(f"tcp://127.0.0.1:{free_port()}", Tls())
    for address in ("tcp://", "http://a:1", "tcp://a:port"):
        with pytest.raises(BadInputError, match="is no address of a scheduler"):
            knock(address, Tls())


def test_certificates_that_cannot_be_read() -> None:
    with pytest.raises(BadInputError, match="the certificates cannot be used"):
        knock("tls://127.0.0.1:1", Tls("no.pem", "no.pem", "no.key"))


def test_other_versions_of_dask_are_told() -> None:
    def side(version: str) -> dict[str, dict[str, str]]:
        return {"packages": {"distributed": version}}

    versions = {"client": side("2026.8.0"), "workers": {"a": side("2026.8.0"), "b": side("2025.1")}}
    assert check_versions(versions) == ["b has distributed 2025.1, this machine has 2026.8.0"]


@pytest.mark.parametrize(
    ("given", "name"), [("nano 1", "nano_1"), ("../a", "a"), ("…", "device"), ("x" * 99, "x" * 40)]
)
def test_names_fit_into_names_of_files(given: str, name: str) -> None:
    assert clean_name(given) == name
