"""A step that another package brings, from the matrix to the checkpoint."""

from __future__ import annotations

import re
import shutil
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from deploymark.bench.build.recipes import Recipe, carry_out, plan_steps, recipe_versions
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix import plugin_steps
from deploymark.bench.matrix.schema import Matrix, read_matrix
from deploymark.bench.matrix.steps import Step, asked_sparsity, needs_data, uses_data
from deploymark.bench.store import ArtifactKey, Store

ROOT = Path(__file__).resolve().parents[3]

MATRIX = """\
models: [{path: builtin:digits, data: builtin:digits}]
backends: [torch]
variants:
  - name: soft
    steps:
      - {kind: soft_filters, amount: AMOUNT}
"""


def read(folder: Path, text: str) -> Matrix:
    (folder / "m.yaml").write_text(text)
    return read_matrix(folder / "m.yaml")[0]


def steps_of(matrix: Matrix) -> tuple[Step, ...]:
    (variant,) = matrix.variants
    assert not isinstance(variant, str)
    return variant.steps


@pytest.fixture
def soft(plugins: Path, tmp_path: Path) -> tuple[Step, ...]:
    return steps_of(read(tmp_path, MATRIX.replace("AMOUNT", "0.25")))


def planned(steps: tuple[Step, ...], path: Path) -> Recipe:
    versions = recipe_versions()
    return Recipe(
        model="m",
        variant="soft",
        path=path,
        head="auto",
        seed=0,
        steps=plan_steps(
            steps, model_sha256="m", head="auto", seed=0, training_hash="t", versions=versions
        ),
        versions=versions,
        data=None,
        timeout_s=120.0,
        memory_mb=None,
        can_train=True,
    )


def key(steps: tuple[Step, ...]) -> ArtifactKey:
    return planned(steps, Path("model.pt")).steps[-1].key


def test_the_page_shows_the_very_file() -> None:
    page = (ROOT / "docs" / "adding-a-step.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shown == (ROOT / "tests" / "plugins" / "soft_filters.py").read_text(encoding="utf-8")
    assert len(shown.splitlines()) <= 80


def test_it_reads_from_a_matrix_and_back(soft: tuple[Step, ...], tmp_path: Path) -> None:
    (step,) = soft
    assert isinstance(step, plugin_steps.PluginStep)
    assert step.model_dump(mode="json") == {"kind": "soft_filters", "amount": 0.25}
    matrix = read(tmp_path, MATRIX.replace("AMOUNT", "0.25"))
    assert Matrix.model_validate(matrix.model_dump(mode="json")) == matrix
    assert not needs_data(step)
    assert not uses_data(step)
    assert asked_sparsity(soft) is None


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("amount", "told"),
    [
        ("2", r"m\.yaml:6:30: variants\[0\]\.steps\[0\]\.amount: .*less than 1 \(got 2\)"),
        ("0.5, amuont: 1", r"m\.yaml:6:43: variants\[0\]\.steps\[0\]\.amuont: unknown key"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(tmp_path: Path, amount: str, told: str) -> None:
    with pytest.raises(BadInputError, match=told):
        read(tmp_path, MATRIX.replace("AMOUNT", amount))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("no_such_module:Step", "cannot be imported: ModuleNotFoundError"),
        ("json:loads", "is not a PluginStep"),
    ],
)
def test_a_broken_package_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, told: str
) -> None:
    point = EntryPoint("soft_filters", value, plugin_steps.ENTRY_POINT_GROUP)
    monkeypatch.setattr(plugin_steps, "brought", lambda: {"soft_filters": point, "l1": point})
    with pytest.raises(BadInputError, match=rf"steps\[0\].*step 'soft_filters'.*{told}"):
        read(tmp_path, MATRIX.replace("AMOUNT", "0.25"))
    ours = read(tmp_path, MATRIX.replace("AMOUNT", "0.25").replace("soft_filters", "l1"))
    assert [step.kind for step in steps_of(ours)] == ["l1"]


def test_an_edit_of_its_file_makes_another_key(
    soft: tuple[Step, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["soft_filters"]
    before = key(soft)
    copy = tmp_path / "soft_filters.py"
    shutil.copyfile(str(module.__file__), copy)
    monkeypatch.setattr(module, "__file__", str(copy))
    assert key(soft) == before
    copy.write_text(copy.read_text() + "# edited\n")
    assert key(soft) != before


@pytest.mark.heavy
def test_a_child_carries_it_out(soft: tuple[Step, ...], digits: Path, tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    from deploymark.bench.variants.checkpoint import load_detector
    from deploymark.bench.variants.prune import prunable

    recipe = planned(soft, digits / "digits.pt")
    logs = tmp_path / "logs"
    told: list[str] = []
    done = carry_out(
        [recipe],
        Store(tmp_path / "store"),
        logs,
        jobs=1,
        on_message=lambda _name, what: told.append(what),
        on_done=lambda _name, _done: None,
    )[recipe.steps[0].key]
    assert done.outcome.ok, done.outcome
    assert done.checkpoint is not None
    layers = prunable(load_detector(done.checkpoint))
    zero = [int((layer.weight.flatten(1).norm(dim=1) == 0).sum()) for layer in layers]
    assert zero == [len(layer.weight) // 4 for layer in layers]
    assert done.record["notes"] == told[-1:]
