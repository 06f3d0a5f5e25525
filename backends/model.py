"""A detector as a loader gives it: a torch module and the two contracts that it keeps.

What a loader returns: of a checkpoint of a known family (``bench.variants.sources``), or of a
package of your own (``loader: my_package.my_module:load`` in a matrix, or an entry point of the
group ``deploymark.models``). Written for Python 3.10 and nothing besides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from deploymark.backends.inputs import PLAIN_INPUT, InputSpec, Size
from deploymark.backends.layout import PLAIN_OUTPUT, OutputSpec


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel:
    """A detector, ready to be exported.

    ``module`` is a ``torch.nn.Module`` on the CPU, in float32 and evaluation mode. It maps float32
    (batch, 3, height, width), as ``input`` has them, and the extra inputs of ``input`` in their
    order, to one tensor, or a tuple in the order of ``layout.ROLES``, of ``output``. ``input`` has
    no size where any is taken, or the one that is. Both sides of an image are multiples of
    ``stride``. ``names`` are the class names by index.

    ``float_nodes`` are regular expressions, matched against whole node names of the exported graph
    (``/head/decoder/layers.0/MatMul``: the path of the modules, and the operator), of what stays in
    float when quantizing. ``at`` is called once, before the module is used, with the size that it
    is exported at: for a module that holds something of the size. ``family`` and ``licence`` are
    words for people.
    """

    module: Any
    names: tuple[str, ...]
    input: InputSpec = PLAIN_INPUT
    output: OutputSpec = PLAIN_OUTPUT
    stride: int = 1
    float_nodes: tuple[str, ...] = ()
    family: str = ""
    licence: str = ""
    at: Callable[[Size], None] | None = None
