from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pydantic
import pytest

from deploymark.bench.matrix.command_line import is_checkpoint
from deploymark.bench.matrix.entries import ModelEntry, model_name
from deploymark.bench.matrix.model_source import (
    ModelSource,
    faults_of_folder,
    loader_spec,
    source_file,
)
from deploymark.bench.matrix.request import model_source


def entry(**keys: Any) -> ModelEntry:
    return ModelEntry(data="data.yaml", **keys)


@pytest.mark.parametrize(
    ("keys", "source", "name"),
    [
        ({"path": "/a/my.pt"}, ModelSource("ultralytics", "/a/my.pt"), "my"),
        ({"path": "hf:/a/dfine"}, ModelSource("hugging-face", "/a/dfine"), "dfine"),
        (
            {"path": "/a/s.pth", "architecture": "fcos_resnet50_fpn"},
            ModelSource("torchvision", "/a/s.pth", architecture="fcos_resnet50_fpn"),
            "s",
        ),
        (
            {"loader": "mine.models:small"},
            ModelSource("loader", loader="mine.models:small"),
            "small",
        ),
        (
            {"loader": "mine.models:small", "path": "/a/w.bin"},
            ModelSource("loader", "/a/w.bin", loader="mine.models:small"),
            "w",
        ),
    ],
)
def test_kinds_are_told_by_their_keys(keys: dict[str, str], source: ModelSource, name: str) -> None:
    assert model_source(entry(**keys)) == source
    assert model_name(entry(**keys)) == name


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "give either `path`"),
        ({"path": "a.pt", "artifact": "a.onnx"}, "give either `path`"),
        ({"loader": "a:b", "artifact": "a.onnx"}, "give either `path`"),
        ({"path": "hf:a", "architecture": "x"}, "`architecture` belongs to a state file"),
        ({"loader": "a:b", "architecture": "x"}, "`architecture` belongs to a state file"),
        ({"path": "hf:a", "head": "one-to-many"}, "`head` belongs to a YOLO's .pt"),
        ({"path": "hf:a", "loader": "a:b"}, "`loader` is given a plain path"),
        ({"loader": "a.b"}, "expected my_package.my_module:function"),
        ({"loader": "a b:c"}, "expected my_package.my_module:function"),
        ({"path": "hf:a", "family": "detr"}, "`family`: of an `artifact`"),
    ],
)
def test_keys_that_do_not_go_together(keys: dict[str, str], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        entry(**keys)


def test_the_command_line_takes_folders() -> None:
    assert is_checkpoint("hf:my-folder")
    assert not is_checkpoint("my-folder")


def test_the_module_of_a_loader_is_found_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "unimported"
    package.mkdir()
    for name in ("__init__.py", "models.py"):
        (package / name).write_text("raise SystemExit", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert source_file("unimported.models") == package / "models.py"
    assert source_file("unimported.absent") is None
    assert source_file("absent") is None
    assert "unimported" not in sys.modules
    source = ModelSource("loader", loader=loader_spec("unimported.models:load"))
    before = source.sha256()
    (package / "models.py").write_text("raise SystemExit(1)", "utf-8")
    assert source.sha256() != before


def test_a_folder_is_looked_into_without_opening_it(tmp_path: Path) -> None:
    def said() -> list[str]:
        return [what for what, _ in faults_of_folder(tmp_path)]

    assert said() == [f"{tmp_path} has no config.json and no model.safetensors"]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "rt_detrr"}), "utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"")
    (only,) = said()
    assert "no configuration of the type 'rt_detrr'" in only
    assert "did you mean 'rt_detr'" in only
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "rt_detr"}), "utf-8")
    assert said() == []
    (tmp_path / "config.json").write_text("{", "utf-8")
    (only,) = said()
    assert "config.json cannot be read" in only


def test_every_file_of_a_folder_that_counts_is_hashed(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}", "utf-8")
    source = ModelSource("hugging-face", str(tmp_path))
    plain = source.sha256()
    (tmp_path / "README.md").write_text("words", "utf-8")
    assert source.sha256() == plain
    (tmp_path / "preprocessor_config.json").write_text("{}", "utf-8")
    assert source.sha256() != plain
