"""Schedulers, Dask workers, SSH servers and certificates of tests, all on the loopback."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

MATRIX = """
models:
  - {path: builtin:digits, data: builtin:digits}
imgsz: [64]
backends: [onnxruntime]
precisions: [fp32]
threads: [1]
scoring: {max_images: 3}
measure:
  {launches: 2, memory_launches: 0, target_interval: null, warmup_max_s: 0.1, latency_s: %s,
   min_iterations: 2, e2e_iterations: 0, until: all}
validity: {enabled: false}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Fleet:
    """A scheduler and Dask workers, each in a folder of its own; killed at the end."""

    def __init__(self, folder: Path, tls: Sequence[str] = ()) -> None:
        self.folder, self.tls = folder, list(tls)
        scheme = "tls" if tls else "tcp"
        self.port = free_port()
        self.address = f"{scheme}://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, *command: str, python: str = sys.executable, profiled: bool = False
    ) -> None:
        place = self.folder / name
        place.mkdir(exist_ok=True)
        with (place / "log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [python, "-m", *command, *self.tls],
                cwd=place,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    "DEPLOYMARK_CACHE": str(place / "cache"),
                    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": str(profiled),
                },
            )

    def scheduler(self) -> None:
        listen = ["--host", self.address.replace(f":{self.port}", "")]
        self.start(
            "scheduler",
            "distributed.cli.dask_scheduler",
            *listen,
            "--port",
            str(self.port),
            "--no-dashboard",
        )

    def worker(
        self, name: str, resource: str = "deploymark=1", python: str = sys.executable
    ) -> None:
        self.start(
            name,
            "distributed.cli.dask_worker",
            self.address,
            "--no-nanny",
            "--no-dashboard",
            "--nthreads",
            "1",
            "--name",
            name,
            *(["--resources", resource] if resource else []),
            python=python,
        )

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def log(self, name: str) -> str:
        return (self.folder / name / "log").read_text()

    def end(self) -> None:
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def at_work(folder: Path) -> list[str]:
    """Agents and measured workers that run below a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if "fleet.agent" not in words and "worker.main" not in words:
                continue
            if str(folder) in process.environ().get("DEPLOYMARK_CACHE", ""):
                found.append(words)
    return found


def wait_until(what: Any, timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < until, "it takes too long"
        time.sleep(0.05)


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """An authority's certificate, one that it signed for this host, and the key of that."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = dt.datetime.now(dt.UTC)

    def signed(name: str, key: Any, issuer: str, by: Any, *, authority: bool) -> Any:
        def of(text: str) -> Any:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(of(name))
            .issuer_name(of(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
            .sign(by, hashes.SHA256())
        )

    folder.mkdir()
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    files = folder / "ca.pem", folder / "host.pem", folder / "host.key"
    encoding = serialization.Encoding.PEM
    files[0].write_bytes(signed("ca", ca_key, "ca", ca_key, authority=True).public_bytes(encoding))
    files[1].write_bytes(signed("host", key, "ca", ca_key, authority=False).public_bytes(encoding))
    files[2].write_bytes(
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[dict[str, Any]]:
    """An SSH server on the loopback, whose users live in ``folder``; what hosts.yaml says of it."""
    folder.mkdir()
    server = Path(__file__).with_name("ssh_server.py")
    with subprocess.Popen(
        [sys.executable, str(server), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield {**json.loads(process.stdout.readline()), "python": sys.executable}
        finally:
            process.kill()
