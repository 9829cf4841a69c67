"""The options of mine-negatives: where negatives are looked for, and what keeps a text from being one."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from embedctl.config.base import (
    Command,
    Device,
    ModelSection,
    PassagePrompt,
    QueryPrompt,
    Range,
    Section,
    Strings,
    expect_positions,
    option,
)


class FilterSection(Section):
    """Options of the filters: scores that a mined negative may have. Every filter is given all of them by name."""

    max_score: float | None = option(None, "Filters", "a negative's similarity to the query is at most this")
    min_score: float | None = option(None, "Filters", "and at least this")
    margin: float | None = option(None, "Filters", "and below the positive's by this")
    relative_margin: float | None = option(None, "Filters", "and below the positive's by this share of it, e.g. 0.05")
    positive_score: Literal["hardest", "mean"] = option(
        "hardest", "Filters", "of several positives, the lowest score counts, or the mean"
    )


class RerankSection(Section):
    """A cross-encoder that scores the candidates again."""

    rerank_with: str | None = option(None, "Rerank", "a cross-encoder that judges what is left of the range")
    rerank_margin: float | None = option(None, "Rerank", "by its score, a negative is below the positive by this")
    rerank_max_score: float | None = option(None, "Rerank", "and its score is at most this")
    rerank_batch_size: int = option(32, "Rerank", "pairs in one pass", gt=0)

    @model_validator(mode="after")
    def _limits_need_a_reranker(self) -> RerankSection:
        if self.rerank_with is None and (self.rerank_margin, self.rerank_max_score) != (None, None):
            raise ValueError("--rerank-margin and --rerank-max-score need --rerank-with")
        return self


class MineConfig(Command):
    """`embedctl mine-negatives`."""

    name: ClassVar[str] = "mine-negatives"

    model: ModelSection = ModelSection()
    dataset: Strings = option((), "Data", "rows that need negatives; the example rows by default")
    output: str = option("mined.jsonl", "Data", "the rows with mined negatives", "-o", min_length=1)
    corpus: str | None = option(None, "Data", "passages to search; all texts of the rows by default")
    range: Range = option("10-210", "Negatives", "ranks from which negatives are taken, nearest first")
    neg_nums: int = option(15, "Negatives", "negatives of a row", gt=0)
    sampling: Literal["top", "random", "weighted"] = option(
        "random", "Negatives", "the nearest in the range, any, or any with rank r weighing 1/r"
    )
    fill: Literal["fewer", "random", "relax"] = option(
        "fewer",
        "Negatives",
        "a row with too few: leave it so, add any texts, or add what the score limits rejected by least",
    )
    keep_negatives: bool = option(False, "Negatives", "keep a row's own negatives before the mined ones")
    report: str | None = option(None, "Output", "an HTML page of score histograms and rows to read")
    cache: bool = option(True, "Machine", "keep vectors on the disk: a killed run goes on, a second one is quick")
    scores: bool = option(False, "Data", "write pos_scores and neg_scores: the rows then train by distillation")
    seed: int = option(42, "Negatives", "of the sampling", ge=0)
    limits: FilterSection = FilterSection()
    rerank: RerankSection = RerankSection()
    also: Literal["bm25"] | None = option(None, "Search", "mix in what shares words with the query, by turns")
    ann: Literal["hnsw", "ivf"] | None = option(
        None, "Search", "search approximately; its recall is measured and printed"
    )
    query_prompt: QueryPrompt = None
    passage_prompt: PassagePrompt = None
    overwrite: bool = option(False, "Data", "replace the output")
    device: Device = None

    @model_validator(mode="after")
    def _the_range_is_wide_enough(self) -> MineConfig:
        expect_positions("--range", self.range, self.neg_nums)
        return self

    @property
    def after_interrupt(self) -> str:
        """See `Command`."""
        return "the same command goes on: what is encoded is kept" if self.cache else ""
