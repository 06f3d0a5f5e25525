from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import base, iree, packages
from deploymark.backends.iree import compile as iree_compile
from deploymark.backends.iree import files as iree_files
from deploymark.backends.layout import OutputSpec
from tests.backends import one_to_one

BACKEND = iree.IreeBackend()
NAMED = {"target_cpu": "x86-64-v3", "target_features": "", "opt_level": "O3"}


def options(threads: int = 1, **given: Any) -> base.LoadOptions:
    return base.LoadOptions("cpu", "fp32", threads, (1, 3, 64, 64), given)


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ({"target_cpu": "x86-64-v3"}, NAMED),
        ({"target_cpu": "x86-64-v3", "opt_level": "O2"}, NAMED | {"opt_level": "O2"}),
        (
            {"target_cpu": "x86-64-v3", "target_features": "+gfni,-fma"},
            NAMED | {"target_features": "+gfni,-fma"},
        ),
    ],
)
def test_a_named_processor_stays_as_it_is(
    given: Mapping[str, str], resolved: Mapping[str, str]
) -> None:
    assert BACKEND.resolve_options("fp32", given) == resolved


@pytest.mark.parametrize(
    "given",
    [
        {"target": "host"},
        {"target_cpu": 4},
        {"target_cpu": "a b"},
        {"target_features": "+gfni"},
        {"target_cpu": "x86-64-v3", "opt_level": "O9"},
    ],
)
def test_other_export_options_are_refused(given: Mapping[str, Any]) -> None:
    with pytest.raises(base.UnsupportedError, match=list(given)[-1]):
        BACKEND.resolve_options("fp32", given)


def test_the_host_cannot_be_named_without_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "installed_version", lambda *names: None)
    iree_compile.host_target.cache_clear()
    with pytest.raises(base.UnavailableError, match="compiler") as caught:
        BACKEND.resolve_options("fp32", {})
    assert "target_cpu" in caught.value.remedy


def test_the_runtime_alone_cannot_export(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"iree-base-runtime": "3.13.0"}
    monkeypatch.setattr(packages, "installed_version", versions.get)
    probe = BACKEND.probe()
    assert probe.installed
    assert not probe.can_export
    assert "iree-base-compiler" in probe.reason
    versions.clear()
    assert not BACKEND.probe().installed


@pytest.mark.parametrize(
    ("threads", "given"),
    [(1, {"drivers": "x"}), (1, {"driver": "cuda"}), (2, {"driver": "local-sync"})],
)
def test_other_drivers_are_refused(threads: int, given: Mapping[str, str]) -> None:
    with pytest.raises(base.UnsupportedError, match=next(iter(given))):
        BACKEND.resolve_runtime_options(options(threads, **given))


def test_dispatches_are_counted_by_operation_and_type() -> None:
    names = {
        "main_graph$async_dispatch_0_slow_memcpy": 2,
        "main_graph$async_dispatch_1_conv_16x32x32x3x3x3_f32": 1,
        "main_graph$async_dispatch_2_conv_2x2x128x3x3_f32": 3,
        "main_graph$async_dispatch_3_softmax_2x4x4xf32_dispatch_tensor_store": 1,
        "main_graph$async_dispatch_4_matmul_like_4x64x64_i8xi8xi32": 1,
    }
    rows: list[dict[str, object]] = [{"type": "dispatch_summary"}]
    rows += [{"type": "host_dispatch_group", "key": key, "count": n} for key, n in names.items()]
    assert iree.layers("\n".join(json.dumps(row) for row in rows)) == {
        "conv:f32": 4,
        "matmul_like:i8": 1,
        "slow_memcpy:-": 2,
        "softmax:f32": 1,
    }


@pytest.fixture(scope="module")
def exported(detector: Any, tmp_path_factory: pytest.TempPathFactory) -> base.Artifact:
    """A small network, as its compilation takes a second."""
    pytest.importorskip("iree.compiler")
    known = base.Detector(("a", "b", "c"), output=OutputSpec("detections"))
    folder = tmp_path_factory.mktemp("iree")
    return BACKEND.export(detector.request(folder, model=one_to_one.network, detector=known))


@pytest.mark.heavy
def test_the_host_has_a_name() -> None:
    pytest.importorskip("iree.compiler")
    iree_compile.host_target.cache_clear()
    resolved = BACKEND.resolve_options("fp32", {})
    assert resolved["target_cpu"] not in ("", "host", "generic")
    cpu, features = iree_compile.target_features("host", "")
    assert resolved["target_cpu"] == cpu
    # The name and the difference give what the host gives.
    named = iree_compile.target_features(cpu, resolved["target_features"])
    assert named == (cpu, features)


@pytest.mark.heavy
@pytest.mark.parametrize("driver", iree.DRIVERS)
def test_a_one_to_one_head_is_exported_and_run(
    detector: Any, exported: base.Artifact, driver: str
) -> None:
    torch = pytest.importorskip("torch")
    session = BACKEND.load(exported, options(driver=driver))
    expected = one_to_one.network()(torch.from_numpy(detector.images[:1])).detach().numpy()
    np.testing.assert_allclose(session.infer(detector.images[:1]), expected, atol=1e-5)
    executed = session.executed_precision()
    assert {key.rpartition(":")[2] for key in executed.layers} >= {"f32"}
    assert executed.source


@pytest.mark.heavy
def test_a_process_keeps_the_threads_it_began_with(
    exported: base.Artifact, fresh_python: Callable[..., str]
) -> None:
    printed = fresh_python(
        "import sys\n"
        "from pathlib import Path\n"
        "from deploymark.backends.base import Artifact, LoadOptions, UnavailableError\n"
        "from deploymark.backends.iree import IreeBackend\n"
        "artifact = Artifact(Path(sys.argv[1]), 'model.vmfb')\n"
        "for threads in (2, 2, 1):\n"
        "    given = LoadOptions('cpu', 'fp32', threads, (1, 3, 64, 64))\n"
        "    try:\n"
        "        IreeBackend().load(artifact, given)\n"
        "    except UnavailableError as error:\n"
        "        print(threads, error.message)\n",
        str(exported.folder),
    )
    assert printed == "1 IREE's pool of this process has 2 threads already, not 1\n"


def edited(artifact: base.Artifact, folder: Path, **changes: Any) -> base.Artifact:
    """The artifact with another note beside it."""
    shutil.copytree(artifact.folder, folder)
    note = folder / iree_files.FACTS_FILE
    note.write_text(json.dumps(json.loads(note.read_text()) | changes))
    return base.Artifact(folder, artifact.entry)


@pytest.mark.heavy
def test_a_module_for_another_processor_is_not_run(exported: base.Artifact, tmp_path: Path) -> None:
    rows = [line.split() for line in iree._tool(iree._tools() / "iree-cpuinfo").splitlines()]
    absent = [row[0] for row in rows if row[1] == "0"]
    if not absent:
        pytest.skip("this processor has every feature there is")
    other = edited(exported, tmp_path / "other", target_cpu="future", features=absent[:1])
    with pytest.raises(
        base.UnavailableError, match=f"future, and this processor lacks its {absent[0]}"
    ):
        BACKEND.load(other, options())


@pytest.mark.heavy
def test_a_changed_byte_is_found(exported: base.Artifact, tmp_path: Path) -> None:
    damaged = edited(exported, tmp_path / "damaged")
    data = bytearray(damaged.path.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.path.write_bytes(data)
    with pytest.raises(base.LoadError, match=r"model\.vmfb is damaged"):
        BACKEND.load(damaged, options())


@pytest.mark.heavy
@pytest.mark.parametrize("note", ["", "{}", '{"input_shape": 3, "target_cpu": "", "features": []}'])
def test_a_broken_note_is_a_load_error(exported: base.Artifact, tmp_path: Path, note: str) -> None:
    broken = edited(exported, tmp_path / "broken")
    (broken.folder / iree_files.FACTS_FILE).write_text(note)
    with pytest.raises(base.LoadError, match=r"model\.json is no note"):
        BACKEND.load(broken, options())


@pytest.mark.heavy
def test_a_processor_that_llvm_does_not_know_is_an_export_error(
    detector: Any, tmp_path: Path
) -> None:
    pytest.importorskip("iree.compiler")
    given = {"target_cpu": "no-such-cpu"}
    request = detector.request(tmp_path, model=one_to_one.network, options=given)
    with pytest.raises(base.ExportError, match="IREE"):
        BACKEND.export(request)


@pytest.mark.heavy
def test_sessions_end_while_their_threads_are_still_at_work(
    detector: Any, exported: base.Artifact, tmp_path: Path, fresh_python: Callable[..., str]
) -> None:
    # Without the order of ``IreeSession.__del__`` some of these would wait for ever.
    np.save(tmp_path / "images.npy", detector.images[:1])
    printed = fresh_python(
        "import faulthandler, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from deploymark.backends.base import Artifact, LoadOptions\n"
        "from deploymark.backends.iree import IreeBackend\n"
        "faulthandler.dump_traceback_later(120, exit=True)\n"
        "images = np.load(sys.argv[2])\n"
        "given = LoadOptions('cpu', 'fp32', 2, images.shape)\n"
        "for _ in range(100):\n"
        "    session = IreeBackend().load(Artifact(Path(sys.argv[1]), 'model.vmfb'), given)\n"
        "    session.infer(images)\n"
        "    del session\n"
        "print('ended')\n",
        str(exported.folder),
        str(tmp_path / "images.npy"),
    )
    assert printed == "ended\n"
