"""The steps of a recipe as data: what a matrix may say, and what each of them needs.

A step says what is wanted; the modules of ``bench.variants`` do it (see its ``apply``). Importing
this module imports no framework: matrices are read where torch is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    GetPydanticSchema,
    SerializeAsAny,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from deploymark.bench.matrix.plugin_steps import PluginStep, plugin_step
from deploymark.bench.matrix.strict import Strict

ORIGINAL = "original"
"""The teacher of a distillation that names none: the checkpoint that the recipe started from."""

_AMOUNT = "Share of the convolution weights set to zero"


class Training(Strict):
    """How a step trains, on the train split of the model's data set, with Ultralytics' trainer."""

    # For short recoveries: on a pruned YOLO11n and 300 images, one epoch in batches of 8 won back
    # more than in batches of 16, and 1e-3 more than half or twice of it where little was lost.
    epochs: int = Field(3, ge=1, le=10_000, description="Passes over the training images.")
    images: int | None = Field(
        None, ge=1, description="Train on so many of the images, chosen by the seed; all of them."
    )
    imgsz: int | None = Field(
        None, ge=32, le=4096, description="Pixels; those that the checkpoint was trained at."
    )
    batch: int = Field(8, ge=1, le=1024, description="Images a step of the optimizer.")
    lr0: float = Field(1e-3, gt=0, description="Highest learning rate of AdamW.")
    lrf: float = Field(0.02, gt=0, le=1, description="Last learning rate, as a share of lr0.")
    warmup_epochs: float = Field(0.1, ge=0, description="Epochs in which the rate rises to lr0.")
    seed: int | None = Field(None, ge=0, description="Instead of the matrix's seed.")
    hyperparameters: Mapping[str, float] = Field(
        default_factory=dict,
        description="Augmentation and loss gains by Ultralytics' names (mosaic, fliplr, box, …); "
        "those that the checkpoint was trained with where not given.",
    )


class PruneStep(Strict):
    """Set the weights of smallest magnitude to zero.

    ``amount`` is the share of the convolution weights that becomes zero, those of the first layer
    and of the output layers apart, which are kept. ``scope`` says among which weights the smallest
    are looked for: those of each layer, or those of the whole model, where layers of small weights
    lose more than others. ``auto`` gives each block the amount that its sensitivity allows.
    """

    kind: Literal["l1"] = Field(description="Unstructured pruning by magnitude (L1).")
    amount: Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = Field(
        description=f"{_AMOUNT}; or `auto`, by the sensitivity of each block, with `max_drop`."
    )
    scope: Literal["layer", "global"] = Field(
        "layer", description="Look for the smallest weights in each layer, or in the whole model."
    )
    max_drop: float | None = Field(
        None, gt=0, lt=1, description="Of `auto`: how much mAP50-95 may be lost."
    )

    @model_validator(mode="after")
    def _limit_of_auto(self) -> PruneStep:
        if (self.amount == "auto") != (self.max_drop is not None):
            raise ValueError("`amount: auto` and `max_drop` belong together")
        return self


class TwoFourStep(Strict):
    """Set two of every four weights in a row to zero, those of smallest magnitude.

    The pattern that sparse tensor cores skip (Mishra et al., Accelerating Sparse Deep Neural
    Networks, 2021).
    """

    kind: Literal["2:4"] = Field(description="Semi-structured pruning, two of four weights.")


class StructuredStep(Strict):
    """Remove whole channels, so that every runtime has less to compute."""

    kind: Literal["structured"] = Field(description="Structured pruning of channels.")
    ratio: float | None = Field(None, gt=0, lt=1, description="Share of the channels removed.")
    macs: float | None = Field(
        None, gt=0, lt=1, description="Instead of `ratio`: the share of the MACs that may remain."
    )
    importance: Literal["l1", "l2"] = Field("l2", description="Norm that ranks the channels.")
    scope: Literal["layer", "global"] = Field(
        "layer", description="Rank the channels of each layer, or of the whole model."
    )
    round_to: int = Field(8, ge=1, le=64, description="Keep channels in multiples of this.")

    @model_validator(mode="after")
    def _one_target(self) -> StructuredStep:
        if (self.ratio is None) == (self.macs is None):
            raise ValueError("give either `ratio` or `macs`")
        return self


class FinetuneStep(Training):
    """Train on. Weights that are zero stay zero, and a pruned network stays as it was pruned."""

    kind: Literal["finetune"] = Field(description="Fine-tuning with Ultralytics' trainer.")


class IterativeStep(Training):
    """Prune and fine-tune in turn, a little more each time; ``epochs`` are those of one cycle."""

    kind: Literal["iterative"] = Field(description="Cycles of pruning and fine-tuning.")
    prune: Literal["l1", "structured"] = Field("l1", description="What is pruned.")
    amount: float = Field(
        gt=0, lt=1, description="Share of the weights, or of the channels, after the last cycle."
    )
    cycles: int = Field(3, ge=1, le=100, description="Number of cycles.")
    schedule: Literal["linear", "cubic"] = Field(
        "cubic", description="How the amount grows (cubic: fast at first, Zhu & Gupta 2017)."
    )
    scope: Literal["layer", "global"] = Field("global", description="As that of l1, structured.")
    max_drop: float | None = Field(
        None, gt=0, lt=1, description="Stop at the last cycle that lost no more mAP50-95 than this."
    )


class DistillStep(Training):
    """Train a student to answer as its teacher does, besides what the labels say."""

    kind: Literal["distill"] = Field(description="Knowledge distillation.")
    teacher: str = Field(
        ORIGINAL,
        min_length=1,
        description="A checkpoint, relative to the matrix file; or `original`, the one that the "
        "recipe started from.",
    )
    student: str | None = Field(
        None,
        min_length=1,
        description="A checkpoint, or an architecture of Ultralytics (yolo11n.yaml) to be trained "
        "from random weights; by default what the steps before made.",
    )
    ablation: bool = Field(
        False,  # noqa: FBT003 - the default of a field
        description="Train the same student the same way, without the teacher.",
    )
    temperature: float = Field(1.0, gt=0, le=20, description="Softens both answers.")
    class_gain: float = Field(1.0, ge=0, description="Weight of the classes' soft targets.")
    box_gain: float = Field(1.0, ge=0, description="Weight of the boxes' soft targets.")


class QatStep(Training):
    """Train with the rounding of INT8 simulated; makes the precision ``int8-qat``."""

    kind: Literal["qat"] = Field(description="Quantization-aware training.")
    epochs: int = Field(2, ge=1, le=10_000, description="Passes over the training images.")
    lr0: float = Field(1e-4, gt=0, description="Highest learning rate of AdamW.")
    calibration_images: int = Field(
        32, ge=1, description="Training images that set the ranges of activations at the start."
    )


_Ours = (
    PruneStep | TwoFourStep | StructuredStep | FinetuneStep | IterativeStep | DistillStep | QatStep
)

OurStep = Annotated[_Ours, Field(discriminator="kind", description="One step of a recipe.")]
"""Any step of ours; each is told by its ``kind``."""

KINDS: tuple[str, ...] = ("l1", "2:4", "structured", "finetune", "iterative", "distill", "qat")

_TWO_FOUR_SPARSITY = 0.5


def _read(value: object, ours: ValidatorFunctionWrapHandler) -> _Ours | PluginStep:
    """A kind of ours as the schema has it; another one by the model that a package brings."""
    if isinstance(value, PluginStep):
        return value
    kind = value.get("kind") if isinstance(value, Mapping) else None
    model = None if kind in KINDS else plugin_step(kind)
    if model is not None:
        return model.model_validate(value)
    step: _Ours = ours(value)
    return step


Step = Annotated[
    _Ours | PluginStep,
    # The schema is that of ours: what others bring is known here only.
    GetPydanticSchema(lambda _source, handler: handler.generate_schema(OurStep)),
    WrapValidator(_read),
    SerializeAsAny(),
]
"""Any step, ours or another package's."""


def needs_data(step: Step) -> bool:
    """Whether the step cannot be carried out without images of the train split."""
    if isinstance(step, PluginStep):
        return step.needs_data
    return isinstance(step, Training) or (isinstance(step, PruneStep) and step.amount == "auto")


def uses_data(step: Step) -> bool:
    """Whether the step reads images of the train split where there are any."""
    if isinstance(step, PluginStep):
        return step.needs_data or step.uses_data
    return needs_data(step) or isinstance(step, StructuredStep)


def files_of(step: Step) -> tuple[str, ...]:
    """The files that a step names, as the matrix gives them."""
    if not isinstance(step, DistillStep):
        return ()
    teacher = () if step.teacher == ORIGINAL else (step.teacher,)
    # An architecture of Ultralytics ends in .yaml and lies in its package.
    student = () if step.student is None or not step.student.endswith(".pt") else (step.student,)
    return teacher + student


def with_files(step: Step, files: Mapping[str, str]) -> Step:
    """The step with the files that it names replaced by what ``files`` gives for them."""
    if not isinstance(step, DistillStep):
        return step
    changes: dict[str, Any] = {"teacher": files.get(step.teacher, step.teacher)}
    if step.student is not None:
        changes["student"] = files.get(step.student, step.student)
    return step.model_copy(update=changes)


def asked_sparsity(steps: tuple[Step, ...]) -> float | None:
    """The share of weights that a recipe asks to be zero; None where it is left to the recipe."""
    asked = 0.0
    for step in steps:
        if isinstance(step, PluginStep):
            return None
        if isinstance(step, TwoFourStep):
            asked = max(asked, _TWO_FOUR_SPARSITY)
        elif isinstance(step, PruneStep):
            if not isinstance(step.amount, float):
                return None
            asked = max(asked, step.amount)
        elif isinstance(step, IterativeStep) and step.prune == "l1":
            if step.max_drop is not None:
                return None
            asked = max(asked, step.amount)
    return asked


def is_quantization_aware(steps: tuple[Step, ...]) -> bool:
    """Whether a recipe ends with simulated rounding in the model, which makes ``int8-qat``."""
    return bool(steps) and isinstance(steps[-1], QatStep)


NOT_QAT = "int8-qat is the precision of a recipe that ends in a qat step"


def without_rounding(precision: str, steps: tuple[Step, ...]) -> bool:
    """Whether a cell asks for the precision of a trained rounding that its recipe does not make."""
    return precision == "int8-qat" and not is_quantization_aware(steps)
