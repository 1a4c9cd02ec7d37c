"""The direction of imports: a module may import from the layers below its own and from its own package, and from nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "stackgan_cli"
FILES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    ("errors",),
    ("config", "files", "processes"),
    ("runtime", "locks", "safety"),
    ("data", "text", "models"),
    ("objectives", "runs"),
    ("interop",),
    ("encoders",),
    ("registry", "workspace"),
    ("training", "sampling", "metrics", "viz"),
    ("workflows",),
    ("cli",),
    ("__main__",),
)
"""Lowest first. Units of the same layer do not import one another. All may import the version from `stackgan_cli` itself."""
LEVEL = {unit: level for level, units in enumerate(LAYERS) for unit in units}


def unit_of(path: Path) -> str:
    """The top-level package or module of the package that a file belongs to; empty for the package's own `__init__`."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path, *, top_level: bool = False) -> Iterator[tuple[str, int]]:
    """(dotted module, line) of every import in a file; `top_level` leaves out those in functions and under TYPE_CHECKING."""

    def walk(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
        for node in nodes:
            yield node
            is_typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            if isinstance(node, (ast.If, ast.Try, ast.With, ast.ClassDef)) and not is_typing:
                yield from walk(node.body)

    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in walk(tree.body) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            module = node.module or ""
            yield from ((f"{module}.{alias.name}" if module == "stackgan_cli" else module, node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    unit = unit_of(path)
    if not unit:
        return
    assert unit in LEVEL, f"{unit} has no layer: give it one in this test"
    for module, line in imports(path):
        if not module.startswith("stackgan_cli."):
            continue
        other = module.split(".")[1]
        if other.startswith("__") or other == unit:
            continue
        assert LEVEL[other] < LEVEL[unit], f"{path}:{line}: {unit} imports {other}, which is not below it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_where_they_belong(path: Path) -> None:
    unit = unit_of(path)
    used = {module.split(".")[0]: line for module, line in imports(path)}
    at_start = {module.split(".")[0] for module, _ in imports(path, top_level=True)}
    assert unit == "data" or "h5py" not in used, f"{path}:{used.get('h5py')}: h5py is for data/ alone"
    if unit not in ("cli", "__main__"):
        assert not {"typer", "rich"} & set(used), f"{path}: typer and rich are for cli/ alone"
    assert "click" not in used, f"{path}: typer brings its own"
    if unit in ("cli", "config", "__main__", "errors", "files", "processes", "locks", ""):
        assert not {"torch", "torchvision", "scipy", "sklearn", "h5py"} & at_start, f"{path}: import it inside the function"
    if unit == "config":
        assert "torch" not in used


SNIFFING_ALLOWED = ("registry", "config", "models", "interop")
"""Where the kind of a model's configuration may be asked for; everyone else asks the registry, or its properties."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_asks_which_architecture_it_has_to_do_with(path: Path) -> None:
    if unit_of(path) in SNIFFING_ALLOWED:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    configs = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stackgan_cli.config.archs")
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "getattr", "hasattr"):
            first, second = map(ast.unparse, node.args[:2])
            where = f"{path}:{node.lineno}: {ast.unparse(node)}"
            assert not (ast.unparse(node.func) == "isinstance" and any(name in second for name in configs)), where
            assert first.rpartition(".")[2] not in ("model", "config") or ast.unparse(node.func) == "isinstance", where
        if isinstance(node, ast.Match):
            cases = [ast.unparse(case.pattern) for case in node.cases]
            assert not any(case.startswith(f"{name}(") for case in cases for name in configs), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_session_stays_in_the_command_line(path: Path) -> None:
    if unit_of(path) in ("cli", "__main__"):
        return
    names = {node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)}
    assert "Session" not in names, path


VERBS = {path.stem for path in (PACKAGE / "cli").glob("*.py")}
NETWORKS = ("config/archs", "models", "objectives", "encoders", "interop")
"""Folders in which an architecture or a network has a file each."""


def test_no_two_files_have_names_that_look_alike() -> None:
    """Files of one name are a verb in cli/, workflows/ and the layer that does its work, or one network in the folders of networks."""
    folders: dict[str, list[str]] = {}
    for path in FILES:
        if path.stem not in ("__init__", "base"):
            folders.setdefault(path.stem, []).append(str(path.parent.relative_to(PACKAGE)))
    for name, places in folders.items():
        if len(places) == 1 or all(place in NETWORKS for place in places):
            continue
        others = [place for place in places if place not in ("cli", "workflows")]
        assert name in VERBS and len(others) <= 1, f"{name}.py is in {', '.join(places)}"


def test_no_print_and_no_pickle() -> None:
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "eval", "exec"), f"{path}:{node.lineno}: {node.func.id}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pickle.load", "pickle.loads", "yaml.load"):
                raise AssertionError(f"{path}:{node.lineno}: {ast.unparse(node.func)} executes what it reads")
