"""Imports point down only: read from the sources, function-level ones included, without importing anything."""

from __future__ import annotations

import ast
import shutil
from functools import cache
from pathlib import Path

import pytest

import embedctl

ROOT = Path(embedctl.__file__).parent
# From the bottom up, a layer per line; a folder's name covers its modules.
LAYERS = (
    ("embedctl", "embedctl.errors", "embedctl.console", "embedctl.files", "embedctl.resources"),
    ("embedctl.config",),
    ("embedctl.distributed",),
    ("embedctl.remote",),
    ("embedctl.tokens",),
    ("embedctl.reading",),
    ("embedctl.data",),
    ("embedctl.model",),
    ("embedctl.losses",),
    ("embedctl.storage",),
    ("embedctl.search",),
    ("embedctl.reports",),
    ("embedctl.encoding",),
    ("embedctl.mining",),
    ("embedctl.evaluation",),
    ("embedctl.training",),
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


parse = cache(ast.parse)  # most files of a copy are those of the package


def sources(root: Path) -> dict[str, ast.Module]:
    """Module name to syntax tree."""
    return {module_name(path, root): parse(path.read_text(encoding="utf-8")) for path in root.rglob("*.py")}


def imports(tree: ast.AST, modules: set[str]) -> set[str]:
    """The package's own modules that a tree imports, at any depth."""
    found = set()
    for node in ast.walk(tree):
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
    name = ".".join(module.split(".")[:2])
    for height, names in enumerate(LAYERS):
        if name in names:
            return height
    raise LookupError(f"{module} has no layer: put it in a folder that has one, or name it in LAYERS")


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Every import that points up."""
    return [f"{low} imports {up}" for low, ups in sorted(graph.items()) for up in sorted(ups) if layer(up) > layer(low)]


def circle(graph: dict[str, set[str]]) -> list[str]:
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


def graph_of(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Module name to the package's modules that it imports: at its top, in functions and for typing."""
    return {name: imports(tree, set(trees)) - {name} for name, tree in trees.items()}


def faults(root: Path) -> list[str]:
    """Every upward import and a circle of imports, if there is one.

    Raises:
        LookupError: a file has no layer.
    """
    graph = graph_of(sources(root))
    return [*upward(graph), *filter(None, [" -> ".join(circle(graph))])]


def is_plain_list(tree: ast.Module) -> bool:
    """Whether a package's __init__ holds nothing but a docstring, imports and names given to constants."""
    allowed = (ast.Import, ast.ImportFrom)
    return all(
        isinstance(node, allowed)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.List | ast.Tuple))
        for node in tree.body
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package in which a test can plant a fault."""
    return Path(shutil.copytree(ROOT, tmp_path / "embedctl", ignore=shutil.ignore_patterns("__pycache__")))


def plant(file: Path, line: str) -> None:
    file.write_text(f"{file.read_text(encoding='utf-8')}\n\n{line}\n", encoding="utf-8")


def test_imports_point_down_and_no_two_files_import_each_other():
    assert faults(ROOT) == []


@pytest.mark.parametrize(
    "line",
    [
        "from embedctl.training.loop import Loop",
        "def late():\n    import embedctl.training.loop",
        "if TYPE_CHECKING:\n    from embedctl.training import loop",
    ],
)
def test_a_planted_upward_import_is_found(copy, line):
    plant(copy / "mining/miner.py", line)
    assert "embedctl.mining.miner imports embedctl.training.loop" in faults(copy)


@pytest.mark.parametrize(
    "line",
    [
        "from embedctl.losses.infonce import InfoNCE",
        "def late():\n    from embedctl.losses import infonce",
        "if TYPE_CHECKING:\n    import embedctl.losses.infonce",
    ],
)
def test_a_planted_circle_between_two_files_of_a_folder_is_found(copy, line):
    plant(copy / "losses/base.py", line)
    found = faults(copy)
    assert len(found) == 1
    assert {"embedctl.losses.base", "embedctl.losses.infonce"} == set(found[0].split(" -> "))


@pytest.mark.parametrize("file", ["utils.py", "helpers/text.py"])
def test_a_file_in_no_layer_is_found(copy, file):
    (copy / file).parent.mkdir(exist_ok=True)
    (copy / file).write_text('"""A file that nobody has a place for."""\n\nfrom embedctl import console\n', "utf-8")
    with pytest.raises(LookupError, match="has no layer"):
        faults(copy)


def test_every_folder_has_a_layer_and_every_layer_files():
    found = {".".join(name.split(".")[:2]) for name in sources(ROOT)}
    assert found == {name for names in LAYERS for name in names}


def test_packages_are_empty_or_plain_lists():
    trees = sources(ROOT)
    packages = {module_name(path, ROOT) for path in ROOT.rglob("__init__.py")}
    assert [name for name in sorted(packages) if not is_plain_list(trees[name])] == []
    assert not is_plain_list(ast.parse("def late(): pass"))


def test_what_answers_help_imports_nothing_heavy_at_its_top():
    light = ("embedctl.config", "embedctl.commands", "embedctl.cli", "embedctl.__main__")
    trees = {
        name: tree
        for name, tree in sources(ROOT).items()
        if layer(name) == 0 or name.startswith(light) or name in ("embedctl.data.rows", "embedctl.reading.json_values")
    }
    assert {name: heavy for name, tree in trees.items() if (heavy := top_level_imports(tree) & HEAVY)} == {}
