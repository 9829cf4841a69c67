"""Each extension of the table in docs/development.md is added to a copy of the package and used on the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import embedctl
from embedctl.resources import config_file, example_data
from tests.conftest import sentence

PACKAGE = Path(embedctl.__file__).parent


@dataclass(frozen=True)
class Checkout:
    """A copy of the package with its shipped files, and a working folder."""

    root: Path

    def create(self, file: str, text: str) -> None:
        """Add a file to the package."""
        assert not (self.root / "embedctl" / file).exists()
        (self.root / "embedctl" / file).write_text(text, encoding="utf-8")

    def insert(self, file: str, before: str, text: str) -> None:
        """Insert a text before `before`, which must occur exactly once."""
        path = self.root / "embedctl" / file
        content = path.read_text(encoding="utf-8")
        assert content.count(before) == 1, f"{file} contains {before!r} {content.count(before)} times"
        path.write_text(content.replace(before, text + before), encoding="utf-8")

    def run(self, *arguments: object) -> str:
        """Run the copied `embedctl` and return what it prints to stdout."""
        environment = {"PYTHONPATH": str(self.root), "HF_HUB_OFFLINE": "1", "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
        outcome = subprocess.run(
            [sys.executable, "-m", "embedctl", *map(str, arguments)],
            cwd=self.root / "work",
            env=os.environ | environment | {"EMBEDCTL_CACHE": str(self.root / "cache")},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout

    def json(self, *arguments: object) -> dict[str, Any]:
        """Run the copied `embedctl` with --json and return the printed JSON object."""
        summary: dict[str, Any] = json.loads(self.run(*arguments, "--json"))
        return summary

    def write(self, name: str, text: str) -> Path:
        """Write a file in the working folder and return its path."""
        path = self.root / "work" / name
        path.write_text(text, encoding="utf-8")
        return path

    def read(self, name: str) -> str:
        """Return the content of a file in the working folder."""
        return (self.root / "work" / name).read_text(encoding="utf-8")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    ignored = shutil.ignore_patterns("__pycache__", "*.yaml", "example_data")
    shutil.copytree(PACKAGE, tmp_path / "embedctl", ignore=ignored)
    shutil.copytree(example_data(), tmp_path / "example_data")
    shutil.copytree(config_file("train.yaml").parent, tmp_path / "config", ignore=shutil.ignore_patterns("*.py"))
    (tmp_path / "work").mkdir()
    return Checkout(tmp_path)


def rows(number: int) -> str:
    """Return the JSON lines of rows with two negatives each."""
    objects = [
        {"query": sentence(row), "pos": [sentence(1000 + row)], "neg": [sentence(2000 + row), sentence(3000 + row)]}
        for row in range(number)
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in objects)


HINGE = '''"""Hinge loss on the margin between the positive and the hardest other candidate."""

from __future__ import annotations

from typing import ClassVar, Self

from torch import Tensor

from embedctl.config import LossSection
from embedctl.data.rows import RowKind
from embedctl.losses.base import Loss, Targets, own_similarities


class Hinge(Loss):
    """max(0, margin - cos(q, p) + max over its negatives of cos(q, n))."""

    kinds: ClassVar = (RowKind.IN_BATCH, RowKind.HARD)
    margin: float

    @classmethod
    def from_options(cls, options: LossSection) -> Self | None:
        return None if options.hinge_margin is None else cls(margin=options.hinge_margin)

    def compute(self, query_QH: Tensor, document_DH: Tensor, targets: Targets) -> Tensor:
        cosine_QC = own_similarities(query_QH, document_DH, targets.own_QC)
        return (self.margin - cosine_QC[:, 0] + cosine_QC[:, 1:].max(dim=1).values).clamp(min=0).mean()
'''
HINGE_SECTION = '''class HingeSection(Section):
    """Options of the hinge loss, which replaces InfoNCE for rows without scores."""

    hinge_margin: float | None = option(None, "Loss")
    """margin of the hinge loss (default: InfoNCE)"""


'''


SEQUENCES = '''def _sequences(stream: BinaryIO) -> Iterator[Lines]:
    """Read JSON text sequences (RFC 7464): each value follows a record separator."""
    values = stream.read().split(b"\\x1e")[1:]
    yield ArrayElements(range(1, len(values) + 1), values)


'''


def test_a_new_row_format_is_recognized_by_its_content(checkout):
    checkout.insert("reading/json_values.py", "# The first bytes of a file, after", SEQUENCES)
    checkout.insert("reading/json_values.py", 'b"[": _read_array, ', 'b"\\x1e": _sequences, ')
    files = checkout.write("plain", rows(8)), checkout.write("sequence", f"\x1e{rows(8)}".replace("}\n{", "}\n\x1e{"))
    plain, sequence = checkout.json("validate-data", *files, "--neg-nums", "2")["files"]
    assert plain["rows"] == 8
    assert plain | {"path": ""} == sequence | {"path": ""}


SUBTITLES = '''def read_subtitles(path: str, stream: BinaryIO, _options: ReadOptions) -> Iterator[Record]:
    """Yield the text of each SubRip subtitle, without its number and its times."""
    for number, block in enumerate(stream.read().decode("utf-8").split("\\n\\n"), start=1):
        yield Record(path, number, " ".join(block.splitlines()[2:]))


'''


TSV = '''class TsvWriter(Writer):
    """Writes lines of the text, a tab and the numbers."""

    def write(self, texts: Sequence[str], vectors: NDArray[Any]) -> None:
        for text, vector in zip(texts, vectors, strict=True):
            self.stream.write(f"{text}\\t{' '.join(map(str, vector.tolist()))}\\n".encode())


'''


def test_a_new_text_format_is_read_and_a_new_output_format_is_written(checkout, tiny_model):
    """The new text format is read by encode and mine-negatives; the new output format is written by encode."""
    checkout.insert("reading/readers.py", "# Suffix of a file, without", SUBTITLES)
    checkout.insert("reading/readers.py", '".csv": read_csv', '".srt": read_subtitles, ')
    checkout.insert("storage/writers.py", "WRITERS: dict", TSV)
    checkout.insert("storage/writers.py", '".parquet": ParquetWriter}', '".tsv": TsvWriter, ')
    texts = [sentence(seed) for seed in range(40)]
    blocks = [f"{number}\n00:00 --> 00:01\n{text}" for number, text in enumerate(texts, start=1)]
    checkout.write("texts.srt", "\n\n".join(blocks))
    summary = checkout.json("encode", "--ckpt", tiny_model, "-i", "texts.srt", "-o", "out.tsv", "--device", "cpu")
    written = [line.split("\t") for line in checkout.read("out.tsv").splitlines()]
    assert [text for text, _ in written] == texts
    assert {len(numbers.split()) for _, numbers in written} == {summary["dim"]}
    checkout.write("rows.jsonl", rows(3))
    search = ["--dataset", "rows.jsonl", "--corpus", "texts.srt", "--range", "0-9", "--neg-nums", "3"]
    checkout.run("mine-negatives", "--model", tiny_model, *search, "--device", "cpu")
    mined = {text for line in checkout.read("mined.jsonl").splitlines() for text in json.loads(line)["neg"]}
    assert len(mined) > 2
    assert mined <= set(texts)


GENERAL_TRACKER = "from accelerate.tracking import GeneralTracker\n"
CSV_TRACKER = '''class CsvTracker(GeneralTracker):
    """Writes each metric to curves.csv."""

    name, requires_logging_directory = "csv", False

    def __init__(self, folder: Path) -> None:
        self.tracker = (folder / "curves.csv").open("w")
        super().__init__()

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.tracker.write(f"seed,0,{values['optim.seed']}\\n")

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        self.tracker.writelines(f"{name},{step},{value}\\n" for name, value in values.items())

    def finish(self) -> None:
        self.tracker.close()


'''


def test_a_new_loss_with_an_option_and_a_new_tracker_can_be_selected(checkout):
    """YAML selects each of them in one run, and an option of the command line in the other run."""
    checkout.create("losses/hinge.py", HINGE)
    checkout.insert("config/losses.py", "class LossSection(", HINGE_SECTION)
    checkout.insert("config/losses.py", "MatryoshkaSection, CoSENTSection", "HingeSection, ")
    checkout.insert("losses/select.py", "from embedctl.losses.infonce", "from embedctl.losses.hinge import Hinge\n")
    checkout.insert("losses/select.py", "MarginMSE, CoSENT)", "Hinge, ")
    checkout.insert("training/trackers.py", "from embedctl import console", GENERAL_TRACKER)
    checkout.insert("training/trackers.py", "def configure_wandb", CSV_TRACKER)
    checkout.insert("config/trackers.py", '"none": ""}', '"csv": "embedctl.training.trackers:CsvTracker", ')
    text = checkout.run("train", "--help")
    assert "--hinge-margin NUMBER" in text
    assert "trackio|csv|none" in text
    data = ["train", "--dataset", checkout.write("rows.jsonl", rows(8)), "--neg-nums", "2", "--max-steps", 1]
    checkout.write("loss.yaml", "loss: {hinge_margin: 20}")
    checkout.write("tracker.yaml", "run: {log_with: csv}")
    by_yaml_and_flag = ["--config", "loss.yaml", "--log-with", "csv", "-o", "20"]
    by_flag_and_yaml = ["--config", "tracker.yaml", "--hinge-margin", "50", "--seed", "7", "-o", "50"]
    with ThreadPoolExecutor() as pool:
        assert (
            len(list(pool.map(lambda options: checkout.run(*data, *options), (by_yaml_and_flag, by_flag_and_yaml))))
            == 2
        )
    for margin, seed in ((20, 42), (50, 7)):
        recorded = json.loads(checkout.read(f"{margin}/metrics.jsonl").splitlines()[-1])
        assert recorded["loss"] == pytest.approx(margin, abs=2)  # two cosines differ by at most 2
        curves = [line.split(",") for line in checkout.read(f"{margin}/curves.csv").splitlines()]
        assert ["seed", "0", str(seed)] in curves
        assert ["train/loss", "1", str(recorded["loss"])] in curves


def test_a_new_metric_is_computed_and_can_be_the_main_metric(checkout, tiny_model):
    checkout.insert("evaluation/names.py", '    "MAP": "AP"', '    "Success@3": "Success@3",\n')
    checkout.write("rows.jsonl", rows(12))
    file = checkout.write("own.yaml", "metric: Success@3\nmin: 0")
    evaluation = ["eval", "--ckpt", tiny_model, "--dataset", "rows.jsonl", "--device", "cpu", "--config", file]
    metrics = checkout.json(*evaluation)["metrics"]
    assert metrics["Recall@1"] <= metrics["Success@3"] <= metrics["Recall@10"]
    assert metrics["Success@3"] * 12 == pytest.approx(round(metrics["Success@3"] * 12))


LONG = '''def no_longer_than(longest: int | None, texts: Sequence[str]) -> Filter:
    """Keep texts of at most `longest` characters."""
    lengths = np.array(list(map(len, texts)))
    return lambda _row, ids, _scores: lengths[ids] <= (longest or max(lengths))


'''
LONG_OPTION = '''    max_characters: int | None = option(None, "Limits and filters", gt=0)
    """longest negative, in characters (default: no limit)"""
'''
LONG_LINE = """    "too long": lambda job, data: no_longer_than(
        job.filter_options["max_characters"], data.distinct.texts
    ),
"""


def test_a_new_negative_filter_with_an_option_rejects_candidates(checkout, tiny_model):
    checkout.insert("mining/filters.py", "# Key of each filter in `--json`", LONG)
    checkout.insert("mining/filters.py", '    "own negatives": lambda', LONG_LINE)
    checkout.insert("config/mining.py", "    positive_score: Literal[", LONG_OPTION)
    assert "--max-characters INT" in checkout.run("mine-negatives", "--help")
    checkout.write("rows.jsonl", rows(20))
    checkout.write("own.yaml", "limits: {max_characters: 60}")
    mining = ["mine-negatives", "--model", tiny_model, "--dataset", "rows.jsonl", "--device", "cpu", "--neg-nums", "5"]
    mining += ["--config", "own.yaml", "--range", "0-25"]

    def mined(options: list[str]) -> tuple[int, int]:
        """Return the length of the longest negative, and the number of candidates that were too long."""
        summary = checkout.json(*mining, *options)
        negatives = [json.loads(line)["neg"] for line in checkout.read(summary["output"]).splitlines()]
        return max(len(text) for texts in negatives for text in texts), summary["rejected"]["too long"]

    with ThreadPoolExecutor() as pool:
        by_yaml, by_flag = pool.map(mined, (["-o", "yaml.jsonl"], ["-o", "flag.jsonl", "--max-characters", "40"]))
    assert 60 >= by_yaml[0] > 40 >= by_flag[0]
    assert 0 < by_yaml[1] < by_flag[1]


COUNT = '''"""`embedctl count`: count rows."""

from __future__ import annotations

from embedctl import console
from embedctl.commands.flags import with_options
from embedctl.config.counting import CountConfig

EXAMPLES = """
# Count the rows of a file.
embedctl count --dataset train.jsonl
"""


@with_options(CountConfig)
def command(config: CountConfig) -> None:
    """Count the rows of files."""
    from embedctl.data.rows import read_rows

    count = sum(1 for name in config.dataset for _ in read_rows(name))
    console.result({"rows": count * config.times})
'''
COUNT_CONFIG = '''"""Options of count."""

from __future__ import annotations

from embedctl.config.base import Command, Strings, option


class CountConfig(Command):
    """Options of `embedctl count`."""

    name = "count"

    dataset: Strings = option((), "Data")
    """file of rows (default: none)"""
    times: int = option(1, "Data", gt=0)
    """weight of each row"""
'''


def test_a_new_command_is_listed_in_the_help_and_reads_flags_and_yaml(checkout):
    checkout.create("commands/count.py", COUNT)
    checkout.create("config/counting.py", COUNT_CONFIG)
    checkout.insert("cli.py", '    "doctor": "doctor",', '    "count": "count",\n')
    assert "Count the rows of files." in checkout.run("--help")
    assert "weight of each row (default: 1)" in checkout.run("count", "--help")
    file = checkout.write("own.yaml", f"dataset: [{checkout.write('rows.jsonl', rows(4))}]\ntimes: 2")
    assert json.loads(checkout.run("count", "--config", file)) == {"rows": 8}
    assert json.loads(checkout.run("count", "--config", file, "--times", "3")) == {"rows": 12}
