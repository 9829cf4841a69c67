"""The options of what judges and changes nothing: validate-data the rows, eval a model, doctor the machine."""

from __future__ import annotations

from typing import ClassVar

from pydantic import model_validator

from embedctl.config.base import Command, Device, ModelSection, PassagePrompt, QueryPrompt, Strings, option


class ValidateConfig(Command):
    """`embedctl validate-data`."""

    name: ClassVar[str] = "validate-data"

    files: Strings = option((), "Data", "data files", positional="FILE...", min_length=1)
    model_name_or_path: str | None = option(None, "Texts", "count tokens with this model's tokenizer", "--model", "-m")
    query_max_len: int = option(128, "Texts", "a query of more tokens counts as truncated", ge=4)
    passage_max_len: int = option(512, "Texts", "a passage of more tokens counts as truncated", ge=4)
    neg_nums: int = option(15, "Data", "rows with fewer negatives are counted", ge=0)
    max_errors: int = option(20, "Output", "faults printed a file; all are counted", ge=0)


class EvalConfig(Command):
    """`embedctl eval`."""

    name: ClassVar[str] = "eval"

    model: ModelSection = ModelSection()
    dataset: Strings = option((), "Data", "rows; their texts are the corpus")
    corpus: str | None = option(None, "Data", "BEIR corpus.jsonl")
    queries: str | None = option(None, "Data", "BEIR queries.jsonl")
    qrels: str | None = option(None, "Data", "BEIR qrels .tsv")
    baseline: str | None = option(None, "Model", "a second model, measured beside it")
    dim: int | None = option(None, "Model", "only the leading dimensions", gt=0)
    metric: str = option("nDCG@10", "Check", "the metric that --min looks at")
    min: float | None = option(None, "Check", "exit 1 if the metric is lower")
    query_prompt: QueryPrompt = None
    passage_prompt: PassagePrompt = None
    device: Device = None

    @model_validator(mode="after")
    def _a_collection_has_three_files(self) -> EvalConfig:
        given = [name for name in ("corpus", "queries", "qrels") if getattr(self, name)]
        if given and len(given) < 3:
            raise ValueError("--corpus, --queries and --qrels go together")
        if given and self.dataset:
            raise ValueError("give --dataset or --corpus/--queries/--qrels, not both")
        return self


class DoctorConfig(Command):
    """`embedctl doctor`."""

    name: ClassVar[str] = "doctor"
