"""Options of mine-negatives: where to search for negatives, and which candidates to reject."""

from __future__ import annotations

from typing import Literal

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
    check_range_size,
    option,
)
from embedctl.config.loading import flag_of

PANEL = "Limits and filters"
RERANK_LIMITS = {"rerank_margin", "rerank_max_score"}


class FilterSection(Section):
    """Limits on a negative's similarity, and options of filters; each filter receives all of them by name."""

    max_score: float | None = option(None, PANEL)
    """highest similarity between the query and a negative, by the similarity function of the model, which is the cosine
    unless the model states another (default: no limit)"""
    min_score: float | None = option(None, PANEL)
    """lowest similarity between the query and a negative (default: no limit)"""
    margin: float | None = option(None, PANEL)
    """a negative must score below the positive by at least this difference (default: no limit)"""
    relative_margin: float | None = option(None, PANEL)
    """a negative must score below the positive by at least this fraction of the positive's score, for example 0.05
    (default: no limit)"""
    positive_score: Literal["hardest", "mean"] = option("hardest", PANEL)
    """score that the margins refer to if a row has several positives: the lowest (hardest) or the mean"""


class RerankSection(Section):
    """A reranker that scores the candidates again, and limits on its scores."""

    rerank_with: str | None = option(None, "Reranker", metavar="MODEL")
    """cross-encoder that scores the candidates in the range again: a folder or a name on the Hugging Face Hub (default:
    no reranker)"""
    rerank_margin: float | None = option(None, "Reranker", requires=("rerank_with",))
    """a negative's reranker score must be below the positive's by at least this difference (default: no limit)"""
    rerank_max_score: float | None = option(None, "Reranker", requires=("rerank_with",))
    """highest reranker score of a negative (default: no limit)"""
    rerank_batch_size: int = option(32, "Reranker", gt=0, requires=("rerank_with",))
    """pairs of query and passage per forward pass"""


class MineConfig(Command):
    """Options of `embedctl mine-negatives`."""

    name = "mine-negatives"
    main_options = ("model_name_or_path", "dataset", "corpus", "neg_nums", "output")

    model: ModelSection = ModelSection()
    dataset: Strings = option((), "Data", metavar="FILE")
    """file of training rows to mine negatives for; for several files, repeat the option or use a list in YAML (default:
    the shipped example rows)"""
    output: str = option("mined.jsonl", "Output", "-o", metavar="FILE", min_length=1)
    """file for the rows with their new negatives"""
    corpus: str | None = option(None, "Data", metavar="FILE")
    """file of passages to search for negatives (default: all passages of the rows)"""
    range: Range = option("10-210", "Negatives", metavar="START-STOP")
    """positions in the search results from which negatives are taken, from START up to but not including STOP; 0 is the
    most similar passage that is neither a known positive nor rejected, and passages near it may be unlabelled
    positives; if fewer than --neg-nums passages follow START, more similar ones are used too"""
    neg_nums: int = option(15, "Negatives", gt=0)
    """hard negatives per row"""
    sampling: Literal["top", "random", "weighted"] = option("random", "Negatives")
    """choice within the range: top takes the most similar passages; random gives every passage the same probability;
    weighted prefers the more similar ones (the n-th of the range has the weight 1/n)"""
    fill: Literal["fewer", "random", "relax"] = option("fewer", "Negatives")
    """if a row has too few candidates: fewer leaves it with fewer negatives; random adds random passages; relax adds
    the rejected passages whose scores are closest to the limits"""
    keep_negatives: bool = option(False, "Negatives")
    """keep the row's own negatives and add the mined ones after them (default: replace them)"""
    report: str | None = option(None, "Output", metavar="FILE")
    """file for an HTML report with score histograms and sample rows (default: no report)"""
    cache: bool = option(True, "Search")
    """store embeddings on disk, so that a second run is faster and an interrupted run can continue; disable it with
    --no-cache"""
    scores: bool = option(False, "Output")
    """also write teacher scores (pos_scores and neg_scores) to the rows; training then uses the distillation loss; they
    are the scores of the reranker, or the cosine similarities of the model if there is no reranker"""
    seed: int = option(42, "Negatives", ge=0)
    """seed of the random choice of negatives"""
    limits: FilterSection = FilterSection()
    rerank: RerankSection = RerankSection()
    also: Literal["bm25"] | None = option(None, "Search")
    """also search with BM25, by the words that query and passage share, and interleave both result lists (default:
    none)"""
    ann: Literal["hnsw", "ivf"] | None = option(None, "Search")
    """approximate search for a large corpus, hnsw or ivf; its recall is measured and printed (default: exact search)"""
    query_prompt: QueryPrompt = None
    passage_prompt: PassagePrompt = None
    overwrite: bool = option(False, "Output")
    """replace an existing output that this command did not write, or that was changed since"""
    device: Device = None

    @model_validator(mode="after")
    def _range_is_large_enough(self) -> MineConfig:
        check_range_size("--range", self.range, self.neg_nums)
        return self

    @model_validator(mode="after")
    def _fill_has_an_effect(self) -> MineConfig:
        limits = self.limits.model_dump(exclude={"positive_score"}) | self.rerank.model_dump(include=RERANK_LIMITS)
        if self.fill == "relax" and not any(value is not None for value in limits.values()):
            raise ValueError(
                f"--fill relax has no effect without a limit on scores ({', '.join(map(flag_of, limits))})"
            )
        return self

    @model_validator(mode="after")
    def _seed_has_an_effect(self) -> MineConfig:
        makes_no_choice = self.sampling == "top" and self.fill != "random" and not (self.ann or self.report)
        if makes_no_choice and self.seed != type(self).model_fields["seed"].default:
            raise ValueError("--seed has no effect with --sampling top: nothing is chosen at random")
        return self

    @property
    def interrupt_hint(self) -> str:
        """See `Command`."""
        return "run the same command again to continue; the embeddings computed so far are cached" if self.cache else ""
