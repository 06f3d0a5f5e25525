from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploymark.backends import opencv, packages
from deploymark.backends.base import Artifact, Detector, LoadError, LoadOptions, UnsupportedError
from deploymark.backends.layout import OutputSpec
from deploymark.backends.onnx.graph import quiet
from tests.backends import one_to_one

BACKEND = opencv.OpenCvBackend()

DUMP = """{
   model_format: "ONNX",
   main_graph: {
      inputs: [
         "images" // <Input> CV_32FC1 [1 x 3 x 64 x 64]
      ],
      layers: [
         // op #0
         Conv2 {
            name: "/model.0/conv/Conv",
            inputs: [
               "images" // <Input> CV_32FC1 [1 x 3 x 64 x 64]
            ],
            outputs: [
               "a" // <Temp> CV_32FC1 BLOCK [1 x 2 x 32 x 32 x 8] (buf #1)
            ],
         },
         // op #1
         Cast2 {
            name: "cast",
            inputs: [
               "a" // <Temp> CV_64SC1 [1] (buf #1)
            ],
            outputs: [
               "b" // <Output> CV_32FC1 [1]
            ],
         },
         // op #2
         Conv2 {
            name: "half",
            inputs: [
               "weight" // <Const> CV_32FC1 [1]
               "b" // <Temp> CV_16BFC1 [1]
            ],
         },
      ],
   }
}"""


def options(**given: Any) -> LoadOptions:
    return LoadOptions("cpu", "fp32", 1, (1, 3, 64, 64), given)


def test_every_option_has_a_default() -> None:
    backend = opencv.OpenCvBackend()
    assert backend.resolve_runtime_options(options()) == {"engine": "new", "winograd": True}
    given = {"engine": "classic", "winograd": False}
    assert backend.resolve_runtime_options(options(**given)) == given


@pytest.mark.parametrize("given", [{"engines": "new"}, {"engine": "auto"}, {"winograd": 1}])
def test_other_options_are_refused(given: Mapping[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=next(iter(given))):
        opencv.OpenCvBackend().resolve_runtime_options(options(**given))


def test_layers_are_counted_by_the_type_of_what_they_read() -> None:
    assert opencv.layers(DUMP) == {"Cast2:i64": 1, "Conv2:bf16": 1, "Conv2:f32": 1}


@pytest.mark.parametrize(("version", "installed"), [("5.0.0", True), ("4.13.0.92", False)])
def test_it_takes_the_version_with_two_engines(
    monkeypatch: pytest.MonkeyPatch, version: str, *, installed: bool
) -> None:
    monkeypatch.setattr(packages, "installed_version", lambda *names: version)
    monkeypatch.setattr(packages, "missing", lambda names: ())
    probe = BACKEND.probe()
    assert probe.installed is installed
    assert bool(probe.reason) is not installed


@pytest.fixture(scope="module")
def exported(detector: Any, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    pytest.importorskip("cv2")
    return BACKEND.export(detector.request(tmp_path_factory.mktemp("opencv")))


@pytest.mark.heavy
@pytest.mark.parametrize("engine", opencv.ENGINES)
@pytest.mark.parametrize("winograd", [True, False])
def test_both_engines_give_what_the_model_gives(
    detector: Any, exported: Artifact, engine: str, *, winograd: bool
) -> None:
    session = BACKEND.load(exported, options(engine=engine, winograd=winograd))
    found = session.infer(detector.images[:1])
    np.testing.assert_allclose(found, detector.expected[:1], atol=2e-3)
    executed = session.executed_precision()
    # The classic engine does not tell, and says so.
    assert bool(executed.layers) is (engine == "new")
    assert bool(executed.reason) is (engine == "classic")


@pytest.mark.heavy
def test_the_classic_engine_refuses_another_shape_alike(exported: Artifact) -> None:
    wider = dataclasses.replace(options(engine="classic"), input_shape=(1, 3, 96, 96))
    with pytest.raises(LoadError, match=r"\(1, 3, 64, 64\), not \(1, 3, 96, 96\)"):
        BACKEND.load(exported, wider)


@pytest.mark.heavy
def test_a_file_made_elsewhere_describes_itself_and_runs(detector: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("cv2")
    path = tmp_path / "yolo.onnx"
    with quiet():
        torch.onnx.export(
            detector.model(),
            (torch.zeros(1, 3, 64, 64),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "batch", 2: "height", 3: "width"}},
        )
    model = onnx.load(path)
    onnx.helper.set_model_props(
        model, {"names": "{0: 'a', 1: 'b', 2: 'c'}", "stride": "32", "task": "detect"}
    )
    onnx.save(model, path)
    facts = BACKEND.describe(path)
    assert facts.input_shape == (None, 3, None, None)
    assert facts.names == ("a", "b", "c")
    assert (facts.output.layout, facts.precision) == ("anchors", "fp32")
    shape = (2, 3, 64, 64)
    session = BACKEND.load(facts.artifact, dataclasses.replace(options(), input_shape=shape))
    np.testing.assert_allclose(session.infer(detector.images), detector.expected, atol=2e-3)


@pytest.mark.heavy
def test_float16_images_are_refused(detector: Any, exported: Artifact, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(exported.path)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, tmp_path / "half.onnx")
    with pytest.raises(LoadError, match="float32 image"):
        BACKEND.load(Artifact(tmp_path, "half.onnx"), options())


@pytest.mark.heavy
def test_what_an_engine_cannot_run_is_a_load_error(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("cv2")
    image = onnx.helper.make_tensor_value_info("x", 1, [1, 3, 64, 64])
    out = onnx.helper.make_tensor_value_info("y", 1, [1, 7, 84])
    node = onnx.helper.make_node("NoSuchOperator", ["x"], ["y"], domain="made.up")
    graph = onnx.helper.make_graph([node], "main_graph", [image], [out])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    with pytest.raises(LoadError, match=r"model\.onnx"):
        BACKEND.load(Artifact(tmp_path, "model.onnx"), options()).infer(
            np.zeros((1, 3, 64, 64), "f4")
        )


@pytest.mark.heavy
def test_a_one_to_one_head_is_exported_and_run(detector: Any, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    torch = pytest.importorskip("torch")
    known = Detector(("a", "b", "c"), output=OutputSpec("detections"))
    artifact = BACKEND.export(detector.request(tmp_path, model=one_to_one.network, detector=known))
    found = BACKEND.load(artifact, options()).infer(detector.images[:1])
    expected = one_to_one.network()(torch.from_numpy(detector.images[:1])).detach().numpy()
    assert found.shape == (1, one_to_one.BEST, 6)
    np.testing.assert_allclose(found, expected, atol=1e-5)
