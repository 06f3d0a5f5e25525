"""Detectors of a local Hugging Face folder: ``config.json`` and ``model.safetensors``.

The graph takes ``pixel_values`` alone: all of an input is picture, so that ``pixel_mask`` would be
ones, which is what the models take without it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends.layout import FamilyName, OutputSpec
from deploymark.backends.model import LoadedModel
from deploymark.bench.errors import BadInputError
from deploymark.bench.matrix.model_source import HF_FAMILIES, faults_of_folder
from deploymark.bench.variants.sources.image_processor import input_of

if TYPE_CHECKING:
    from torch import nn

FLOAT_NODES = (r"^/(model/){1,2}(decoder/|enc_|class_|bbox_|[A-Z]).*",)
"""What stays in float: decoders with the choice of their queries, the heads of classes and boxes,
and what the outermost modules compute themselves."""

NAMED_KEYS = 5
"""Keys of weights that a message names."""


def quiet_transformers() -> None:
    """Make transformers stay offline and print nothing. Call before importing it."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    try:
        from transformers.utils import logging
    except ImportError as error:
        raise BadInputError(
            f"a Hugging Face folder needs transformers, which cannot be imported: {error}",
            remedy="pip install 'deploymark[transformers]'",
        ) from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load(folder: Path) -> LoadedModel:
    """The detector of a folder. Raises BadInputError where it is none that is read."""
    for what, remedy in faults_of_folder(folder):
        raise BadInputError(what, remedy=remedy)
    quiet_transformers()
    from transformers import AutoConfig, AutoModelForObjectDetection

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        # made for one size they would be constants of it: without, each size makes its own
        config.anchor_image_size = config.eval_size = None
        module, told = AutoModelForObjectDetection.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            output_loading_info=True,
            dtype="float32",
        )
    except ImportError as error:
        raise BadInputError(
            f"{folder} needs a package that is not installed: {_first_line(error)}",
            remedy="pip install timm" if "timm" in str(error) else "",
        ) from error
    except Exception as error:
        raise BadInputError(
            f"{folder} cannot be opened: {type(error).__name__}: {_first_line(error)}",
            remedy="Save the model anew: model.save_pretrained(folder).",
        ) from error
    if missing := sorted(told["missing_keys"]):
        shown = ", ".join(missing[:NAMED_KEYS]) + (", …" if len(missing) > NAMED_KEYS else "")
        raise BadInputError(
            f"{folder}: its weights lack {len(missing)} of those of its configuration: {shown}",
            remedy="Save configuration and weights together: model.save_pretrained(folder).",
        )
    return loaded(module, folder)


def loaded(module: Any, folder: Path | None = None) -> LoadedModel:
    """A detector of transformers as it is to be exported; ``folder`` has its image processor."""
    config = module.config
    family, scores = HF_FAMILIES[config.model_type]
    return LoadedModel(
        module=wrapped(module),
        names=tuple(str(config.id2label[index]) for index in range(config.num_labels)),
        input=input_of(folder, family),
        output=OutputSpec("detr", boxes="normalised", scores=scores),
        stride=_stride(config, family),
        float_nodes=FLOAT_NODES,
        family=config.model_type.replace("_", "-"),
    )


def _stride(config: Any, family: FamilyName) -> int:
    """What both sides are a multiple of: pyramids are added up, patches are whole."""
    if family in {"rtdetr", "dfine"}:
        return int(max(config.feat_strides))
    return int(config.patch_size) if family == "yolos" else 1


def wrapped(module: Any) -> nn.Module:
    """The module as one of pixels that gives logits and boxes."""
    from torch import nn

    class Detector(nn.Module):  # type: ignore[misc]
        """Images in, a tuple of logits (batch, n, classes) and boxes (batch, n, 4) out."""

        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, images: Any) -> tuple[Any, Any]:
            found = self.model(pixel_values=images)
            return found.logits, found.pred_boxes

    ready = Detector().eval()
    for parameter in ready.parameters():
        parameter.requires_grad_(requires_grad=False)
    return ready


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
