"""What files really are, told from their bytes."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploymark.backends.file_kind import kind_of, misfit, seen
from deploymark.backends.pickled import held_in_archive, held_in_pickle

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 10544418\n"


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, kind)
    return stream.getvalue()


def zipped(**entries: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("best.pt"))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words", "remedy"),
    [
        (b"", "an empty file", "Fetch it again"),
        (b"\n<!DOCTYPE HTML><p>404</p>", "a web page (HTML)", "Fetch it again"),
        (b"<html><body>sign in</body></html>", "a web page (HTML)", "Fetch it again"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document", "Fe"),
        (LFS, "a pointer of Git LFS", "git lfs pull"),
        (zipped(best_pt=b"x"), "a ZIP archive", "Unpack it"),
        (zipped(best_pt=b"x")[:-9], "a ZIP archive that is cut off", "Fetch it again"),
        (gzip.compress(b"x", mtime=0), "a gzip archive", "Unpack it"),
        (tarred(), "a tar archive", "Unpack it"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it"),
        (picture("PNG"), "a picture (PNG)", "detector"),
        (picture("JPEG"), "a picture (JPEG)", "detector"),
        (picture("WEBP"), "a picture (WebP)", "detector"),
        (b'{"names": ["a"]}', "a JSON text", "detector"),
        (b"path: .\nnames: [a]\n", "a text (it begins 'path: .')", "detector"),
        (b"%PDF-1.7\n", "a PDF document", "detector"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "Export"),
        (b'\x28\0\0\0\0\0\0\0{"a":1}', "a safetensors file", "weights/best.pt"),
        (b"\x1c\0\0\0TFL3" + bytes(40), "a LiteRT (TFLite) model", "Name it my.tflite"),
        (b"\x1c\0\0\0ET12" + bytes(40), "an ExecuTorch program", "Name it my.pte"),
        (b"ftrt" + bytes(40), "a TensorRT engine", "Name it my.engine"),
        (b'\x20\x01\0\0{"stride": 32}', "a TensorRT engine", "Name it my.engine"),
        (b"7767517\n1 2\n", "an ncnn graph", "Name it my.param"),
        (zipped(a__data_pkl=b"x", a__constants_pkl=b"x"), "a TorchScript file", "my.torchscript"),
        (pickle.dumps({"epoch": 3}), "a PyTorch file without a model", "detector"),
    ],
)
def test_what_is_no_onnx_model_says_what_it_is(
    tmp_path: Path, content: bytes, words: str, remedy: str
) -> None:
    path = tmp_path / "my.onnx"
    path.write_bytes(content)
    wrong = misfit(path)
    assert wrong is not None
    assert wrong[0].startswith(f"my.onnx is {words}")
    assert remedy in wrong[1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("my.onnx", b"\x08\x08\x12\x07pytorch"),
        ("MY.ONNX", b"\x08\x0a:\x00 more bytes"),
        ("my.tflite", b"\x1c\0\0\0TFL3" + bytes(40)),
        ("my.xml", b'<?xml version="1.0"?><net name="x" version="11">'),
        ("my.engine", b"ftrt" + bytes(40)),
        ("my.param", b"7767517\n1 2\n"),
        ("my.mnn", b"\xff\xfe any bytes"),
        ("my.onnx", b"\xff\xfe\0 bytes of no known kind"),  # its backend says more
        ("my.pocket", b"a backend of somebody else has texts"),
    ],
)
def test_what_may_be_what_its_name_says_is_left_to_its_backend(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    assert misfit(tmp_path / name) is None


def test_no_name_makes_a_model_of_a_pointer(tmp_path: Path) -> None:
    (tmp_path / "my.pocket").write_bytes(LFS)
    assert misfit(tmp_path / "my.pocket") is not None


def test_an_onnx_model_by_the_name_of_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(b"\x08\x08\x12\x07pytorch")
    assert misfit(path) == (
        "best.pt is an ONNX model",
        "Name it best.onnx, and it is measured as it is.",
    )


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["weights/best.pt"], "Give its weights/best.pt."),
        (["saved_model.pb"], "Give the .tflite inside, or an ONNX file."),
        (["b.onnx", "a.TFLITE", "notes.txt"], "Give one of its files: a.TFLITE, b.onnx."),
    ],
)
def test_a_folder_says_what_is_in_it(tmp_path: Path, files: list[str], words: str) -> None:
    for name in files:
        (tmp_path / "exports" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "exports" / name).touch()
    kind = kind_of(tmp_path / "exports")
    assert kind is not None
    assert kind.remedy == words
    (tmp_path / "a_openvino_model").mkdir()
    assert kind_of(tmp_path / "a_openvino_model") is None


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    kind = seen(tmp_path / "nothing.onnx")
    assert kind is not None
    assert kind.what.startswith("not readable")


@pytest.mark.parametrize(
    ("module", "name", "held"),
    [
        ("ultralytics.nn.tasks", "DetectionModel", "model"),
        ("ultralytics.nn.tasks", "SegmentationModel", "segment"),
        ("ultralytics.nn.tasks", "OBBModel", "obb"),
        ("models.yolo", "Model", "model"),
        ("torch.nn.modules.container", "Sequential", "model"),
        ("torch._utils", "_rebuild_tensor_v2", "weights"),
        ("collections", "OrderedDict", "nothing"),
    ],
)
def test_what_a_pickle_holds_is_told_from_its_names(module: str, name: str, held: str) -> None:
    assert held_in_pickle(f"\x80\x02c{module}\n{name}\n.".encode("latin-1")) == held


def test_a_pickle_is_never_run() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (pytest.fail, ("it was run",))

    assert held_in_pickle(pickle.dumps(Bomb())) == "model"
    assert held_in_pickle(pickle.dumps([1])[:-3]) in ("model", "nothing")


def test_arrays_are_no_checkpoint(tmp_path: Path) -> None:
    np.savez(tmp_path / "my.npz", a=np.zeros(3))
    assert held_in_archive(tmp_path / "my.npz") == "archive"


@pytest.mark.parametrize("new_format", [True, False])
def test_files_of_torch(tmp_path: Path, digits: Path, *, new_format: bool) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "my.pt"

    def of(value: object) -> str | None:
        torch.save(value, path, _use_new_zipfile_serialization=new_format)
        wrong = misfit(path)
        return None if wrong is None else wrong[0]

    weights = {"conv.weight": torch.zeros(2)}
    state = "my.pt is a PyTorch file of weights without their model (a state_dict)"
    assert of(weights) == of({"model": weights, "epoch": 3}) == state
    assert of({"epoch": 3}) == "my.pt is a PyTorch file without a model in it"
    assert of(torch.nn.Conv2d(1, 1, 1)) is None
    assert misfit(digits / "digits.pt") is None
