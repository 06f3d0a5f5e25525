"""Options that several commands take, declared once."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploymark.bench.cli.shared import words

if TYPE_CHECKING:
    from deploymark.bench.matrix.request import RunRequest

MatrixArgument = Annotated[
    str | None,
    typer.Argument(metavar="[MATRIX]", help="Matrix file, or the name of a shipped one."),
]
MatrixOption = Annotated[
    str | None, typer.Option("--matrix", metavar="FILE", help="The same, as an option.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FILE",
        help="A .pt checkpoint; or an exported file or folder, measured as it is.",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Ultralytics data.yaml or COCO JSON to score it on; or a folder of images, no labels.",
    ),
]
ImgszOption = Annotated[
    str,
    typer.Option(
        "--imgsz",
        metavar="N|HxW[,…]",
        help="Input size in pixels, instead of the matrix's: 640, or height x width as 384x640. A "
        "comma means two sizes.",
    ),
]
BackendsOption = Annotated[
    str, typer.Option("--backends", metavar="A,B", help="Backends, instead of the matrix's.")
]
PrecisionsOption = Annotated[
    str, typer.Option("--precisions", metavar="A,B", help="Precisions, instead of the matrix's.")
]
FamilyOption = Annotated[
    str,
    typer.Option(
        "--family",
        metavar="NAME",
        help="Family whose conventions an exported file follows, where it does not tell: yolov5, "
        "yolov8, yolox, detr, rtdetr, … (docs/models.md).",
    ),
]
BoxesOption = Annotated[
    str,
    typer.Option(
        "--boxes",
        metavar="UNIT",
        help="Boxes of an exported file: pixels, or normalised to its input.",
    ),
]
InputRangeOption = Annotated[
    str,
    typer.Option(
        "--input-range",
        metavar="LOW,HIGH",
        help="Values of black and white that an exported file takes: 0,1, 0,255 or -1,1.",
    ),
]
LaunchesOption = Annotated[
    int | None,
    typer.Option(
        "--launches",
        metavar="N",
        min=1,
        max=1000,
        help="Launches of each cell that may be the answer, instead of as many as it takes.",
    ),
]
MaxImagesOption = Annotated[
    int | None,
    typer.Option(
        "--max-images", metavar="N", min=1, help="Score on the first N images of the data set."
    ),
]
SelectOption = Annotated[
    str,
    typer.Option(
        "-k", metavar="EXPR", help='Cells by words of their ids: "openvino and not int8".'
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="A cell that stays disturbed by other load, heat or a hypervisor is invalid and fails "
        "the run; by default it is marked.",
    ),
]
SkipBadOption = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave out rows and images of the data set that have a fault, and record them; by "
        "default a run with any does not start.",
    ),
]
RequiresOption = Annotated[
    bool, typer.Option("--requires", help="Print the extras that the cells need, and no more.")
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write all of it as data.")
]
ResultsOption = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Folder that gets the run directory.")
]


@dataclasses.dataclass(frozen=True)
class Choice:
    """The options that name cells, as ``run`` and ``list`` take them."""

    matrix: MatrixArgument = None
    matrix_option: MatrixOption = None
    model: ModelOption = None
    data: DataOption = None
    imgsz: ImgszOption = ""
    backends: BackendsOption = ""
    precisions: PrecisionsOption = ""
    family: FamilyOption = ""
    boxes: BoxesOption = ""
    input_range: InputRangeOption = ""
    launches: LaunchesOption = None
    max_images: MaxImagesOption = None
    select: SelectOption = ""
    strict: StrictOption = False
    skip_bad: SkipBadOption = False

    def request(self) -> RunRequest:
        """What is asked for. Raises BadInputError."""
        from deploymark.bench.errors import BadInputError
        from deploymark.bench.matrix.request import RunRequest

        matrix, option = self.matrix, self.matrix_option
        if matrix is not None and option is not None and matrix != option:
            raise BadInputError(f"two matrices are named: {matrix} and {option}")
        tell_two_sizes(self.imgsz)
        return RunRequest(
            matrix=matrix or option,
            model=self.model,
            data=self.data,
            imgsz=words("--imgsz", self.imgsz),
            backends=words("--backends", self.backends),
            precisions=words("--precisions", self.precisions),
            family=self.family,
            boxes=self.boxes,
            input_range=words("--input-range", self.input_range),
            launches=self.launches,
            max_images=self.max_images,
            select=self.select,
            strict=self.strict,
            skip_bad=self.skip_bad,
        )


def tell_two_sizes(imgsz: str) -> None:
    """Say what a comma means where two numbers may have been meant as one rectangle."""
    sides = [word.strip() for word in imgsz.split(",")]
    if len(set(sides)) == len(sides) == 2 and all(side.isdigit() for side in sides):  # noqa: PLR2004 - height, width
        first, second = sides
        sys.stderr.write(
            f"--imgsz {first},{second} is two sizes, squares of {first} and of {second} px; one "
            f"rectangle of that height and width is --imgsz {first}x{second}\n"
        )


def takes_choice(command: Callable[..., None]) -> Callable[..., None]:
    """Put the options of ``Choice`` before a command's own; it is given them as ``choice``."""
    chosen = inspect.signature(Choice, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True).parameters

    @wraps(command)
    def wrapped(**given: Any) -> None:
        choice = Choice(**{name: given.pop(name) for name in chosen})
        command(choice=choice, **given)

    options = [*chosen.values(), *(own[name] for name in own if name != "choice")]
    # typer reads a command's options from its signature
    wrapped.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return wrapped
