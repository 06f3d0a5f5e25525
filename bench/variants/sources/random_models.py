"""Small detectors of random weights, one of each family, made by their public implementations.

They find nothing and tell what a family costs: for ``matrices/families.yaml``, for tests, and to
try a runtime before a model is trained. Weights come of one seed. Scores are spread as those of
trained models are, so that some of every image exceed 0.25: agreement is judged by such boxes.
"""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

from deploymark.backends.inputs import Size
from deploymark.backends.model import LoadedModel
from deploymark.bench.data.coco_names import NO_CLASS
from deploymark.bench.variants.checkpoint import quiet_ultralytics
from deploymark.bench.variants.sources import hugging_face, torchvision, ultralytics

SEED = 0
DIGITS = tuple(string.digits)
"""Class names: those of ``builtin:digits``."""

SIDE = 160
"""Pixels a side of the drawn images that scores are spread on."""

SPREAD, CENTRE = 2.0, -5.0
"""Deviation and mean of the logits after spreading: some 25 of a thousand exceed 0.25."""

P = ParamSpec("P")


def _seeded(make: Callable[P, LoadedModel]) -> Callable[P, LoadedModel]:
    """Draw the weights by ``SEED``, and leave the state of the generator as it was."""

    @functools.wraps(make)
    def seeded(*args: P.args, **named: P.kwargs) -> LoadedModel:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return make(*args, **named)

    return seeded


@_seeded
def rtdetr(_path: Path | None = None) -> LoadedModel:
    """Hugging Face's RT-DETR with a ResNet of four blocks."""
    hugging_face.quiet_transformers()
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    backbone = RTDetrResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(backbone_config=backbone, **_PYRAMID)
    return _hugging_face(RTDetrForObjectDetection(config))


@_seeded
def dfine(_path: Path | None = None) -> LoadedModel:
    """Hugging Face's D-FINE with an HGNet of four blocks."""
    hugging_face.quiet_transformers()
    from transformers import DFineConfig, DFineForObjectDetection, HGNetV2Config

    backbone = HGNetV2Config(
        stem_channels=[3, 8, 16],
        stage_in_channels=[16, 16, 32, 48],
        stage_mid_channels=[8, 8, 16, 16],
        stage_out_channels=[16, 32, 48, 64],
        stage_num_blocks=[1, 1, 1, 1],
        stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 5, 5],
        stage_numb_of_layers=[2, 2, 2, 2],
        out_features=["stage2", "stage3", "stage4"],
        depths=[1, 1, 1, 1],
        hidden_sizes=[16, 32, 48, 64],
    )
    config = DFineConfig(backbone_config=backbone, hidden_expansion=0.5, **_PYRAMID)
    return _hugging_face(DFineForObjectDetection(config))


@_seeded
def detr(_path: Path | None = None) -> LoadedModel:
    """Hugging Face's DETR with a ResNet of four blocks."""
    hugging_face.quiet_transformers()
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=40,
        init_std=0.3,
        **_CLASSES,
    )
    return _hugging_face(DetrForObjectDetection(config))


@_seeded
def yolos(_path: Path | None = None) -> LoadedModel:
    """Hugging Face's YOLOS of two layers."""
    hugging_face.quiet_transformers()
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        image_size=[SIDE, SIDE],
        patch_size=16,
        num_detection_tokens=40,
        initializer_range=0.1,
        **_CLASSES,
    )
    return _hugging_face(YolosForObjectDetection(config))


@_seeded
def ultralytics_rtdetr(_path: Path | None = None) -> LoadedModel:
    """Ultralytics' RT-DETR-l."""
    quiet_ultralytics()
    from ultralytics.nn.tasks import RTDETRDetectionModel

    module = RTDETRDetectionModel("rtdetr-l.yaml", nc=len(DIGITS), verbose=False).eval()
    module.names = dict(enumerate(DIGITS))
    spread_rtdetr(module)
    return ultralytics.rtdetr(module)


@_seeded
def ssdlite(_path: Path | None = None) -> LoadedModel:
    """Torchvision's SSDlite320 with MobileNetV3."""
    return _torchvision("ssdlite320_mobilenet_v3_large")


@_seeded
def faster_rcnn(_path: Path | None = None) -> LoadedModel:
    """Torchvision's Faster R-CNN with MobileNetV3, for low resolutions."""
    return _torchvision("fasterrcnn_mobilenet_v3_large_320_fpn")


_CLASSES: dict[str, Any] = {
    "id2label": dict(enumerate(DIGITS)),
    "label2id": {name: index for index, name in enumerate(DIGITS)},
}

_QUERIES = (
    "query_position_embeddings.weight",
    "detection_tokens",
    "embeddings.position_embeddings",
)
"""Ends of the names of what tells one query from another: without training all are nearly alike."""

_PYRAMID: dict[str, Any] = {
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [32, 48, 64],
    "encoder_ffn_dim": 64,
    "encoder_attention_heads": 2,
    "d_model": 32,
    "decoder_in_channels": [32, 32, 32],
    "decoder_layers": 2,
    "decoder_ffn_dim": 64,
    "decoder_attention_heads": 2,
    "num_queries": 100,
    **_CLASSES,
}


def pictures(count: int = 4) -> Any:
    """Drawn images, float32 (count, 3, ``SIDE``, ``SIDE``) in 0 to 1: coarse random patches."""
    import torch

    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(SEED))
    return torch.nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")


def settle(module: Any, *given: Any) -> None:
    """Have normalisation see the images, so that activations keep their size from layer to layer.

    Frozen normalisation, too, which has its figures in buffers.
    """
    import torch

    def measure(layer: Any, inputs: Any) -> None:
        axes = (0, 2, 3)
        layer.running_mean.copy_(inputs[0].mean(axes))
        layer.running_var.copy_(inputs[0].var(axes).clamp(min=1e-6))

    layers = [item for item in module.modules() if hasattr(item, "running_var")]
    hooks = [layer.register_forward_pre_hook(measure) for layer in layers]
    with torch.no_grad():
        module(*given)
    for hook in hooks:
        hook.remove()


def spread(layer: Any, logits: Any, deviation: float = SPREAD, mean: float = CENTRE) -> None:
    """Scale a linear layer or a convolution whose outputs were ``logits`` to spread them so."""
    import torch

    with torch.no_grad():
        scale = deviation / logits.std()
        layer.weight.mul_(scale)
        if layer.bias is not None:
            layer.bias.sub_(logits.mean()).mul_(scale).add_(mean)


def spread_rtdetr(module: Any) -> None:
    """Spread the scores of Ultralytics' RT-DETR, before fusing."""
    import torch

    settle(module, pictures())
    head = module.model[-1]
    with torch.no_grad():
        _, (_, scores, _, chosen, _) = module(pictures())
    spread(head.enc_score_head, chosen)
    with torch.no_grad():
        _, (_, scores, *_) = module(pictures())
    spread(head.dec_score_head[-1], scores[-1])


def _hugging_face(module: Any) -> LoadedModel:
    import torch

    module = module.eval()
    with torch.no_grad():
        for path, weight in module.named_parameters():
            if path.endswith(_QUERIES):
                weight.normal_()
            elif "decoder" in path and path.endswith("_proj.weight"):
                weight.normal_(std=weight.shape[1] ** -0.5 * 2)
    settle(module, pictures())
    head = next(
        layer
        for path, layer in reversed(list(module.named_modules()))
        if isinstance(layer, torch.nn.Linear) and ("class_embed" in path or "class_labels" in path)
    )
    with torch.no_grad():
        if (chooser := getattr(getattr(module, "model", None), "enc_score_head", None)) is not None:
            spread(chooser, module(pictures()).enc_outputs_class)
        spread(head, module(pictures()).logits)
        if (boxes := getattr(module, "bbox_predictor", None)) is not None:
            spread(boxes.layers[-1], module(pictures()).pred_boxes.logit(), 1.0, 0.0)
    return hugging_face.loaded(module)


def _torchvision(architecture: str) -> LoadedModel:
    import torch

    names = (NO_CLASS, *DIGITS)
    module = torchvision.built(architecture, len(names))
    model = torchvision.loaded(module, architecture, names)
    if model.at is not None:
        model.at(Size(SIDE, SIDE))  # left alone, it would enlarge them
    settle(module, list(pictures()))
    given: dict[Any, Any] = {}
    ends = [
        layer
        for path, layer in module.named_modules()
        if path.endswith("box_predictor.cls_score")
        or re.fullmatch(r"head\.classification_head\.module_list\.\d\.1", path)
    ]
    hooks = [
        layer.register_forward_hook(lambda item, _inputs, output: given.update({item: output}))
        for layer in ends
    ]
    with torch.no_grad():
        module(list(pictures()))
    for hook in hooks:
        hook.remove()
    for layer, logits in given.items():
        spread(layer, logits)
    return model
