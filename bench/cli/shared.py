"""What the commands share: exit codes, the console, errors as one message."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, cast

import typer
from rich.console import Console
from rich.markup import escape

from deploymark.bench import interruptions
from deploymark.bench.last_words import last_words

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INCONCLUSIVE = 3

console = Console(highlight=False)

_OF_TYPER = cast(
    "tuple[type[Exception], ...]", (*typer.BadParameter.__mro__[1:3], typer.Exit, typer.Abort)
)
"""What typer tells by itself; the first two are UsageError and ClickException of its click."""


def mends_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Show an error as one message (``last_words``), exit 2; a signal as 128 and its number."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError):  # a stream that is no file is ready as it is
                # names of files may have bytes that are no text
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        try:
            with interruptions.raised():
                _tells_of_a_signal(command, *args, **kwargs)
        except KeyboardInterrupt:  # in the last steps before its end
            raise typer.Exit(interruptions.exit_code()) from None
        except _OF_TYPER:
            raise
        except BrokenPipeError:
            raise  # click ends quietly where nobody reads any more
        except Exception as error:  # noqa: BLE001 - the front door
            tell(error)
            # without its cause: nothing below the front door shows a traceback
            raise typer.Exit(EXIT_BAD_INPUT) from None

    return wrapped


def _tells_of_a_signal(command: Callable[..., None], *args: Any, **kwargs: Any) -> None:
    """Carry out the command; where a signal stops it, tell how to go on, and exit."""
    try:
        command(*args, **kwargs)
    except KeyboardInterrupt:
        interruptions.tell()
        raise typer.Exit(interruptions.exit_code()) from None


def tell(error: BaseException) -> None:
    """Say on stderr what ended the command; nothing where nobody hears it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"deploymark: error: {last_words(error)}\n")


def write_file(option: str, path: Path, text: str) -> None:
    """Write the file that an option names, and print where it is. Raises BadInputError."""
    from deploymark.bench.errors import BadInputError
    from deploymark.bench.records.files import write_text_atomically

    try:
        write_text_atomically(path, text)
    except OSError as error:
        raise BadInputError(
            f"{option} {path}: cannot be written: {error.strerror or error}",
            remedy="Name a file in a folder that exists.",
        ) from error
    console.print(escape(str(path)))


def words(option: str, text: str) -> tuple[str, ...]:
    """``a, b``, given as an option, as a tuple of words.

    Raises BadInputError where something is given, and no word.
    """
    from deploymark.bench.errors import BadInputError

    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if text and not found:
        raise BadInputError(f"{option} {text!r} names nothing", remedy="Leave the option out.")
    return found
