"""The README and the pages of docs/ agree with the code: links, options, losses, formats, table of extensions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

import embedctl
from embedctl.cli import app
from embedctl.config import LossSection, flag_of
from embedctl.losses.matryoshka import Matryoshka
from embedctl.losses.select import LOSSES
from embedctl.reading.files import DECOMPRESSORS
from embedctl.reading.readers import READERS
from embedctl.storage.writers import WRITERS

ROOT = Path(embedctl.__file__).parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "README.md").is_file(), reason="not a checkout")
PAGES = ["README.md", "README.zh.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
every_page = pytest.mark.parametrize("page", PAGES)
FENCED_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def table(page: str, header: str) -> list[list[str]]:
    """The cells of the rows of the table whose first line begins with `header`."""
    lines = text_of(page).split(f"\n{header}", 1)[1].splitlines()[2:]
    rows = lines[: next(number for number, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCED_BLOCK.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands_in(page: str) -> list[str]:
    """The embedctl command lines of the page's fenced blocks, without comments."""
    blocks = [
        body.replace("\\\n", " ") for language, body in FENCED_BLOCK.findall(text_of(page)) if language != "python"
    ]
    lines = [line.removeprefix("$ ").split(" #")[0] for block in blocks for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if part.startswith("embedctl ")]


@every_page
def test_links_between_pages_have_existing_targets(page):
    for link in re.findall(r"\]\(([^)]+)\)", text_of(page)):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / name).resolve().relative_to(ROOT).as_posix() if name else page
        assert (ROOT / target).is_file(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_commands_and_options_exist(page):
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for line in commands_in(page):
        name = line.split()[1]
        options = {flag for parameter in commands[name].params for flag in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"(?<= )--?[a-z][a-z-]*", line)) <= options, line


@every_page
def test_options_in_the_text_exist(page):
    commands = typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
    flags = {flag for command in commands for parameter in command.params for flag in parameter.opts}
    quoted = re.findall(r"`(--[a-z_-]+)", text_of(page).replace("`--no-NAME`", "").replace("`--NAME`", ""))
    assert {flag.replace("_", "-") for flag in quoted} <= flags | {"--install-completion"}


def test_both_readmes_have_the_same_parts():
    english, chinese = text_of("README.md"), text_of("README.zh.md")
    assert len(re.findall(r"^#", english, re.MULTILINE)) == len(re.findall(r"^#", chinese, re.MULTILINE))
    assert english.count("\n|") == chinese.count("\n|")
    assert set(re.findall(r"docs/\w+\.md", english)) == set(re.findall(r"docs/\w+\.md", chinese))
    assert set(re.findall(r"docs/\w+\.md", english)) == {page for page in PAGES if page.startswith("docs/")}
    same = [[line.replace("-zh-", "-en-") for line in commands_in(page)] for page in ("README.md", "README.zh.md")]
    assert same[0] == same[1]


def test_all_losses_are_listed_with_their_options():
    rows = table("docs/training.md", "| loss | rows |")
    assert {row[0].strip("`") for row in rows} == {loss.__name__ for loss in (*LOSSES, Matryoshka)}
    assert set(re.findall(r"--[a-z-]+", " ".join(row[3] for row in rows))) == set(
        map(flag_of, LossSection.model_fields)
    )


def test_all_file_formats_are_listed():
    listed = set(re.findall(r"`(\.[a-z0-9]+)`", text_of("docs/commands.md")))
    assert listed == {*READERS, *WRITERS, *DECOMPRESSORS, ".txt"}


def test_the_files_of_the_table_of_extensions_exist():
    rows = table("docs/development.md", "| addition | files to change |")
    named = {name for row in rows for name in re.findall(r"`([\w/]+\.py)`", row[1])}
    assert len(named) > 7
    assert {name for name in named if "new.py" not in name and not (ROOT / "embedctl" / name).is_file()} == set()


def test_the_files_of_the_glossary_exist():
    used = [row[2] for line in text_of("docs/glossary.md").splitlines() if len(row := line.strip("|").split("|")) == 3]
    for name in re.findall(r"`([\w/]+/(?:\w+\.py)?|\w+\.py)`", " ".join(used)):
        assert (ROOT / "embedctl" / name).exists(), name
