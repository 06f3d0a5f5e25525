"""Every backend of the processor has a bare loop, and the two do the same work."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import registry
from tests.backends import bare_loops
from tests.backends.traits import TRAITS, Traits

pytestmark = pytest.mark.heavy

LOOPS_FILE = Path(bare_loops.__file__)

BACKENDS = {name: registry.resolve(spec) for name, spec in registry.BUILTIN.items()}
PROBES = {name: backend.probe() for name, backend in BACKENDS.items()}
ON_CPU = [
    name
    for name, probe in PROBES.items()
    if any(device == "cpu" and service.served for (device, _), service in probe.services.items())
]
"""Backends that serve the processor here."""

QUICK = [
    name
    for name in ON_CPU
    if PROBES[name].can_export
    and PROBES[name].service("cpu", "fp32").served
    and name in bare_loops.LOOPS
    and not TRAITS.get(name, Traits()).slow_export
]
"""Those that are exported here in seconds. ``tests/benchmarks/fidelity.py`` compares all, in every
precision, before it times them."""

SESSION = """
import json, sys
import numpy as np
from pathlib import Path
from deploymark.backends.base import Artifact, LoadOptions
from deploymark.backends.registry import BUILTIN, resolve

job = json.loads(sys.argv[1])
file, batches = Path(job["file"]), np.load(job["images"])
options = LoadOptions("cpu", job["precision"], job["threads"], batches[0].shape)
session = resolve(BUILTIN[job["backend"]]).load(Artifact(file.parent, file.name), options)
np.save(sys.argv[2], np.stack([session.infer(images).copy() for images in batches]))
"""


def talk(job: bare_loops.Job, *commands: dict[str, int]) -> list[dict[str, list[int]]]:
    """The answers of a bare loop's process."""
    lines = [json.dumps(message) for message in (dataclasses.asdict(job), *commands)]
    done = subprocess.run(
        [sys.executable, "-P", str(LOOPS_FILE)],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=bare_loops.plain_environment(os.environ),
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", ON_CPU)
def test_every_backend_of_the_processor_has_a_bare_loop(name: str) -> None:
    assert name in bare_loops.LOOPS, (
        f"{name} has no bare loop: write into {LOOPS_FILE.name} what its documentation has a user "
        "write to infer with the exported file at so many threads, with the page's address, and "
        "enter it in LOOPS. tests/benchmarks/fidelity.py then holds the harness to it."
    )


def test_each_loop_names_the_page_that_it_follows() -> None:
    for name, loop in bare_loops.LOOPS.items():
        assert "https://" in (loop.__doc__ or ""), name


def test_nothing_of_ours_is_imported_by_the_loops() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(LOOPS_FILE.parent)!r})\n"
        "import bare_loops\n"
        "print(*sorted(name.split('.')[0] for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=bare_loops.plain_environment(os.environ),
    )
    assert {"bench", "backends", "deploymark"}.isdisjoint(done.stdout.split())


def test_a_plain_environment_has_nothing_that_tunes_threads() -> None:
    given = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        "PATH": "x",
        "MKL_NUM_THREADS": "1",
    }
    given |= {"GOMP_SPINCOUNT": "0", "OPENBLAS_NUM_THREADS": "1", "DEPLOYMARK_CACHE": "y"}
    assert bare_loops.plain_environment(given) == {"PATH": "x"}


@pytest.mark.parametrize("name", QUICK)
def test_the_loop_predicts_what_the_session_does(
    name: str, detector: Any, fresh_python: Any, tmp_path: Path
) -> None:
    artifact = BACKENDS[name].export(detector.request(tmp_path / "artifact"))
    np.save(tmp_path / "images.npy", detector.images[:, None])
    job = bare_loops.Job(
        backend=name,
        file=str(artifact.path),
        threads=2,
        precision="fp32",
        images=str(tmp_path / "images.npy"),
        warmup_s=0.0,
        output=str(tmp_path / "loop.npy"),
    )
    ready, burst = talk(job, {"iterations": 3})
    assert len(ready["latency_ns"]) == len(detector.images)
    assert len(burst["latency_ns"]) == 3
    assert min(burst["latency_ns"]) > 0

    fresh_python(SESSION, json.dumps(dataclasses.asdict(job)), str(tmp_path / "session.npy"))
    loop, session = np.load(tmp_path / "loop.npy"), np.load(tmp_path / "session.npy")
    assert loop.shape == session.shape
    np.testing.assert_allclose(loop, session, rtol=1e-4, atol=1e-4)
