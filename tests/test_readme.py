"""What both READMEs say is in the code: losses, formats, and the files of the table "to add X, touch Y"."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import embedctl
from embedctl.config import LossSection, flag_of
from embedctl.losses.matryoshka import Matryoshka
from embedctl.losses.select import LOSSES
from embedctl.reading.files import OPENERS
from embedctl.reading.readers import READERS
from embedctl.storage.writers import WRITERS

ROOT = Path(embedctl.__file__).parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "README.md").is_file(), reason="no checkout")
both = pytest.mark.parametrize("readme", ["README.md", "README.zh.md"])


def text_of(readme: str) -> str:
    return (ROOT / readme).read_text(encoding="utf-8")


def table(readme: str, header: str) -> list[list[str]]:
    """The cells of the rows of the table whose first line begins with `header`."""
    lines = text_of(readme).split(f"\n{header}", 1)[1].splitlines()[2:]
    rows = lines[: next(place for place, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


LOSS_HEADERS = {"README.md": "| loss | rows |", "README.zh.md": "| 损失 | 数据行 |"}
TABLE_HEADERS = {"README.md": "| to add | touch", "README.zh.md": "| 要添加 | 只需改动 |"}


@both
def test_the_losses_are_all_listed_with_their_options(readme):
    rows = table(readme, LOSS_HEADERS[readme])
    assert {row[0].strip("`") for row in rows} == {loss.__name__ for loss in (*LOSSES, Matryoshka)}
    assert set(re.findall(r"--[a-z-]+", " ".join(row[3] for row in rows))) == set(
        map(flag_of, LossSection.model_fields)
    )


@both
def test_the_formats_are_all_listed(readme):
    text = text_of(readme)
    listed = set(re.findall(r"`(\.[a-z]+)`", text))
    assert listed == {*READERS, *WRITERS, *OPENERS, ".txt"}


@both
def test_the_files_to_touch_are_there(readme):
    named = {name for row in table(readme, TABLE_HEADERS[readme]) for name in re.findall(r"`([\w/]+\.py)`", row[1])}
    assert len(named) > 7
    assert {name for name in named if "new.py" not in name and not (ROOT / "embedctl" / name).is_file()} == set()
