"""Reading of configuration files: YAML with what it forbids or guesses as an error that names the line."""

from __future__ import annotations

from typing import Any

import yaml

MAX_DEPTH = 20  # of nested sections and lists
TIMESTAMP = "tag:yaml.org,2002:timestamp"


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader; keys given twice or without text, long numbers and deep nesting are errors.

    A date stays text: `lr: 2026-01-01` is then not a number.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node, unless it is nested too deeply."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} nested levels", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping whose keys are distinct texts."""
        seen = set()
        for key, _ in node.value:
            problem = ""
            if key.tag != "tag:yaml.org,2002:str":
                problem = "a key is not text; write it in quotes"
            elif key.value in seen:
                problem = f"the key {key.value} is given twice"
            if problem:
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Return the value of a node; a number that Python cannot read is an error."""
        try:
            return super().construct_object(node, deep)
        except ValueError:
            message = f"{node.value[:20]}... is not a number that can be read"
            raise yaml.MarkedYAMLError(problem=message, problem_mark=node.start_mark) from None


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

Path = tuple[str, ...]


def parse(text: str) -> tuple[Any, dict[Path, int]]:
    """Return the content of a YAML file, and the line of each key by the names of its sections and its own.

    Raises:
        yaml.YAMLError: the text is not YAML, or contains what `Loader` does not accept.
    """
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        return loader.construct_document(node), _lines(node)
    finally:
        loader.dispose()


def _lines(node: Any, path: Path = ()) -> dict[Path, int]:
    lines: dict[Path, int] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        lines[*path, key.value] = key.start_mark.line + 1
        lines |= _lines(value, (*path, key.value))
    return lines
