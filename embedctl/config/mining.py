"""The options of mine-negatives: where negatives are looked for, and what keeps a text from being one."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from embedctl.config.base import (
    Command,
    Device,
    Flag,
    ModelSection,
    PassagePrompt,
    QueryPrompt,
    Range,
    Section,
    Strings,
    expect_positions,
)


class FilterSection(Section):
    """Options of the filters: scores that a mined negative may have. Every filter is given all of them by name."""

    max_score: Annotated[
        float | None, Field(description="a negative's similarity to the query is at most this"), Flag("Filters")
    ] = None
    min_score: Annotated[float | None, Field(description="and at least this"), Flag("Filters")] = None
    margin: Annotated[float | None, Field(description="and below the positive's by this"), Flag("Filters")] = None
    relative_margin: Annotated[
        float | None, Field(description="and below the positive's by this share of it, e.g. 0.05"), Flag("Filters")
    ] = None
    positive_score: Annotated[
        Literal["hardest", "mean"],
        Field(description="of several positives, the lowest score counts, or the mean"),
        Flag("Filters"),
    ] = "hardest"


class RerankSection(Section):
    """A cross-encoder that scores the candidates again."""

    rerank_with: Annotated[
        str | None, Field(description="a cross-encoder that judges what is left of the range"), Flag("Rerank")
    ] = None
    rerank_margin: Annotated[
        float | None, Field(description="by its score, a negative is below the positive by this"), Flag("Rerank")
    ] = None
    rerank_max_score: Annotated[float | None, Field(description="and its score is at most this"), Flag("Rerank")] = None
    rerank_batch_size: Annotated[int, Field(gt=0, description="pairs in one pass"), Flag("Rerank")] = 32

    @model_validator(mode="after")
    def _limits_need_a_reranker(self) -> RerankSection:
        if self.rerank_with is None and (self.rerank_margin, self.rerank_max_score) != (None, None):
            raise ValueError("--rerank-margin and --rerank-max-score need --rerank-with")
        return self


class MineConfig(Command):
    """`embedctl mine-negatives`."""

    name: ClassVar[str] = "mine-negatives"

    model: ModelSection = ModelSection()
    dataset: Annotated[
        Strings, Field(description="rows that need negatives; the example rows by default"), Flag("Data")
    ] = ()
    output: Annotated[str, Field(min_length=1, description="the rows with mined negatives"), Flag("Data", ("-o",))] = (
        "mined.jsonl"
    )
    corpus: Annotated[
        str | None, Field(description="passages to search; all texts of the rows by default"), Flag("Data")
    ] = None
    range: Annotated[
        Range, Field(description="ranks from which negatives are taken, nearest first"), Flag("Negatives")
    ] = "10-210"
    neg_nums: Annotated[int, Field(gt=0, description="negatives of a row"), Flag("Negatives")] = 15
    sampling: Annotated[
        Literal["top", "random", "weighted"],
        Field(description="the nearest in the range, any, or any with rank r weighing 1/r"),
        Flag("Negatives"),
    ] = "random"
    fill: Annotated[
        Literal["fewer", "random", "relax"],
        Field(
            description="a row with too few: leave it so, add any texts, or add what the score limits rejected by least"
        ),
        Flag("Negatives"),
    ] = "fewer"
    keep_negatives: Annotated[
        bool, Field(description="keep a row's own negatives before the mined ones"), Flag("Negatives")
    ] = False
    report: Annotated[
        str | None, Field(description="an HTML page of score histograms and rows to read"), Flag("Output")
    ] = None
    cache: Annotated[
        bool,
        Field(description="keep vectors on the disk: a killed run goes on, a second one is quick"),
        Flag("Machine"),
    ] = True
    scores: Annotated[
        bool, Field(description="write pos_scores and neg_scores: the rows then train by distillation"), Flag("Data")
    ] = False
    seed: Annotated[int, Field(ge=0, description="of the sampling"), Flag("Negatives")] = 42
    limits: FilterSection = FilterSection()
    rerank: RerankSection = RerankSection()
    also: Annotated[
        Literal["bm25"] | None, Field(description="mix in what shares words with the query, by turns"), Flag("Search")
    ] = None
    ann: Annotated[
        Literal["hnsw", "ivf"] | None,
        Field(description="search approximately; its recall is measured and printed"),
        Flag("Search"),
    ] = None
    query_prompt: QueryPrompt = None
    passage_prompt: PassagePrompt = None
    overwrite: Annotated[bool, Field(description="replace the output"), Flag("Data")] = False
    device: Device = None

    @model_validator(mode="after")
    def _the_range_is_wide_enough(self) -> MineConfig:
        expect_positions("--range", self.range, self.neg_nums)
        return self

    @property
    def after_interrupt(self) -> str:
        """See `Command`."""
        return "the same command goes on: what is encoded is kept" if self.cache else ""
