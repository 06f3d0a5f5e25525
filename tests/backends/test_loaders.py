"""The lines that ship with an artifact load it, and give what the session gives."""

from __future__ import annotations

import os
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import registry
from tests.backends import bare_loops
from tests.backends.test_bare_loops import BACKENDS, QUICK

HEAD = """\
from pathlib import Path

import numpy as np

EXTRA, OUTPUTS = {}, (0,)
"""

RUN = """
import runpy, sys
import numpy as np
infer = runpy.run_path(sys.argv[1])["infer"]
batches = np.load(sys.argv[2])
np.save(sys.argv[3], np.stack([np.array(infer(images), np.float32) for images in batches]))
"""

SESSION = """
import sys
import numpy as np
from pathlib import Path
from deploymark.backends.base import Artifact, LoadOptions
from deploymark.backends.registry import BUILTIN, resolve

name, file, images, output = sys.argv[1:]
batches = np.load(images)
options = LoadOptions("cpu", "fp32", 2, batches[0].shape)
session = resolve(BUILTIN[name]).load(Artifact(Path(file).parent, Path(file).name), options)
np.save(output, np.stack([session.infer(images).copy() for images in batches]))
"""


def written(name: str, entry: str) -> str:
    text = string.Template(HEAD + BACKENDS[name].loader)
    return text.substitute(entry=entry, device="cpu", precision="fp32", threads=2)


@pytest.mark.parametrize("name", [name for name in registry.BUILTIN if name != "tensorrt"])
def test_a_loader_is_python_of_a_few_lines(name: str) -> None:
    text = written(name, "model.file")
    compile(text, name, "exec")
    assert "def infer(images):" in text
    assert len(text.splitlines()) <= 40


@pytest.mark.heavy
@pytest.mark.parametrize("name", QUICK)
def test_the_loader_gives_what_the_session_gives(
    name: str, detector: Any, fresh_python: Any, tmp_path: Path
) -> None:
    artifact = BACKENDS[name].export(detector.request(tmp_path / "artifact"))
    loader = artifact.folder / "load.py"
    loader.write_text(written(name, artifact.entry))
    images = tmp_path / "images.npy"
    np.save(images, detector.images[:, None])
    outputs = [tmp_path / "loader.npy", tmp_path / "session.npy"]
    subprocess.run(
        [sys.executable, "-P", "-c", RUN, str(loader), str(images), str(outputs[0])],
        check=True,
        timeout=300,
        env=bare_loops.plain_environment(os.environ),
    )
    fresh_python(SESSION, name, str(artifact.path), str(images), str(outputs[1]))
    ours, theirs = (np.load(path) for path in outputs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
