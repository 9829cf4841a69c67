"""Options of the commands that check or measure: validate-data, eval and doctor."""

from __future__ import annotations

from pydantic import model_validator

from embedctl.config.base import Command, Device, ModelSection, PassagePrompt, QueryPrompt, Strings, option


class ValidateConfig(Command):
    """Options of `embedctl validate-data`."""

    name = "validate-data"
    main_options = ("files", "model_name_or_path", "neg_nums", "query_max_len", "passage_max_len")

    files: Strings = option((), "Data", metavar="FILE", positional=True, min_length=1)
    """files of training rows (JSON lines or a JSON array, also compressed)"""
    model_name_or_path: str | None = option(None, "Texts", "--model", "-m", metavar="MODEL")
    """model whose tokenizer counts the tokens: a folder or a name on the Hugging Face Hub (default: tokens are not
    counted)"""
    query_max_len: int | None = option(None, "Texts", ge=4, requires=("model_name_or_path",))
    """with --model: queries with more tokens are reported as truncated (default: the model's own maximum length, at
    most 128)"""
    passage_max_len: int | None = option(None, "Texts", ge=4, requires=("model_name_or_path",))
    """with --model: passages with more tokens are reported as truncated (default: the model's own maximum length, at
    most 512)"""
    neg_nums: int = option(15, "Data", ge=0)
    """warn about rows with fewer hard negatives than this"""
    max_errors: int = option(20, "Output", ge=0)
    """print at most this many errors and as many warnings per file; all of them are counted"""


class EvalConfig(Command):
    """Options of `embedctl eval`."""

    name = "eval"
    main_options = ("model_name_or_path", "dataset", "baseline", "metric", "min")

    model: ModelSection = ModelSection()
    dataset: Strings = option((), "Data", metavar="FILE")
    """file of evaluation rows, whose passages are the corpus; for several files, repeat the option or use a list in
    YAML (default: the evaluation rows of the model's training run, else an example collection)"""
    corpus: str | None = option(None, "Data", metavar="FILE")
    """corpus.jsonl of a collection in BEIR format, instead of --dataset (default: none)"""
    queries: str | None = option(None, "Data", metavar="FILE")
    """queries.jsonl of the collection; required with --corpus (default: none)"""
    qrels: str | None = option(None, "Data", metavar="FILE")
    """relevance judgements of the collection as .tsv; required with --corpus (default: none)"""
    allow_missing: bool = option(False, "Data", requires=("corpus",))
    """count relevant documents that are not in --corpus as not found, like trec_eval (default: they are an error)"""
    baseline: str | None = option(None, "Model", metavar="MODEL")
    """second model to compare with, for example the base model (default: no comparison)"""
    dim: int | None = option(None, "Model", gt=0)
    """evaluate only this many leading dimensions of the embeddings (default: all)"""
    metric: str = option("nDCG@10", "Evaluation and tracking", metavar="NAME", requires=("min", "baseline"))
    """metric for --min and for the comparison with --baseline, for example MRR@10"""
    min: float | None = option(None, "Evaluation and tracking")
    """exit with code 1 if --metric is lower than this (default: no check)"""
    query_prompt: QueryPrompt = None
    passage_prompt: PassagePrompt = None
    device: Device = None

    @model_validator(mode="after")
    def _collection_is_complete(self) -> EvalConfig:
        given = [name for name in ("corpus", "queries", "qrels") if getattr(self, name)]
        if given and len(given) < 3:
            raise ValueError("--corpus, --queries and --qrels must be given together")
        if given and self.dataset:
            raise ValueError("--dataset cannot be combined with --corpus, --queries and --qrels")
        return self


class DoctorConfig(Command):
    """Options of `embedctl doctor`."""

    name = "doctor"
