"""What backends of one input and one output refuse: contracts of several arrays, more inputs.

Written for Python 3.10 and nothing besides.
"""

from __future__ import annotations

from deploymark.backends.errors import UnsupportedError
from deploymark.backends.inputs import PLAIN_INPUT, InputSpec
from deploymark.backends.layout import ROLES, OutputSpec

_OTHERS = "onnxruntime, openvino, torch and torchscript measure it."


def require_one_array(
    backend: str, output: OutputSpec | None, spec: InputSpec = PLAIN_INPUT
) -> None:
    """Raise UnsupportedError for contracts that are more than one array of one input of images.

    Of float32, in the order (batch, 3, height, width). ``output`` is None where it is not known.
    """
    if output is not None and output.arrays > 1:
        names = ", ".join(output.names or ROLES[output.layout])
        raise UnsupportedError(
            f"{backend} gives one array here, and a contract of {output.layout} has "
            f"{output.arrays} ({names})",
            remedy=_OTHERS,
        )
    if spec.extra:
        names = ", ".join(item.name for item in spec.extra)
        raise UnsupportedError(
            f"{backend} is given images alone here, and the input contract has {names} besides",
            remedy=_OTHERS,
        )
    if spec.dtype != "float32" or spec.channels_last:
        order = "(batch, height, width, 3)" if spec.channels_last else "(batch, 3, height, width)"
        raise UnsupportedError(
            f"{backend} is given float32 (batch, 3, height, width) here, and the input contract is "
            f"{spec.dtype} {order}",
            remedy="onnxruntime and openvino read files that take bytes, or the channels last.",
        )
