from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploymark.bench.build.recipes import (
    Recipe,
    StepDone,
    carry_out,
    in_store,
    plan_steps,
    recipe_facts,
    recipe_versions,
)
from deploymark.bench.matrix.steps import (
    DistillStep,
    FinetuneStep,
    PruneStep,
    Step,
    StructuredStep,
    TwoFourStep,
)
from deploymark.bench.records.outcomes import Outcome
from deploymark.bench.store import ArtifactKey, Store

L1 = PruneStep(kind="l1", amount=0.5)
TUNE = FinetuneStep(kind="finetune", epochs=1)
TWO_FOUR = TwoFourStep(kind="2:4")


def keys(
    *steps: Step, model: str = "m", seed: int = 0, training: str | None = "t"
) -> list[ArtifactKey]:
    planned = plan_steps(
        steps,
        model_sha256=model,
        head="auto",
        seed=seed,
        training_hash=training,
        versions={"torch": "2"},
    )
    return [step.key for step in planned]


def test_recipes_that_begin_alike_share_their_first_steps() -> None:
    short, long = keys(L1), keys(L1, TUNE)
    assert short[0] == long[0]
    assert len({*short, *long}) == 2
    assert keys(TUNE, L1)[1] != long[1]
    assert keys(L1, model="other")[0] != short[0]


def test_data_and_seed_matter_from_the_first_step_that_needs_them() -> None:
    here = keys(L1, TUNE)
    for other in (keys(L1, TUNE, seed=1), keys(L1, TUNE, training="u")):
        assert other[0] == here[0]
        assert other[1] != here[1]


def test_data_that_is_used_where_there_is_any_tells_results_apart() -> None:
    pruned = StructuredStep(kind="structured", ratio=0.3)
    assert keys(pruned, training="t") != keys(pruned, training=None)
    assert keys(L1, training="t") == keys(L1, training=None)


def test_a_teacher_is_told_by_its_bytes(tmp_path: Path) -> None:
    one, copy, other = (tmp_path / f"{name}.pt" for name in ("one", "copy", "other"))
    one.write_bytes(b"weights")
    copy.write_bytes(b"weights")
    other.write_bytes(b"others")
    first, same, changed = (
        keys(DistillStep(kind="distill", teacher=str(path)))[0] for path in (one, copy, other)
    )
    assert first == same != changed


def make(path: Path, variant: str, *steps: Step) -> Recipe:
    versions = recipe_versions()
    return Recipe(
        model="m",
        variant=variant,
        path=path,
        head="auto",
        seed=0,
        steps=plan_steps(
            steps,
            model_sha256="m",
            head="auto",
            seed=0,
            training_hash=None,
            versions=versions,
        ),
        versions=versions,
        data=None,
        timeout_s=120.0,
        memory_mb=None,
        can_train=True,
    )


def run(recipes: list[Recipe], store: Store, logs: Path) -> tuple[list[str], dict]:
    ended: list[str] = []

    def on_done(name: str, done: StepDone) -> None:
        how = "reused" if done.reused else done.outcome.status
        ended.append(f"{name} {how}")

    done = carry_out(
        recipes, store, logs, jobs=2, on_message=lambda _name, _what: None, on_done=on_done
    )
    return ended, done


@pytest.mark.heavy
def test_each_step_is_carried_out_once_and_a_failure_stays_where_it_is(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("ultralytics")
    from deploymark.bench.variants.checkpoint import load_detector, quiet_ultralytics

    quiet_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    path, broken = tmp_path / "model.pt", tmp_path / "broken.pt"
    torch.save({"model": DetectionModel("yolo11n.yaml", nc=2, verbose=False)}, path)
    broken.write_bytes(b"no checkpoint")
    store, logs = Store(tmp_path / "store"), tmp_path / "logs"
    recipes = [
        make(path, "pruned", L1),
        make(path, "both", L1, TWO_FOUR),
        make(path, "bad", DistillStep(kind="distill", student=str(broken)), L1),
    ]
    ended, done = run(recipes, store, logs)
    assert sorted(ended) == [
        "m-bad-1-distill export_failed",
        "m-both-2-2_4 ok",
        "m-pruned-1-l1 ok",
    ]
    checkpoint = done[recipes[1].steps[1].key].checkpoint
    assert checkpoint is not None
    weight = load_detector(checkpoint).model[1].conv.weight.detach()
    groups = weight.movedim(1, -1).reshape(-1, 4)
    assert int((groups != 0).sum(dim=1).max()) == 2
    facts = [recipe_facts(recipe, done) for recipe in recipes]
    assert [item["status"] for item in facts] == ["ok", "ok", "export_failed"]
    assert facts[0]["steps"][0]["nonzero_fraction"] == pytest.approx(0.5, abs=0.03)
    assert "broken.pt" in facts[2]["reason"]
    json.dumps(facts, allow_nan=False)

    again, _ = run(recipes[:2], store, logs)
    assert sorted(again) == ["m-both-2-2_4 reused", "m-pruned-1-l1 reused"]
    assert set(in_store(recipes[1], store)) == {step.key for step in recipes[1].steps}
    assert not list((store.root / "tmp").iterdir())


def test_without_a_framework_a_recipe_is_unavailable(tmp_path: Path) -> None:
    recipe = make(tmp_path / "model.pt", "pruned", L1, TWO_FOUR)
    object.__setattr__(recipe, "can_train", False)
    ended, done = run([recipe], Store(tmp_path / "store"), tmp_path / "logs")
    assert ended == ["m-pruned-1-l1 unavailable"]
    assert {item.outcome.status for item in done.values()} == {"unavailable"}
    assert recipe_facts(recipe, done)["status"] == "unavailable"
    assert done[recipe.steps[1].key].outcome == Outcome(
        "unavailable",
        "carrying out a recipe needs torch and Ultralytics",
        "pip install 'deploymark[variants]', or copy a cache that has the artifact",
    )
