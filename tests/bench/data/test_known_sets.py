from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploymark.bench.data.data_yaml import read_data_yaml
from deploymark.bench.data.known_sets import dataset_folders, named_set
from deploymark.bench.errors import BadInputError
from tests.data_sets import write_image


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that Ultralytics' settings name."""
    config = tmp_path / "config" / "Ultralytics"
    config.mkdir(parents=True)
    folder = tmp_path / "kept"
    (config / "settings.json").write_text(json.dumps({"datasets_dir": str(folder)}))
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return folder


def test_sets_are_looked_for_where_ultralytics_keeps_them(kept: Path, tmp_path: Path) -> None:
    assert dataset_folders() == (kept, tmp_path / "datasets", tmp_path / "home" / "datasets")
    (tmp_path / "config" / "Ultralytics" / "settings.json").write_text("[1")
    assert dataset_folders()[0] == tmp_path / "datasets"


def test_a_name_is_found_there(kept: Path) -> None:
    yaml = kept / "mine8" / "data.yaml"
    yaml.parent.mkdir(parents=True)
    yaml.write_text("names: [a]\n")
    assert named_set("mine8.yaml") == yaml
    for other in ("nothing8.yaml", "sub/mine8.yaml", "mine8", "https://x.org/mine8.yaml"):
        assert named_set(other) is None


def test_the_path_of_a_file_may_lie_there(kept: Path, tmp_path: Path) -> None:
    write_image(kept / "mine8" / "images" / "val" / "a.png")
    yaml = tmp_path / "mine8.yaml"
    yaml.write_text("path: mine8\nval: images\\val\nnames: [a]\n")
    assert read_data_yaml(yaml).val == (kept / "mine8" / "images" / "val" / "a.png",)
    yaml.write_text("path: other8\nval: images/val\nnames: [a]\n")
    with pytest.raises(BadInputError, match=r"no such folder: .*other8 \(nor .*kept/other8"):
        read_data_yaml(yaml)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("val: 'C:\\data\\images'\nnames: [a]\n", "It is a path of Windows"),
        ('val: "images\\val"\nnames: [a]\n', "In double quotes .* write images/val"),
        ('val: "C:\\data"\nnames: [a]\n', "In double quotes a backslash begins an escape"),
        ("valid: images\nnames: [a]\n", "`valid:` is not read, did you mean `val:`"),
        ("train: images\nnames: [a]\n", "it names train"),
        ("val: images\nnames: [a]\nnc: '3'\n", "says 3 classes, but there are 1 names"),
        ("val: images\nnames: [a, null]\n", "the name of class 1 is none"),
        ("val: images\nnames: [a]\nkpt_shape: 17\n", r"must be \[keypoints, 2 or 3\]"),
    ],
)
def test_what_is_wrong_with_a_data_yaml_has_a_remedy(
    kept: Path, tmp_path: Path, text: str, words: str
) -> None:
    write_image(tmp_path / "images" / "a.png")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(BadInputError) as caught:
        read_data_yaml(tmp_path / "data.yaml")
    assert caught.value.remedy
    assert caught.match(f"(?s){words}")


def test_a_number_of_classes_may_be_text(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.png")
    (tmp_path / "data.yaml").write_text("val: images\nnames: {'0': a, '1': b}\nnc: '2'\n")
    assert read_data_yaml(tmp_path / "data.yaml").names == ("a", "b")
