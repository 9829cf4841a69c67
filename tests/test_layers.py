"""A module imports only modules of its own or lower layers. The test parses the sources and imports nothing."""

from __future__ import annotations

import ast
import shutil
from functools import cache
from pathlib import Path

import pytest

import embedctl

ROOT = Path(embedctl.__file__).parent
BASE = tuple(
    f"embedctl.{name}"
    for name in (
        "credentials",
        "digests",
        "inputs",
        "locks",
        "outputs",
        "run_folder",
        "shell",
        "signals",
        "write_errors",
    )
)
# One layer per line, the lowest first; the name of a folder includes its modules.
LAYERS = (
    ("embedctl", "embedctl.errors", "embedctl.console", "embedctl.files", "embedctl.resources", *BASE),
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
SLOW = {
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


parse = cache(ast.parse)  # most files of a copy are unchanged


def sources(root: Path) -> dict[str, ast.Module]:
    """Return the syntax tree of each module by its name."""
    return {module_name(path, root): parse(path.read_text(encoding="utf-8")) for path in root.rglob("*.py")}


def imports(tree: ast.AST, modules: set[str]) -> set[str]:
    """Return the package's modules that a tree imports, also inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else str(node.module) for name in names}
    return found & modules


def top_level_imports(tree: ast.Module) -> set[str]:
    """Return the packages that a module imports at its top level, not inside functions."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found


def layer(module: str) -> int:
    """Return the index of a module's layer.

    Raises:
        LookupError: the module is not in LAYERS.
    """
    name = ".".join(module.split(".")[:2])
    for index, names in enumerate(LAYERS):
        if name in names:
            return index
    raise LookupError(f"{module} has no layer: move it to a folder that has one, or add it to LAYERS")


def upward_imports(graph: dict[str, set[str]]) -> list[str]:
    """Return all imports of a module of a higher layer."""
    pairs = [(module, other) for module, others in sorted(graph.items()) for other in sorted(others)]
    return [f"{module} imports {other}" for module, other in pairs if layer(other) > layer(module)]


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of one import cycle, or an empty list."""
    finished: set[str] = set()

    def visit(module: str, chain: list[str]) -> list[str]:
        if module in chain:
            return [*chain[chain.index(module) :], module]
        if module in finished:
            return []
        cycles = (visit(imported, [*chain, module]) for imported in sorted(graph[module]))
        cycle = next(filter(None, cycles), [])
        finished.add(module)
        return cycle

    cycles = (visit(module, []) for module in sorted(graph))
    return next(filter(None, cycles), [])


def graph_of(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return the modules that each module imports: at its top level, in functions and for typing."""
    return {name: imports(tree, set(trees)) - {name} for name, tree in trees.items()}


def wrong_imports(root: Path) -> list[str]:
    """Return all imports of higher layers, and one import cycle if there is any.

    Raises:
        LookupError: a file has no layer.
    """
    graph = graph_of(sources(root))
    return [*upward_imports(graph), *filter(None, [" -> ".join(find_cycle(graph))])]


def has_only_imports(tree: ast.Module) -> bool:
    """Whether an `__init__` contains only a docstring, imports and constants."""
    allowed = (ast.Import, ast.ImportFrom)
    return all(
        isinstance(node, allowed)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.List | ast.Tuple))
        for node in tree.body
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the package that a test can change."""
    return Path(shutil.copytree(ROOT, tmp_path / "embedctl", ignore=shutil.ignore_patterns("__pycache__")))


def append(file: Path, line: str) -> None:
    file.write_text(f"{file.read_text(encoding='utf-8')}\n\n{line}\n", encoding="utf-8")


def test_no_import_of_a_higher_layer_and_no_cycle():
    assert wrong_imports(ROOT) == []


@pytest.mark.parametrize(
    "line",
    [
        "from embedctl.training.loop import Loop",
        "def function():\n    import embedctl.training.loop",
        "if TYPE_CHECKING:\n    from embedctl.training import loop",
    ],
)
def test_an_import_of_a_higher_layer_is_found(copy, line):
    append(copy / "mining/miner.py", line)
    assert "embedctl.mining.miner imports embedctl.training.loop" in wrong_imports(copy)


@pytest.mark.parametrize(
    "line",
    [
        "from embedctl.losses.infonce import InfoNCE",
        "def function():\n    from embedctl.losses import infonce",
        "if TYPE_CHECKING:\n    import embedctl.losses.infonce",
    ],
)
def test_a_cycle_of_two_files_of_a_folder_is_found(copy, line):
    append(copy / "losses/base.py", line)
    found = wrong_imports(copy)
    assert len(found) == 1
    assert {"embedctl.losses.base", "embedctl.losses.infonce"} == set(found[0].split(" -> "))


@pytest.mark.parametrize("file", ["utils.py", "helpers/text.py"])
def test_a_file_without_a_layer_is_found(copy, file):
    (copy / file).parent.mkdir(exist_ok=True)
    (copy / file).write_text('"""A file without a layer."""\n\nfrom embedctl import console\n', "utf-8")
    with pytest.raises(LookupError, match="has no layer"):
        wrong_imports(copy)


def test_every_folder_has_a_layer_and_every_layer_has_files():
    found = {".".join(name.split(".")[:2]) for name in sources(ROOT)}
    assert found == {name for names in LAYERS for name in names}


def test_init_files_have_only_imports_and_constants():
    trees = sources(ROOT)
    packages = {module_name(path, ROOT) for path in ROOT.rglob("__init__.py")}
    assert [name for name in sorted(packages) if not has_only_imports(trees[name])] == []
    assert not has_only_imports(ast.parse("def function(): pass"))


def test_modules_of_the_help_import_nothing_slow_at_the_top_level():
    prefixes = ("embedctl.config", "embedctl.commands", "embedctl.cli", "embedctl.__main__")
    trees = {
        name: tree
        for name, tree in sources(ROOT).items()
        if layer(name) == 0
        or name.startswith(prefixes)
        or name in ("embedctl.data.rows", "embedctl.reading.json_values")
    }
    assert {name: slow for name, tree in trees.items() if (slow := top_level_imports(tree) & SLOW)} == {}
