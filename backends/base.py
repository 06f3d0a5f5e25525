"""The types a backend is made of: probe, export, load, infer.

Written for Python 3.10 and numpy alone: workers import this module under whatever interpreter
serves their runtime. A backend module imports its runtime inside its methods, never at the top, so
that asking what is installed costs nothing. Errors and probes have modules of their own, and are
handed on here: a backend needs ``backends.base`` and what helps it.

Exporting and running are two halves in two processes, as NVIDIA Polygraphy splits loader and
runner: ``Backend.export`` runs in the build child, ``Backend.load`` in the worker.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

# ruff: noqa: PLC0414 - what a backend needs is handed on from here
from deploymark.backends.errors import BackendError as BackendError
from deploymark.backends.errors import DeploymarkError as DeploymarkError
from deploymark.backends.errors import ExportError as ExportError
from deploymark.backends.errors import InputError as InputError
from deploymark.backends.errors import LoadError as LoadError
from deploymark.backends.errors import UnavailableError as UnavailableError
from deploymark.backends.errors import UnsupportedError as UnsupportedError
from deploymark.backends.inputs import PLAIN_INPUT as PLAIN_INPUT
from deploymark.backends.inputs import InputSpec as InputSpec
from deploymark.backends.inputs import Size as Size
from deploymark.backends.layout import AS_SEEN as AS_SEEN
from deploymark.backends.layout import PLAIN_OUTPUT as PLAIN_OUTPUT
from deploymark.backends.layout import BoxUnit as BoxUnit
from deploymark.backends.layout import FamilyName as FamilyName
from deploymark.backends.layout import OutputLayout as OutputLayout
from deploymark.backends.layout import OutputSpec as OutputSpec
from deploymark.backends.layout import ReadAs as ReadAs
from deploymark.backends.probe import Probe as Probe
from deploymark.backends.probe import Service as Service
from deploymark.backends.profile import Layer as Layer
from deploymark.backends.profile import Profile as Profile
from deploymark.backends.profile import Sample as Sample
from deploymark.backends.session import ExecutedPrecision as ExecutedPrecision
from deploymark.backends.session import Outputs as Outputs
from deploymark.backends.session import Session as Session
from deploymark.backends.session import Setting as Setting
from deploymark.backends.session import widened as widened

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PrecisionName = Literal[
    "fp32",
    "fp16",
    "bf16",
    "int8",
    "int8-dynamic",
    "int8-weights",
    "int8-qat",
    "palettized",
]

PRECISIONS: tuple[PrecisionName, ...] = get_args(PrecisionName)
"""The precisions of a cell, in the order tables show them. ``palettized`` keeps float arithmetic
and stores each weight as an index into a small table of values (Core ML)."""

QAT_PRECISION = "int8-qat"
"""The precision whose model comes with the rounding that it was trained with (fake quantization):
static INT8 that needs no calibration."""

CALIBRATED_PRECISIONS = frozenset({"int8"})
"""Precisions whose export reads calibration images (static post-training quantization)."""

NO_OPTIONS: Mapping[str, tuple[Setting, ...]] = {}
"""``Backend.runtime_options`` of one that has none."""


@dataclasses.dataclass(frozen=True)
class Detector:
    """What is known of a detector besides its weights.

    ``names`` are the class names by index; ``stride`` is the largest stride in pixels, which both
    sides of an input must be a multiple of; ``macs`` are multiply-accumulates of one image at the
    size exported. ``spec`` is its input contract, ``output`` its output contract, ``told`` what its
    user said of them; ``score_floor`` the lowest score that it keeps, None where it keeps them all.
    """

    names: tuple[str, ...]
    stride: int = 32
    output: OutputSpec = PLAIN_OUTPUT
    spec: InputSpec = PLAIN_INPUT
    told: ReadAs = AS_SEEN
    score_floor: float | None = None
    family: str = ""
    licence: str = ""
    params: int | None = None
    macs: int | None = None
    nonzero_fraction: float | None = None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Detector:
        """From a mapping such as ``dataclasses.asdict`` gives, after a way through JSON.

        One that an older version wrote has ``layout`` and ``boxes`` in place of ``output``.
        """
        given = dict(values)
        output = {"layout": given.pop("layout", None), "boxes": given.pop("boxes", None)}
        former = {key: value for key, value in output.items() if value is not None}
        return cls(
            **{
                **given,
                "names": tuple(given.get("names") or ()),
                "output": OutputSpec.read(given.get("output") or former),
                "spec": InputSpec.read(given.get("spec") or {}),
                "told": ReadAs(**(given.get("told") or {})),
            }
        )


@dataclasses.dataclass(frozen=True)
class ExportRequest:
    """One artifact to be made.

    ``model`` returns a fresh, fused ``torch.nn.Module`` in evaluation mode on the CPU that maps
    float32 (batch, 3, height, width), as ``detector.spec`` has them, and the extra inputs of it, to
    one tensor, or a tuple of several, of ``detector.output``. It is a function because some
    exporters leave a module unfit for another export. ``calibration`` yields float32 arrays
    (1, 3, height, width), the same on every call; it is None unless the precision needs it.
    ``float_nodes`` are regular expressions, matched against whole node names, of what must stay in
    float when quantizing (the decode of boxes and scores). ``folder`` is empty and receives the
    artifact's files.
    """

    model: Callable[[], Any]
    detector: Detector
    precision: str
    device: str
    imgsz: Size
    batch: int
    folder: Path
    calibration: Callable[[], Sequence[npt.NDArray[np.float32]]] | None = None
    float_nodes: tuple[str, ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape of the images, (batch, 3, height, width)."""
        return (self.batch, 3, *self.imgsz)


@dataclasses.dataclass(frozen=True)
class Artifact:
    """Exported files. ``entry`` is the path, relative to ``folder``, that the runtime opens.

    ``notes`` are sentences for people on how it came out: the layers that a search kept in float.
    """

    folder: Path
    entry: str
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The file or directory that the runtime opens."""
        return self.folder / self.entry


@dataclasses.dataclass(frozen=True)
class ArtifactFacts:
    """What an exported file that was made elsewhere says of itself.

    ``artifact`` is what ``load`` opens, ``files`` are all files of it, relative to its folder.
    ``input_shape`` is (batch, 3, height, width), whatever order the file keeps, with None for a
    size that it leaves open. ``names`` is empty and ``precision`` None where the file does not
    tell. ``spec`` and ``output`` are its contracts, ``family`` the one that they are of where it
    was recognised, ``score_floor`` the lowest score that the file keeps, None where it keeps them
    all. ``macs`` and ``params`` cannot be told from a file, and are not asked.
    """

    artifact: Artifact
    files: tuple[str, ...]
    input_shape: tuple[int | None, int | None, int | None, int | None]
    output: OutputSpec
    classes: int | None
    names: tuple[str, ...] = ()
    stride: int = 32
    precision: str | None = None
    spec: InputSpec = PLAIN_INPUT
    family: str = ""
    score_floor: float | None = None


@dataclasses.dataclass(frozen=True)
class LoadOptions:
    """How a session is to run: threads and precision always, and what differs from the defaults.

    ``threads`` counts the threads of one inference. ``input_shape`` is (batch, 3, height, width),
    ``spec`` how ``infer`` is given images of it. ``output`` is the output contract, None where it
    is not known. ``options`` are runtime options (``Backend.runtime_choices``): without any a
    runtime waits, spins, allocates and lays out as its documentation has a user run it.
    """

    device: str
    precision: str
    threads: int
    input_shape: tuple[int, int, int, int]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    spec: InputSpec = PLAIN_INPUT
    output: OutputSpec | None = None


class Backend(abc.ABC):
    """One exporter and one runtime. Stateless; found by name in ``backends.registry``."""

    name: str
    """The word used in matrices and cell ids."""

    default_device: str = "cpu"
    """The device of a cell that names none; the same on every machine, as it is part of the id."""

    export_packages: tuple[str, ...] = ()
    """Distributions whose versions shape the artifact: part of its key in the store."""

    runtime_packages: tuple[str, ...] = ()
    """Distributions whose versions shape the measurement: recorded with the run."""

    runtime_modules: tuple[str, ...] = ()
    """Modules of the runtime, imported by the worker before ``load`` so that the cost of the import
    and the cost of the model are two figures."""

    extra: str = ""
    """The extra of the distribution that installs this backend."""

    loader: str = ""
    """The lines that a user writes to load an artifact and infer with it, as the runtime's own
    documentation has them: Python that defines ``infer(images)``, which returns an array, or
    several in the contract's order. ``$entry``, ``$device``, ``$precision`` and ``$threads`` stand
    for those of the cell. ``np``, ``EXTRA``, the inputs besides by name, and ``OUTPUTS``, names or
    numbers of the outputs, are there; a runtime of one input and one output needs none of them.
    Empty where it takes many more lines."""

    artifact_endings: tuple[str, ...] = ()
    """Endings of the names of files and folders made elsewhere that ``describe`` reads, in lower
    case: ``.onnx``, ``_openvino_model``. Empty where the backend measures its own exports only."""

    runtime_options: Mapping[str, tuple[Setting, ...]] | None = None
    """Options of ``load`` and the values each may have, first the default: what the runtime does
    where its user asks for nothing. None where ``load`` itself checks what it is given."""

    giving_way: Mapping[str, Setting] = {}
    """Runtime options under which threads leave the processor to others as soon as they wait. They
    change no arithmetic, so that boxes may be computed so where figures of time are not asked."""

    resting: Mapping[str, Setting] = {}
    """Runtime options under which threads wait as they do by default within an inference, and leave
    the processor to others between two: for processes that take turns."""

    portable: bool = False
    """True where ``export`` makes the artifact on machines that cannot run it, too: it is then
    built, and its size told, although the cell is ``unavailable``."""

    @abc.abstractmethod
    def probe(self) -> Probe:
        """What is installed and served here. Fast, never imports the runtime, never raises."""

    @abc.abstractmethod
    def export(self, request: ExportRequest) -> Artifact:
        """Make the artifact in ``request.folder``. Runs in the build child.

        Raises UnsupportedError, UnavailableError or ExportError.
        """

    def resolve_options(self, precision: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The export options with every machine-dependent default made explicit.

        They are part of the artifact's key. Raises UnsupportedError naming an unknown option.
        """
        del precision
        if options:
            raise UnsupportedError(
                f"{self.name} takes no export options, got {', '.join(sorted(options))}"
            )
        return {}

    def runtime_choices(self, options: LoadOptions) -> Mapping[str, tuple[Setting, ...]] | None:
        """``runtime_options`` as they are for one device and number of threads."""
        del options
        return self.runtime_options

    def resolve_runtime_options(self, options: LoadOptions) -> dict[str, Setting]:
        """The runtime options with every default made explicit: recorded with each launch.

        Raises UnsupportedError naming an unknown option or value.
        """
        choices = self.runtime_choices(options)
        if choices is None:
            return dict(options.options)
        unknown = sorted(set(options.options) - set(choices))
        if unknown:
            names = f"{'option is' if len(choices) == 1 else 'options are'} {', '.join(choices)}"
            raise UnsupportedError(
                f"{self.name} has no runtime option {', '.join(unknown)}",
                remedy=f"Its {names}." if choices else "",
            )
        resolved = {name: values[0] for name, values in choices.items()} | dict(options.options)
        for name, values in choices.items():
            value = resolved[name]
            # True equals 1, and neither stands for the other
            if not any(value == known and type(value) is type(known) for known in values):
                raise UnsupportedError(
                    f"{self.name}'s option {name} is {_alternatives(values)}, got {value!r}"
                )
        return resolved

    def runtime_environment(self, settings: Mapping[str, Setting]) -> Mapping[str, str]:
        """Variables of the environment that the resolved runtime options come to.

        Set in the worker before the runtime is imported, as many read theirs no later.
        """
        del settings
        return {}

    def describe(self, path: Path, told: ReadAs = AS_SEEN) -> ArtifactFacts:
        """What a file or folder made elsewhere says of itself. Runs in a worker, as ``load`` does.

        ``path`` is what a user names: a file, or a folder such as ``yolo11n_openvino_model``;
        ``told`` what its user says of its output.
        Raises LoadError where it cannot be read or is no detector, UnavailableError where the
        runtime is not there.
        """
        del told
        raise UnsupportedError(
            f"{self.name} measures its own exports only, not {path.name}",
            remedy="Give the checkpoint as the model.",
        )

    @abc.abstractmethod
    def load(self, artifact: Artifact, options: LoadOptions) -> Session:
        """Open the artifact. Runs in the worker. Raises LoadError or UnavailableError.

        The artifact is one of ``export``, or one that ``describe`` knows. Whatever the file keeps
        (another order of axes, 16-bit or quantized inputs and outputs), the
        session takes and gives what ``Session.infer`` says.
        """


def _alternatives(values: Sequence[Setting]) -> str:
    """``true or false``, ``one of default, true, false``: the values as a matrix has them."""
    words = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    if len(words) == 1:
        return f"{words[0]} here"
    return " or ".join(words) if len(words) == 2 else f"one of {', '.join(words)}"  # noqa: PLR2004
