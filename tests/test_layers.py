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
    ("config", "files"),
    ("runtime",),
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
    if unit in ("cli", "config", "__main__", "errors", "files", ""):
        assert not {"torch", "torchvision", "scipy", "sklearn", "h5py"} & at_start, f"{path}: import it inside the function"
    if unit == "config":
        assert "torch" not in used


def test_no_print_and_no_pickle() -> None:
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "eval", "exec"), f"{path}:{node.lineno}: {node.func.id}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pickle.load", "pickle.loads", "yaml.load"):
                raise AssertionError(f"{path}:{node.lineno}: {ast.unparse(node.func)} executes what it reads")
