"""What the README and the pages tell people to type exists, and their links lead somewhere."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

BLOCK = re.compile(r"^ *```(console|bash|sh)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:deploymark|nox|python -m nox) [^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)

TEST_COMMAND = "python -m nox -s tests"
PLACEHOLDER = re.compile(r"[\[\]…|<>]")


def commands(page: Path) -> Iterator[str]:
    """Command lines of a page, from its blocks and from inline code without placeholders."""
    text = page.read_text(encoding="utf-8")
    for kind, block in BLOCK.findall(text):
        for line in map(str.strip, block.replace("\\\n", " ").splitlines()):
            if kind == "console":
                if line.startswith("$ "):
                    yield line[2:]
            elif line and not line.startswith("#"):
                yield line
    for line in INLINE.findall(FENCE.sub("", text)):
        if not PLACEHOLDER.search(line):
            yield " ".join(line.split())


def words(command: str) -> list[str]:
    """A command's words, without its environment, redirections and what is chained to it."""
    found = shlex.split(command, comments=True)
    while found and re.fullmatch(r"[A-Z_]+=.*", found[0]):
        del found[0]
    for end in ("&&", "||", ";", "|", ">", ">>", "&"):
        if end in found:
            found = found[: found.index(end)]
    return found


ALL_COMMANDS = [
    pytest.param(words(command), id=f"{page.stem}: {command}")
    for page in PAGES
    for command in dict.fromkeys(commands(page))
]
DEPLOYMARK = [param for param in ALL_COMMANDS if param.values[0][:1] == ["deploymark"]]
NOX = [param for param in ALL_COMMANDS if "nox" in param.values[0][:3]]


def nox_sessions() -> set[str]:
    """Names of the functions in the noxfile that are sessions."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any("nox.session" in ast.unparse(decorator) for decorator in node.decorator_list)
    }


def parse(arguments: list[str]) -> None:
    """Check a ``deploymark`` command line against the options it declares; runs nothing."""
    from deploymark.bench.cli import main as cli

    command: Any = typer.main.get_command(cli.app)
    context = command.context_class(command, info_name="deploymark")
    rest = arguments
    while hasattr(command, "commands"):
        if hasattr(command, "meant"):  # a group whose first word may be no command
            rest = command.meant(list(rest))
        _, rest, _ = command.make_parser(context).parse_args(list(rest))
        if not rest:
            return
        assert rest[0] in command.commands, f"no command {rest[0]!r}"
        command = command.commands[rest[0]]
        context = command.context_class(command, parent=context, info_name=rest[0])
        rest = rest[1:]
    _, left, _ = command.make_parser(context).parse_args(list(rest))
    assert not left, f"left over: {left}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in HEADING.findall(text)
    }


def test_the_pages_have_commands() -> None:
    assert DEPLOYMARK
    assert NOX


@pytest.mark.parametrize("arguments", DEPLOYMARK)
def test_deploymark_commands_parse(arguments: list[str]) -> None:
    parse(arguments[1:])


def test_a_misspelt_option_does_not_parse() -> None:
    with pytest.raises(Exception, match="imgsize"):
        parse(["run", "--imgsize", "640"])


@pytest.mark.parametrize("arguments", NOX)
def test_nox_sessions_exist(arguments: list[str]) -> None:
    place = arguments.index("--") if "--" in arguments else len(arguments)
    ours, passed_on = arguments[:place], arguments[place + 1 :]
    named = [word for word in ours[ours.index("-s") + 1 :] if not word.startswith("-")]
    assert named
    assert set(named) <= nox_sessions()
    if named == ["bench"]:
        parse(["run", *passed_on])
        parse(["list", *passed_on, "--requires"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert not broken


def test_the_first_commands_of_the_readme_do_the_main_job() -> None:
    first = list(commands(ROOT / "README.md"))[:2]
    assert first == ['python -m pip install "nox[uv]"', "python -m nox -s bench"]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert TEST_COMMAND in list(commands(ROOT / "README.md"))
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.search(rf"^{re.escape(TEST_COMMAND)}\b", script.read_text("utf-8"), re.MULTILINE)
