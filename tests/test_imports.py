"""The house has floors, imports run down, and the worker's side fits any runtime's Python."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = (
    ("bench.cli",),
    ("bench.pytest_plugin",),
    ("bench.fleet", "bench.gate"),
    ("bench.run",),
    ("reports.several",),
    ("reports.gate", "reports.run"),
    ("reports.compare", "reports.history"),
    ("reports.page",),
    ("bench.choose", "bench.explain"),
    ("bench.build", "bench.bundle", "bench.history"),
    ("bench.variants", "bench.compare"),
    ("bench.doctor", "bench.score"),
    ("bench.matrix",),
    ("bench.data",),
    ("bench.worker", "bench.machine"),
    ("bench.meters",),
    ("bench.children", "bench.store", "bench.statistics"),
    ("bench.store_folders",),
    ("bench.yaml_source", "bench.records"),
    ("bench.leases", "bench.packed_sizes", "bench.room", "bench.text_files", "bench.last_words"),
    ("bench.errors", "bench.progress", "bench.assets", "bench.interruptions", "bench.scratch"),
    ("backends",),
)
"""The house, top to bottom: a module imports from its own floor and the floors below."""

OURS = ("backends", "bench", "matrices", "reports")

REPORTS_MAY_READ = ("deploymark.bench.records.", "deploymark.bench.errors", "deploymark.reports")

WORKER_SIDE = (
    "deploymark/__init__.py",
    "bench/__init__.py",
    "bench/children/__init__.py",
    "bench/children/child.py",
    "bench/worker/**/*.py",
    "backends/**/*.py",
)

WORKER_PYTHON = (3, 10)

NEWER_THAN_WORKER_PYTHON = {
    "tomllib",
    "contextlib.chdir",
    "datetime.UTC",
    "enum.StrEnum",
    "hashlib.file_digest",
    "typing.LiteralString",
    "typing.Never",
    "typing.NotRequired",
    "typing.Required",
    "typing.Self",
    "typing.TypeVarTuple",
    "typing.Unpack",
    "typing.assert_never",
    "typing.assert_type",
    "typing.override",
}


def is_type_checking(node: ast.stmt) -> bool:
    """Whether this is an ``if TYPE_CHECKING:``, which never runs."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(body: list[ast.stmt], *, deep: bool) -> Iterator[ast.stmt]:
    """The statements that run on import and, where ``deep``, those inside functions, too."""
    for node in body:
        yield node
        if is_type_checking(node):
            yield from statements(node.orelse, deep=deep)  # type: ignore[attr-defined]
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not deep:
            continue
        for field in ("body", "orelse", "finalbody"):
            yield from statements(getattr(node, field, []), deep=deep)
        for handler in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
            yield from statements(handler.body, deep=deep)


def imports(tree: ast.Module, *, deep: bool) -> set[str]:
    """Dotted names that a module imports: ``from a import b`` gives ``a.b``."""
    found: set[str] = set()
    for node in statements(tree.body, deep=deep):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import: {ast.unparse(node)}"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module_name(path: Path) -> str:
    """``bench/run/launch.py`` → ``deploymark.bench.run.launch``, as it is installed."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] in OURS:
        parts = ("deploymark", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for package in ("deploymark", *OURS)
    for path in sorted((ROOT / package).rglob("*.py"))
}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def owner(name: str) -> str:
    """The module of ours that a dotted name belongs to, or an empty string."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def our_imports(module: str, *, deep: bool = True) -> set[str]:
    """Modules of ours that a module imports."""
    return {owner(name) for name in imports(tree_of(MODULES[module]), deep=deep)} - {"", module}


def worker_side() -> list[Path]:
    return sorted({path for pattern in WORKER_SIDE for path in ROOT.glob(pattern)})


def room(module: str) -> str:
    """The entry of ``FLOORS`` that a module belongs to, or an empty string."""
    name = module.removeprefix("deploymark.")
    rooms = (found for floor in FLOORS for found in floor)
    return next((found for found in rooms if f"{name}.".startswith(f"{found}.")), "")


def floor_of(module: str) -> int:
    """The number of a module's floor, the top one being 0."""
    return next(number for number, floor in enumerate(FLOORS) if room(module) in floor)


def upward(module: str, imported: set[str]) -> list[str]:
    """What a module imports from floors above its own."""
    return sorted(name for name in imported if room(name) and floor_of(name) < floor_of(module))


def test_every_module_has_a_floor() -> None:
    """All but the faces of the packages, which import nothing that is not asked for."""
    faces = {"", ".__main__", ".bench", ".matrices", ".reports"}
    assert {module for module in MODULES if not room(module)} == {f"deploymark{f}" for f in faces}
    for floor in FLOORS:
        for found in floor:
            assert f"deploymark.{found}" in MODULES, f"no {found}: the list is out of date"


def test_imports_run_down() -> None:
    climbing = [
        f"{module} (floor {floor_of(module)}, {room(module)}) imports {name} "
        f"(floor {floor_of(name)}, {room(name)}), which is above it"
        for module in MODULES
        if room(module)
        for name in upward(module, our_imports(module))
    ]
    assert not climbing, "\n".join(climbing)


def test_an_import_of_a_floor_above_is_seen() -> None:
    assert upward("deploymark.bench.records.run", {"deploymark.bench.run.launch"})
    assert not upward("deploymark.bench.run.launch", {"deploymark.bench.records.run"})


def test_reports_read_records_and_nothing_else() -> None:
    strangers = {
        module: sorted(
            name for name in our_imports(module) if not name.startswith(REPORTS_MAY_READ)
        )
        for module in MODULES
        if module.startswith("deploymark.reports")
    }
    assert not {module: names for module, names in strangers.items() if names}


def place_of(module: str) -> str:
    """The folder that a module stands in; one that stands in none of ours is a place by itself."""
    path = MODULES[module].relative_to(ROOT)
    return path.as_posix() if len(path.parts) <= 2 else path.parent.as_posix()


def test_no_folders_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        here = place_of(module)
        graph.setdefault(here, set()).update({*map(place_of, our_imports(module))} - {here})
    # The face hands on what stands far below it, and everything else is imported by its name.
    face = place_of("deploymark")
    try:
        tuple(
            TopologicalSorter(
                {here: there - {face} for here, there in graph.items()}
            ).static_order()
        )
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_nothing_is_imported_by_the_name_of_its_folder() -> None:
    """``bench`` and the others are folders of the repository: their import name is deploymark's."""
    wrong = {
        path.relative_to(ROOT).as_posix(): sorted(found)
        for path in (*MODULES.values(), *(ROOT / "tests").rglob("*.py"))
        if (found := {n for n in imports(tree_of(path), deep=True) if n.partition(".")[0] in OURS})
    }
    assert not wrong


def test_no_imports_go_in_a_circle() -> None:
    graph = {module: our_imports(module) for module in MODULES}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_no_module_takes_the_private_names_of_another() -> None:
    taken = {
        module: sorted(
            name
            for name in imports(tree_of(path), deep=True)
            if name.partition(".")[0] == "deploymark"
            and any(part.startswith("_") and part != "__version__" for part in name.split("."))
        )
        for module, path in MODULES.items()
    }
    assert not {module: names for module, names in taken.items() if names}


def test_every_pattern_of_the_worker_side_finds_a_file() -> None:
    assert not [pattern for pattern in WORKER_SIDE if not list(ROOT.glob(pattern))]


@pytest.mark.parametrize("path", worker_side(), ids=module_name)
def test_worker_side_is_python_3_10(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source, str(path), feature_version=WORKER_PYTHON)
    assert not imports(tree, deep=True) & NEWER_THAN_WORKER_PYTHON
    named = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not named & NEWER_THAN_WORKER_PYTHON


@pytest.mark.parametrize("path", worker_side(), ids=module_name)
def test_worker_side_imports_numpy_and_the_standard_library(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports(tree_of(path), deep=False)}
    allowed = set(sys.stdlib_module_names) | {"numpy", "deploymark"}
    assert not roots - allowed


def test_worker_reaches_only_the_worker_side() -> None:
    """Importing ``bench.worker.main`` must not pull a module in that needs more than numpy."""
    allowed = {module_name(path) for path in worker_side()}
    seen: set[str] = set()
    waiting = ["deploymark.bench.worker.main"]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += our_imports(module, deep=False)
    foreign = {
        module: sorted(
            name
            for name in imports(tree_of(MODULES[module]), deep=False)
            if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "deploymark"}
        )
        for module in seen - allowed
    }
    assert not {module: names for module, names in foreign.items() if names}
    for module in seen:
        ast.parse(MODULES[module].read_text("utf-8"), module, feature_version=WORKER_PYTHON)


def device_side() -> list[Path]:
    """What the agent of a fleet's device is, besides the worker's side (``bench.fleet.agent``)."""
    tree = tree_of(ROOT / "bench" / "fleet" / "agent.py")
    (patterns,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SOURCE"
    )
    found = {pattern: set(ROOT.glob(pattern)) for pattern in patterns}
    assert not [pattern for pattern, paths in found.items() if not paths]
    return sorted(set().union(*found.values()) - set(worker_side()))


@pytest.mark.parametrize("path", device_side(), ids=module_name)
def test_device_side_is_python_3_10_and_sent_as_a_whole(path: Path) -> None:
    sent = {*device_side(), *worker_side()}
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source, str(path), feature_version=WORKER_PYTHON)
    assert not imports(tree, deep=True) & NEWER_THAN_WORKER_PYTHON
    named = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not named & NEWER_THAN_WORKER_PYTHON
    roots = {name.partition(".")[0] for name in imports(tree, deep=True)}
    assert not roots - set(sys.stdlib_module_names) - {"deploymark", "psutil"}
    ours = our_imports(module_name(path)) - {"deploymark"}
    assert not {module for module in ours if MODULES[module] not in sent}


@pytest.mark.parametrize("name", ["device", "keeper"])
def test_what_is_sent_as_text_needs_nothing_of_ours(name: str) -> None:
    path = ROOT / "bench" / "fleet" / f"{name}.py"
    tree = ast.parse(path.read_text("utf-8"), str(path), feature_version=WORKER_PYTHON)
    roots = {name.partition(".")[0] for name in imports(tree, deep=True)}
    assert not roots - set(sys.stdlib_module_names) - {"distributed"}
    assert not imports(tree, deep=True) & NEWER_THAN_WORKER_PYTHON
