"""The options of what judges and changes nothing: validate-data the rows, eval a model, doctor the machine."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from embedctl.config.base import Command, Device, Flag, ModelSection, PassagePrompt, QueryPrompt, Strings


class ValidateConfig(Command):
    """`embedctl validate-data`."""

    name: ClassVar[str] = "validate-data"

    files: Annotated[Strings, Field(min_length=1, description="data files"), Flag("Data", argument=True)] = ()
    model_name_or_path: Annotated[
        str | None, Field(description="count tokens with this model's tokenizer"), Flag("Texts", ("--model", "-m"))
    ] = None
    query_max_len: Annotated[
        int, Field(ge=4, description="a query of more tokens counts as truncated"), Flag("Texts")
    ] = 128
    passage_max_len: Annotated[
        int, Field(ge=4, description="a passage of more tokens counts as truncated"), Flag("Texts")
    ] = 512
    neg_nums: Annotated[int, Field(ge=0, description="rows with fewer negatives are counted"), Flag("Data")] = 15
    max_errors: Annotated[int, Field(ge=0, description="faults printed a file; all are counted"), Flag("Output")] = 20


class EvalConfig(Command):
    """`embedctl eval`."""

    name: ClassVar[str] = "eval"

    model: ModelSection = ModelSection()
    dataset: Annotated[Strings, Field(description="rows; their texts are the corpus"), Flag("Data")] = ()
    corpus: Annotated[str | None, Field(description="BEIR corpus.jsonl"), Flag("Data")] = None
    queries: Annotated[str | None, Field(description="BEIR queries.jsonl"), Flag("Data")] = None
    qrels: Annotated[str | None, Field(description="BEIR qrels .tsv"), Flag("Data")] = None
    baseline: Annotated[str | None, Field(description="a second model, measured beside it"), Flag("Model")] = None
    dim: Annotated[int | None, Field(gt=0, description="only the leading dimensions"), Flag("Model")] = None
    metric: Annotated[str, Field(description="the metric that --min looks at"), Flag("Check")] = "nDCG@10"
    min: Annotated[float | None, Field(description="exit 1 if the metric is lower"), Flag("Check")] = None
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
