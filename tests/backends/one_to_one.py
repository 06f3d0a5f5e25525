"""The smallest network that ends like a one-to-one head: places in, its best detections out."""

from __future__ import annotations

from typing import Any

CLASSES = 3
BEST = 20


def network() -> Any:
    """A torch module from (batch, 3, s, s) to (batch, ``BEST``, 6), sorted by score.

    It chooses as ``ultralytics.nn.modules.head.Detect.postprocess`` does: the best places, then
    the best classes among these.
    """
    import torch

    class Network(torch.nn.Module):
        """One convolution, and the choice of its best places."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = torch.nn.Conv2d(3, 4 + CLASSES, 8, 8)

        def forward(self, images: Any) -> Any:
            places = self.conv(images).flatten(2).permute(0, 2, 1)
            boxes, scores = places.split((4, CLASSES), dim=-1)
            scores = scores.sigmoid()
            index = scores.max(dim=-1)[0].topk(BEST)[1].unsqueeze(-1)
            boxes = boxes.gather(dim=1, index=index.repeat(1, 1, 4))
            scores = scores.gather(dim=1, index=index.repeat(1, 1, CLASSES))
            scores, index = scores.flatten(1).topk(BEST)
            row = torch.arange(boxes.shape[0])[..., None]
            return torch.cat(
                [boxes[row, index // CLASSES], scores[..., None], (index % CLASSES)[..., None]],
                dim=-1,
            )

    return Network().eval()
