"""YAML files whose every value knows its line and column, and errors that say them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from deploymark.backends.yaml_limits import YamlLimitError, check_limits
from deploymark.bench.errors import BadInputError
from deploymark.bench.text_files import read_text

Model = TypeVar("Model", bound=pydantic.BaseModel)

_MAX_SHOWN = 60
"""Longest rendering of an offending value in a message, characters."""


Place = tuple[str | int, ...]
"""Where a value stands in a document: keys and indices from the top."""


@dataclasses.dataclass(frozen=True)
class YamlSource:
    """A parsed YAML document. ``file`` is how messages name it.

    ``document`` is None where none was read. ``given`` are the places whose values came from the
    command line in place of the document's, and the option that gave each: ``--imgsz 320``.
    """

    file: str
    document: Any
    given: Mapping[Place, str] = dataclasses.field(default_factory=dict)

    def option_of(self, path: Sequence[str | int]) -> str:
        """The option that gave the value at ``path``; empty where the document did."""
        for length in range(len(path), 0, -1):
            if (option := self.given.get(tuple(path[:length]))) is not None:
                return option
        return ""

    def position(self, path: Sequence[str | int]) -> tuple[int, int]:
        """Line and column (from 1) of the value at ``path``, or of its nearest known ancestor."""
        node = self.document
        line, column = 0, 0
        for step in path:
            if isinstance(node, CommentedMap) and step in node:
                line, column = node.lc.key(step)
            elif isinstance(node, CommentedSeq) and isinstance(step, int) and step < len(node):
                line, column = node.lc.item(step)
            else:
                break
            node = node[step]
        return line + 1, column + 1

    def error(self, path: Sequence[str | int], what: str, *, remedy: str = "") -> BadInputError:
        """The error for the value at ``path``: ``file:line:column: path: what``.

        ``--option value: what`` where the command line gave it; without line and column where no
        document was read.
        """
        if option := self.option_of(path):
            return BadInputError(f"{option}: {what}", remedy=remedy)
        where = self.file
        if self.document is not None:
            line, column = self.position(path)
            where += f":{line}:{column}"
        dotted = dotted_path(path)
        return BadInputError(
            f"{where}: {dotted}: {what}" if dotted else f"{where}: {what}", remedy=remedy
        )


def dotted_path(path: Sequence[str | int]) -> str:
    """``("models", 0, "path")`` as ``models[0].path``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def load_yaml(path: Path, *, shown_as: str | None = None) -> YamlSource:
    """Read a YAML file. Raises BadInputError with file, line and column if it cannot be parsed."""
    file = shown_as or str(path)
    yaml = YAML(typ="rt")
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise BadInputError(f"{file}: no such file") from None
    try:
        check_limits(text)
        document = yaml.load(text)
    except YamlLimitError as error:
        where = f"{file}:{error.line}:{error.column}" if error.line else file
        raise BadInputError(f"{where}: {error.what}") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        remedy = ""
        if "escape" in (error.problem or ""):
            remedy = "In double quotes a backslash begins an escape: write / in paths."
        problem = (error.problem or "not valid YAML").strip()
        raise BadInputError(f"{where}: {problem}", remedy=remedy) from error
    except YAMLError as error:
        raise BadInputError(f"{file}: not valid YAML: {error}") from error
    except Exception as error:
        # ruamel's constructors raise all kinds for values that only look like dates or numbers
        raise BadInputError(f"{file}: not valid YAML: {error}") from error
    return YamlSource(file=file, document=document)


def did_you_mean(word: object, known: Sequence[str]) -> str:
    """``, did you mean 'x'?`` for the nearest known word, or an empty string.

    The only one that begins so is near, however much longer it is: ``onnx`` is ``onnxruntime``.
    """
    near = difflib.get_close_matches(str(word), list(known), n=1)
    begun = [one for one in known if word and one.startswith(str(word).lower())]
    if not near and len(begun) == 1:
        near = begun
    return f", did you mean {near[0]!r}?" if near else ""


def _shown(value: object) -> str:
    text = repr(value if not isinstance(value, (CommentedMap, CommentedSeq)) else _plain(value))
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _path_in_document(document: object, loc: Sequence[str | int]) -> list[str | int]:
    """The part of pydantic's location that the document has: drops the names of union members."""
    path: list[str | int] = []
    node = document
    for step in loc:
        if (isinstance(node, dict) and step in node) or (
            isinstance(node, list) and isinstance(step, int) and step < len(node)
        ):
            path.append(step)
            node = node[step]  # type: ignore[index]
    return path


def _known_keys(model: type[pydantic.BaseModel], loc: Sequence[str | int]) -> list[str]:
    """Keys allowed where an unknown one was met: searched over all models below ``model``."""
    schema = model.model_json_schema()
    node: Any = schema
    for step in loc[:-1]:
        node = _descend(schema, node, step)
        if node is None:
            return []
    return [key for member in _members(schema, node) for key in member.get("properties", {})]


def _members(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """The members of a union, however nested; what is none is its own only member."""
    reference = node.get("$ref", "")
    found = schema["$defs"][reference.rsplit("/", 1)[1]] if reference else node
    options = found.get("anyOf") or found.get("oneOf") or ()
    return [member for option in options for member in _members(schema, option)] or [found]


def _descend(
    schema: dict[str, Any], node: dict[str, Any], step: str | int
) -> dict[str, Any] | None:
    for found in _members(schema, node):
        if isinstance(step, int) and "items" in found:
            return dict(found["items"])
        if step in found.get("properties", {}):
            return dict(found["properties"][step])
        if any(key.get("const") == step for key in found.get("properties", {}).values()):
            return found  # the member of a union that the value's `kind` names
    return node  # the name of a union's member, which the schema does not nest


def validate(source: YamlSource, model: type[Model]) -> Model:
    """The document as ``model``.

    Raises BadInputError for the first thing wrong with it: ``file:line:column: path: what is wrong
    (got …), did you mean …``.
    """
    if not isinstance(source.document, dict):
        raise source.error((), f"expected a mapping at the top (got {_shown(source.document)})")
    try:
        return model.model_validate(_plain(source.document))
    except pydantic.ValidationError as error:
        raise _first_error(source, model, error) from error


def _first_error(
    source: YamlSource, model: type[pydantic.BaseModel], error: pydantic.ValidationError
) -> BadInputError:
    # A union reports one error a member: the deepest location is the member that was meant.
    details = max(error.errors(include_url=False), key=lambda item: len(item["loc"]))
    path = _path_in_document(source.document, details["loc"])
    if not details["loc"]:  # of keys that contradict each other the input is all of the file
        return source.error(path, sentence(details))
    got = _shown(details["input"])
    kind = details["type"]
    if kind == "extra_forbidden":
        key = str(details["loc"][-1])
        hint = did_you_mean(key, _known_keys(model, details["loc"]))
        return source.error(path, f"unknown key{hint or f' (got {got})'}")
    if kind == "missing":
        return source.error(path, f"missing key {details['loc'][-1]!r}")
    if kind == "literal_error":
        expected = str(details.get("ctx", {}).get("expected", ""))
        words = [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")]
        hint = did_you_mean(details["input"], words)
        return source.error(path, f"expected {expected} (got {got}){hint}")
    if kind == "too_short":
        return source.error(path, f"must not be empty (got {got})")
    return source.error(path, f"{sentence(details)} (got {got})")


def sentence(details: Mapping[str, Any]) -> str:
    """What one of pydantic's errors says, in our words."""
    said = str(details["msg"]).removeprefix("Value error, ")
    return said.replace("Input should be", "must be", 1)
