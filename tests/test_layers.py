"""Imports point down only: read from the sources, function-level ones included, without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import embedctl

ROOT = Path(embedctl.__file__).parent
# From the bottom up; a name covers its submodules, the longest name that fits counts.
LAYERS = (
    ("embedctl", "embedctl.errors", "embedctl.resources", "embedctl.config", "embedctl.console", "embedctl.files"),
    ("embedctl.data.rows", "embedctl.losses"),
    ("embedctl.data", "embedctl.model", "embedctl.retrieval", "embedctl.evaluation", "embedctl.training"),
    ("embedctl.training.worker", "embedctl.encoding.worker"),
    ("embedctl.commands",),
    ("embedctl.cli",),
    ("embedctl.__main__",),
)
HEAVY = {
    "torch",
    "transformers",
    "sentence_transformers",
    "accelerate",
    "faiss",
    "ir_measures",
    "pyarrow",
    "numpy",
    "tokenizers",
    "matplotlib",
    "wandb",
    "huggingface_hub",
}


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(root: Path) -> dict[str, ast.Module]:
    """Module name to syntax tree."""
    return {module_name(path, root): ast.parse(path.read_text(encoding="utf-8")) for path in root.rglob("*.py")}


def is_for_typing(node: ast.AST) -> bool:
    """Whether a node is `if TYPE_CHECKING:`, which never runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def walk(tree: ast.AST, *, typing: bool) -> Iterator[ast.AST]:
    """Every node, those under `if TYPE_CHECKING:` only if asked for."""
    for node in ast.iter_child_nodes(tree):
        if typing or not is_for_typing(node):
            yield node
            yield from walk(node, typing=typing)


def imports(tree: ast.AST, modules: set[str], *, typing: bool = True) -> set[str]:
    """The package's own modules that a tree imports, at any depth."""
    found = set()
    for node in walk(tree, typing=typing):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else str(node.module) for name in names}
    return found & modules


def top_level_imports(tree: ast.Module) -> set[str]:
    """The packages that importing a module imports at once: those of its own statements, not of its functions."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found


def layer(module: str) -> int:
    """How high a module stands.

    Raises:
        LookupError: LAYERS has no place for it.
    """
    parts = module.split(".")
    for length in range(len(parts), 1 if len(parts) > 1 else 0, -1):
        name = ".".join(parts[:length])
        for height, names in enumerate(LAYERS):
            if name in names:
                return height
    raise LookupError(f"{module} has no layer: put it in a package that has one, or name it in LAYERS")


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Every import that points up."""
    return [f"{low} imports {up}" for low, ups in sorted(graph.items()) for up in sorted(ups) if layer(up) > layer(low)]


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """One chain of imports that ends where it began, or none."""
    finished: set[str] = set()

    def visit(module: str, chain: list[str]) -> list[str]:
        if module in chain:
            return [*chain[chain.index(module) :], module]
        if module in finished:
            return []
        loops = (visit(below, [*chain, module]) for below in sorted(graph[module]))
        loop = next((loop for loop in loops if loop), [])
        finished.add(module)
        return loop

    loops = (visit(module, []) for module in sorted(graph))
    return next((loop for loop in loops if loop), [])


def is_plain_list(tree: ast.Module) -> bool:
    """Whether a package's __init__ holds nothing but a docstring, imports and names given to constants."""
    allowed = (ast.Import, ast.ImportFrom)
    return all(
        isinstance(node, allowed)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.List | ast.Tuple))
        for node in tree.body
    )


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return sources(ROOT)


@pytest.fixture(scope="module")
def graph(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    return {name: imports(tree, set(trees)) - {name} for name, tree in trees.items()}


def test_imports_point_down(graph):
    assert upward(graph) == []


def test_no_module_imports_itself_through_others(trees):
    assert cycle({name: imports(tree, set(trees), typing=False) - {name} for name, tree in trees.items()}) == []


def test_packages_are_empty_or_plain_lists(trees):
    packages = {module_name(path, ROOT) for path in ROOT.rglob("__init__.py")}
    assert [name for name in sorted(packages) if not is_plain_list(trees[name])] == []


def test_command_modules_import_nothing_heavy_at_their_top(trees):
    light = [name for name in trees if layer(name) in (0, 4, 5, 6)] + ["embedctl.data.rows"]
    assert {name: heavy for name in light if (heavy := top_level_imports(trees[name]) & HEAVY)} == {}


def test_the_graph_holds_function_level_imports(graph):
    assert "embedctl.model.embedder" in graph["embedctl.commands.encode"] | graph["embedctl.commands.evaluate"]
    assert "embedctl.config" in graph["embedctl.cli"] | graph["embedctl.commands.train"]


def test_the_rules_can_be_broken():
    assert upward({"embedctl.errors": {"embedctl.console"}, "embedctl.console": set()}) == []
    assert upward({"embedctl.losses.infonce": {"embedctl.model.embedder"}}) == [
        "embedctl.losses.infonce imports embedctl.model.embedder"
    ]
    assert upward({"embedctl.training.loop": {"embedctl.training.worker"}})
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    with pytest.raises(LookupError):
        layer("embedctl.utils")
    assert not is_plain_list(ast.parse("def late(): pass"))
    inside = ast.parse("def f():\n    from embedctl.data import rows\n    import embedctl.errors")
    assert imports(inside, {"embedctl.data.rows", "embedctl.errors"}) == {"embedctl.data.rows", "embedctl.errors"}
    typed = ast.parse("if TYPE_CHECKING:\n    from embedctl.model import embedder")
    assert imports(typed, {"embedctl.model.embedder"}) == {"embedctl.model.embedder"}
    assert imports(typed, {"embedctl.model.embedder"}, typing=False) == set()
