"""Mixed precision found by search: which layers stay in float, so that INT8 agrees with FP32.

Layers are ranked by partial quantization's sensitivity analysis (Wu, Judd, Zhang, Isaev,
Micikevicius, "Integer Quantization for Deep Learning Inference: Principles and Empirical
Evaluation", 2020, section 5.1): one layer at a time is quantized, all others are in float, and what
that loses is the layer's sensitivity. The other way round, one layer at a time in float, tells
little of a detector that two layers spoil: freeing the second alone leaves it at zero. On a YOLO11n
at 320 pixels, quantized with its decode by one scale a tensor, the 16 layers ranked first agreed by
0.97 with FP32, those ranked the other way round by 0.82, by the error of the raw output 0.82.

Then layers go to float in order of sensitivity, the fewest that are enough being found by
bisection: agreement rises with their number but for noise, and ten trials do in place of a hundred.
A ranking of single layers overlooks that neighbours share the rounding of what is between them, so
each layer kept is tried in INT8 once more at the end, the least sensitive first, and stays there if
it can.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploymark.backends.agreement import agreement
from deploymark.backends.base import ExportError, ExportRequest, Outputs
from deploymark.backends.inputs import extra_inputs
from deploymark.backends.onnx.graph import INPUT_NAME

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

REPORT_EVERY = 10
"""Trials between two lines of progress."""

Trial = Callable[[Collection[str], int | None], float]
"""Agreement with FP32 of the model whose named layers are in float, on the first so many batches
of the calibration images (None: on all)."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search found.

    ``kept`` are the layers in float, the most sensitive first. ``before`` and ``after`` are the
    agreement with FP32 without and with them, over all calibration images.
    """

    kept: tuple[str, ...]
    before: float
    after: float


class OnnxTrials:
    """Trials of ONNX files on the CPU, in the kernels that an INT8 artifact runs in there.

    ``reference`` is the FP32 file, ``arrays`` are the batches of calibration images. ``write``
    writes a file whose named layers are in float, which is made at ``scratch``. ``request`` has the
    contracts and the size.
    """

    def __init__(
        self,
        reference: Path,
        arrays: Sequence[npt.NDArray[np.float32]],
        request: ExportRequest,
        write: Callable[[Path, Collection[str]], None],
        scratch: Path,
    ) -> None:
        self._arrays = arrays
        self._extra = extra_inputs(request.detector.spec, request.input_shape)
        self._contract = request.detector.output, request.imgsz
        self._write = write
        self._trial = scratch / "trial.onnx"
        self._expected = _outputs(reference, arrays, self._extra)

    def __call__(self, floats: Collection[str], batches: int | None) -> float:
        """See ``Trial``."""
        self._write(self._trial, floats)
        found = _outputs(self._trial, self._arrays[:batches], self._extra)
        return agreement(self._expected[:batches], found, *self._contract)


def search(layers: Sequence[str], trial: Trial, *, max_drop: float, ranking_batches: int) -> Found:
    """The fewest of ``layers`` in float with which agreement is at least 1 - ``max_drop``.

    Layers are ranked on the first ``ranking_batches`` batches; everything else is judged on all
    calibration images. ``layers`` may be in INT8, in the order of the model. Raises ExportError if
    no layer can be, even the least sensitive one alone.
    """
    limit = 1 - max_drop
    before = trial((), None)
    _say(f"all {len(layers)} layers in INT8 agree with FP32 by {before:.3f}, limit {limit:.3f}")
    if before >= limit:
        return Found((), before, before)
    ranked = rank(layers, trial, ranking_batches)
    most = len(ranked) - 1
    after = trial(ranked[:most], None)
    if after < limit:
        raise ExportError(
            f"with one layer in INT8 and {most} in float, the model agrees with FP32 by "
            f"{after:.3f}, not by {limit:.3f}",
            remedy="Raise max_drop.",
        )
    too_few, enough = 0, most
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        agreed = trial(ranked[:middle], None)
        _say(f"with the first {middle} in float: {agreed:.3f}")
        if agreed >= limit:
            enough, after = middle, agreed
        else:
            too_few = middle
    kept, after = _thinned(ranked[:enough], after, trial, limit)
    return Found(tuple(kept), before, after)


def rank(layers: Sequence[str], trial: Trial, batches: int) -> list[str]:
    """The layers, the one that costs most agreement when it alone is in INT8 first.

    Layers that cost the same keep the order of the model.
    """
    costs: dict[str, float] = {}
    for count, layer in enumerate(layers, start=1):
        costs[layer] = 1 - trial([other for other in layers if other != layer], batches)
        if count % REPORT_EVERY == 0 or count == len(layers):
            worst = max(costs, key=lambda name: costs[name])
            _say(f"ranked {count} of {len(layers)} layers; {worst} alone costs {costs[worst]:.3f}")
    return sorted(layers, key=lambda name: -costs[name])


def _thinned(
    ranked: Sequence[str], after: float, trial: Trial, limit: float
) -> tuple[list[str], float]:
    """Without those that need not be in float, and the agreement then."""
    kept = list(ranked)
    for count, layer in enumerate(reversed(ranked), start=1):
        fewer = [other for other in kept if other != layer]
        agreed = trial(fewer, None)
        if agreed >= limit:
            kept, after = fewer, agreed
        if count % REPORT_EVERY == 0 or count == len(ranked):
            _say(f"tried {count} of {len(ranked)} in INT8 again: {len(kept)} stay in float")
    return kept, after


def note(found: Found, layers: int, images: int, max_drop: float) -> str:
    """A sentence for people on what was found, among ``layers`` layers over ``images`` images."""
    limit = f"over {images} images, limit {1 - max_drop:.3f}"
    if not found.kept:
        return (
            f"no layer kept in float by the search: agreement with FP32 {found.after:.3f} {limit}"
        )
    return (
        f"kept in float by the search: {', '.join(found.kept)} ({len(found.kept)} of {layers} "
        f"layers); agreement with FP32 {found.before:.3f} -> {found.after:.3f} {limit}"
    )


def _say(line: str) -> None:
    """Progress, into the log of the build."""
    sys.stderr.write(f"search for layers to keep in float: {line}\n")
    sys.stderr.flush()


def _outputs(
    path: Path,
    arrays: Sequence[npt.NDArray[np.float32]],
    extra: Mapping[str, npt.NDArray[Any]],
) -> list[Outputs]:
    """Raw outputs of an ONNX file of ours, whose arrays are in the order of their contract.

    One thread: other builds may run beside this one.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = (session.run(None, {INPUT_NAME: images, **extra}) for images in arrays)
    return [tuple(each) if len(each) > 1 else each[0] for each in found]
