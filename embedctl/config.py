"""Every option of every command: its type, bounds, default and words. The only place where defaults stand.

A field of a section is a key of the YAML file and, in kebab-case, a flag. Precedence: default < `--config FILE` < flag.
No torch here: `embedctl --help` reads this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from embedctl.errors import ConfigError

TINY = "tiny"
CONFIG_HINT = "compare it with the commented file of the command in the folder config"


@dataclass(frozen=True)
class Flag:
    """How a field appears on the command line.

    Args:
        panel: the heading in `--help` under which it stands.
        names: further names beside the field's own; `-x` for a short one.
        argument: whether it is positional.
        metavar: what help shows in place of a positional one.
    """

    panel: str
    names: tuple[str, ...] = ()
    argument: bool = False
    metavar: str = "FILE..."


def _split_commas(value: Any) -> Any:
    """`64,128` and [`64,128`] are lists of two."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple):
        return [piece for item in value for piece in (item.split(",") if isinstance(item, str) else [item])]
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Strings = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
Integers = Annotated[tuple[Annotated[int, Field(gt=0)], ...], BeforeValidator(_split_commas)]
Range = Annotated[str, Field(pattern=r"^\d+-\d+$")]
Device = Annotated[
    str | None, Field(description="cpu, cuda, cuda:1, mps; the GPU where there is one"), Flag("Machine", ("-d",))
]


class Section(BaseModel):
    """A frozen group of options that knows no other keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Command(Section):
    """What every command takes; `name` is the command's."""

    name: ClassVar[str] = "COMMAND"

    json_output: Annotated[
        bool, Field(description="print one JSON document to stdout"), Flag("Output", ("--json",))
    ] = False
    quiet: Annotated[bool, Field(description="print results and errors only"), Flag("Output", ("-q",))] = False

    @classmethod
    def stored(cls, _flags: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """A configuration file that the flags refer to without --config, and flags that follow from it."""
        return None, {}


class ModelSection(Section):
    """Which model."""

    model_name_or_path: Annotated[
        str,
        Field(
            min_length=1,
            description="a sentence-transformers folder, a transformers folder, a hub name, or 'tiny' (built in)",
        ),
        Flag("Model", ("--model", "--ckpt", "-m")),
    ] = TINY
    trust_remote_code: Annotated[
        bool, Field(description="run Python code that comes with the model"), Flag("Model")
    ] = False


class TextSection(Section):
    """How texts become tokens in training."""

    query_max_len: Annotated[int, Field(ge=4, description="tokens of a query, special ones counted"), Flag("Texts")] = (
        128
    )
    passage_max_len: Annotated[int, Field(ge=4, description="tokens of a passage"), Flag("Texts")] = 512
    query_prompt: Annotated[
        str | None, Field(description="put before each query; the model's own by default"), Flag("Texts")
    ] = None
    passage_prompt: Annotated[
        str | None, Field(description="put before each passage; the model's own by default"), Flag("Texts")
    ] = None


class TuneSection(Section):
    """Which weights are trained and how the model runs meanwhile."""

    pooling: Annotated[
        Literal["mean", "cls", "lasttoken"] | None,
        Field(description="for a plain transformers model; a sentence-transformers one brings its own"),
        Flag("Model"),
    ] = None
    lora_rank: Annotated[
        int, Field(ge=0, description="train low-rank adapters of this rank; 0 trains all weights"), Flag("Model")
    ] = 0
    lora_alpha: Annotated[
        float | None, Field(gt=0, description="scale of the adapters; twice the rank by default"), Flag("Model")
    ] = None
    gradient_checkpointing: Annotated[
        bool, Field(description="recompute activations: less memory, a third more time"), Flag("Model")
    ] = False
    compile: Annotated[
        bool, Field(description="compile the layers (GPU): faster after a slow start"), Flag("Model")
    ] = False


class DataSection(Section):
    """Rows and how a batch is drawn from them."""

    dataset: Annotated[
        Strings,
        Field(description="files of training rows; FILE:2 visits each row twice an epoch; the example rows by default"),
        Flag("Data"),
    ] = ()
    eval_dataset: Annotated[Strings, Field(description="rows held out for evaluation"), Flag("Data")] = ()
    neg_nums: Annotated[int, Field(ge=0, description="hard negatives of a query"), Flag("Data")] = 15
    positives: Annotated[
        Literal["sample", "explode"],
        Field(
            description="one positive a visit, all in turn over the epochs (sample), or each its own visit (explode)"
        ),
        Flag("Data"),
    ] = "sample"
    one_dataset_per_batch: Annotated[bool, Field(description="never mix the files within a batch"), Flag("Data")] = (
        False
    )


class RemineSection(Section):
    """Negatives that a run mines itself."""

    remine_every_epoch: Annotated[
        bool,
        Field(description="from the second epoch on, replace the negatives by those that the model as it is now finds"),
        Flag("Negatives"),
    ] = False
    remine_range: Annotated[
        Range, Field(description="ranks from which they are drawn, nearest first"), Flag("Negatives")
    ] = "10-210"
    remine_margin: Annotated[
        float | None, Field(description="their similarity is below the positive's by this"), Flag("Negatives")
    ] = None


class LossSection(Section):
    """What is minimised."""

    temperature: Annotated[
        float, Field(gt=0, description="divides the similarities before the softmax"), Flag("Loss")
    ] = 0.02
    in_batch: Annotated[
        Literal["all", "hard", "none"],
        Field(description="other rows' texts as negatives: positives and negatives, negatives only, none"),
        Flag("Loss"),
    ] = "all"
    symmetric: Annotated[bool, Field(description="also retrieve the query from the passage"), Flag("Loss")] = False
    distill: Annotated[
        Literal["kl", "margin-mse"], Field(description="loss of rows with teacher scores"), Flag("Loss")
    ] = "kl"
    teacher_temperature: Annotated[float, Field(gt=0, description="divides the teacher's scores"), Flag("Loss")] = 1.0
    cosent_scale: Annotated[
        float, Field(gt=0, description="scale of CoSENT, the loss of graded pairs"), Flag("Loss")
    ] = 20.0
    mrl_dims: Annotated[
        Integers, Field(description="Matryoshka: train these leading dimensions too, e.g. 64,128,256"), Flag("Loss")
    ] = ()


class OptimSection(Section):
    """Batch, steps and learning rate."""

    batch_size: Annotated[
        int, Field(gt=0, description="queries of a process and step; any size fits in memory"), Flag("Optimisation")
    ] = 32
    gradient_accumulation_steps: Annotated[int, Field(gt=0, description="batches an update"), Flag("Optimisation")] = 1
    lr: Annotated[float, Field(gt=0, description="highest learning rate"), Flag("Optimisation")] = 2e-5
    epochs: Annotated[int, Field(gt=0, description="times each row is visited"), Flag("Optimisation")] = 2
    max_steps: Annotated[
        int | None, Field(gt=0, description="stop after so many updates; the schedule ends there"), Flag("Optimisation")
    ] = None
    warmup_proportion: Annotated[
        float, Field(ge=0, le=1, description="share of the updates in which lr rises"), Flag("Optimisation")
    ] = 0.1
    lr_scheduler: Annotated[
        Literal["linear", "cosine", "constant"],
        Field(description="how lr falls after the warm-up"),
        Flag("Optimisation"),
    ] = "linear"
    weight_decay: Annotated[
        float, Field(ge=0, description="AdamW's, not on biases and norms"), Flag("Optimisation")
    ] = 0.01
    max_grad_norm: Annotated[
        float, Field(ge=0, description="gradients are clipped to this norm; 0 clips none"), Flag("Optimisation")
    ] = 1.0
    seed: Annotated[int, Field(ge=0, description="everything random follows from it"), Flag("Optimisation")] = 42


class RunSection(Section):
    """Where a run writes, what it measures and how it goes on."""

    output_dir: Annotated[
        str,
        Field(min_length=1, description="folder of the model, its metrics and its checkpoints"),
        Flag("Run", ("-o",)),
    ] = "out"
    overwrite: Annotated[bool, Field(description="replace a finished run in the output folder"), Flag("Run")] = False
    resume: Annotated[
        str | None, Field(description="go on from a saved state: the newest, or a folder"), Flag("Run")
    ] = None
    save_on_epoch_end: Annotated[
        bool, Field(description="export the model to OUT/checkpoints/epoch-N"), Flag("Run")
    ] = False
    save_steps: Annotated[
        int | None,
        Field(gt=0, description="save the state to resume from every so many updates; each epoch by default"),
        Flag("Run"),
    ] = None
    keep: Annotated[int, Field(gt=0, description="states kept"), Flag("Run")] = 2
    eval_steps: Annotated[
        int | None, Field(gt=0, description="evaluate every so many updates; each epoch by default"), Flag("Run")
    ] = None
    metric: Annotated[str, Field(description="the metric by which the best checkpoint is named"), Flag("Run")] = (
        "nDCG@10"
    )
    early_stopping_patience: Annotated[
        int | None, Field(gt=0, description="stop after so many evaluations without a better one"), Flag("Run")
    ] = None
    log_with: Annotated[
        Literal["wandb", "tensorboard", "trackio", "none"], Field(description="tracker of the curves"), Flag("Run")
    ] = "none"


class LaunchSection(Section):
    """Processes and machines."""

    num_processes: Annotated[
        int | None,
        Field(gt=0, description="processes of this run over all machines; one a GPU by default"),
        Flag("Machine"),
    ] = None
    mixed_precision: Annotated[
        Literal["auto", "no", "bf16", "fp16"],
        Field(description="compute type; auto: bf16 on GPUs that have it"),
        Flag("Machine"),
    ] = "auto"
    strategy: Annotated[
        Literal["auto", "fsdp", "ddp"],
        Field(description="shard the weights (fsdp) or copy them (ddp)"),
        Flag("Machine"),
    ] = "auto"
    tokens_per_forward: Annotated[
        int | None,
        Field(gt=0, description="tokens in one pass through the model; found by a probe on a GPU"),
        Flag("Machine"),
    ] = None
    attention: Annotated[
        Literal["auto", "packed", "padded"],
        Field(description="packed: no padding (GPU); padded: any model"),
        Flag("Machine"),
    ] = "auto"
    cpu: Annotated[bool, Field(description="leave the GPUs alone"), Flag("Machine")] = False
    num_machines: Annotated[int, Field(gt=0, description="machines of this run"), Flag("Machine")] = 1
    machine_rank: Annotated[int, Field(ge=0, description="which of them this is"), Flag("Machine")] = 0
    main_process_ip: Annotated[str | None, Field(description="address of machine 0"), Flag("Machine")] = None
    main_process_port: Annotated[
        int, Field(ge=0, le=65535, description="port of machine 0; 0 takes a free one"), Flag("Machine")
    ] = 0
    dry_run: Annotated[
        bool, Field(description="check everything, print the accelerate command and stop"), Flag("Run")
    ] = False


class TrainConfig(Command):
    """`embedctl train`."""

    name: ClassVar[str] = "train"

    model: ModelSection = ModelSection()
    tune: TuneSection = TuneSection()
    text: TextSection = TextSection()
    data: DataSection = DataSection()
    remine: RemineSection = RemineSection()
    loss: LossSection = LossSection()
    optim: OptimSection = OptimSection()
    run: RunSection = RunSection()
    launch: LaunchSection = LaunchSection()

    @classmethod
    def stored(cls, flags: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """A resumed run goes on with its own configuration, in its own folder."""
        wanted = flags.get("resume")
        if wanted is None:
            return None, {}
        named = Path(flags.get("output_dir") or RunSection().output_dir if wanted == "latest" else wanted)
        run = next((folder for folder in (named, *named.parents) if (folder / "config.yaml").is_file()), None)
        return (str(run / "config.yaml"), {"output_dir": str(run)}) if run else (None, {})

    @model_validator(mode="after")
    def _mining_has_ranks_to_draw_from(self) -> TrainConfig:
        if self.remine.remine_every_epoch:
            if self.data.neg_nums == 0:
                raise ValueError("--remine-every-epoch needs --neg-nums above 0")
            if self.optim.epochs == 1 and self.optim.max_steps is None:
                raise ValueError("--remine-every-epoch mines from the second epoch on: raise --epochs")
            expect_ranks("--remine-range", self.remine.remine_range, self.data.neg_nums)
        return self

    @model_validator(mode="after")
    def _several_machines_need_an_address(self) -> TrainConfig:
        if self.launch.num_machines > 1 and not (self.launch.main_process_ip and self.launch.main_process_port):
            raise ValueError("--num-machines above 1 needs --main-process-ip and --main-process-port")
        if self.launch.machine_rank >= self.launch.num_machines:
            raise ValueError("--machine-rank counts from 0 and must be below --num-machines")
        return self


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


class EncodeConfig(Command):
    """`embedctl encode`."""

    name: ClassVar[str] = "encode"

    model: ModelSection = ModelSection()
    input: Annotated[
        str,
        Field(min_length=1, description=".txt, .jsonl, .json, .csv, .parquet, or - for stdin"),
        Flag("Input", ("-i",)),
    ] = "texts.txt"
    output: Annotated[
        str | None,
        Field(description=".npy, .jsonl, .parquet or a folder/; the input's stem with .npy by default"),
        Flag("Output", ("-o",)),
    ] = None
    field: Annotated[str, Field(description="the key of an object that holds the text"), Flag("Input")] = "text"
    prompt_name: Annotated[str | None, Field(description="one of the model's prompts, e.g. query"), Flag("Input")] = (
        None
    )
    prompt: Annotated[str | None, Field(description="put before each text"), Flag("Input")] = None
    dim: Annotated[
        int | None, Field(gt=0, description="keep the leading dimensions and normalise again"), Flag("Output")
    ] = None
    dtype: Annotated[
        Literal["float32", "float16", "int8", "binary"], Field(description="type of the stored numbers"), Flag("Output")
    ] = "float32"
    max_len: Annotated[
        int | None, Field(ge=4, description="tokens of a text; the model's own by default"), Flag("Input")
    ] = None
    batch_tokens: Annotated[
        int | None, Field(gt=0, description="tokens in one pass through the model"), Flag("Machine")
    ] = None
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Field(description="compute type; auto: float32"),
        Flag("Machine"),
    ] = "auto"
    backend: Annotated[
        Literal["torch", "onnx", "openvino"],
        Field(description="what computes the transformer; onnx, openvino: on the CPU, extras of the same names"),
        Flag("Machine"),
    ] = "torch"
    shard_rows: Annotated[
        int, Field(gt=0, description="rows of a file when the output is a folder"), Flag("Output")
    ] = 100_000
    index: Annotated[
        Literal["flat", "hnsw", "ivf"] | None,
        Field(description="also write OUTPUT.index/ to search in: flat is exact, hnsw and ivf are fast"),
        Flag("Output"),
    ] = None
    overwrite: Annotated[bool, Field(description="replace the output"), Flag("Output")] = False
    num_processes: Annotated[
        int, Field(gt=0, description="processes that share the shards of a folder, one a GPU"), Flag("Machine")
    ] = 1
    device: Device = None


class SearchConfig(Command):
    """`embedctl search`."""

    name: ClassVar[str] = "search"

    model: ModelSection = ModelSection()
    texts: Annotated[
        Strings, Field(description="what to look for"), Flag("Input", argument=True, metavar="TEXT...")
    ] = ()
    index: Annotated[
        str, Field(min_length=1, description="an output of encode --index, or its index folder"), Flag("Input")
    ] = "texts.npy"
    input: Annotated[str | None, Field(description="a file of texts to look for"), Flag("Input", ("-i",))] = None
    field: Annotated[str, Field(description="the key of an object that holds the text"), Flag("Input")] = "text"
    k: Annotated[int, Field(gt=0, description="nearest texts shown"), Flag("Output", ("-k",))] = 10
    prompt_name: Annotated[
        str | None, Field(description="one of the model's prompts; its query prompt by default"), Flag("Input")
    ] = None
    prompt: Annotated[str | None, Field(description="put before each text to look for"), Flag("Input")] = None
    device: Device = None


class LimitSection(Section):
    """Scores that a mined negative may have."""

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
    """A cross-encoder that looks at the candidates again."""

    rerank_with: Annotated[
        str | None, Field(description="a cross-encoder that judges what is left of the range"), Flag("Rerank")
    ] = None
    rerank_margin: Annotated[
        float | None, Field(description="by its score, a negative is below the positive by this"), Flag("Rerank")
    ] = None
    rerank_max_score: Annotated[float | None, Field(description="and its score is at most this"), Flag("Rerank")] = None
    rerank_batch_size: Annotated[int, Field(gt=0, description="pairs in one pass"), Flag("Rerank")] = 32

    @model_validator(mode="after")
    def _limits_need_a_judge(self) -> RerankSection:
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
    limits: LimitSection = LimitSection()
    rerank: RerankSection = RerankSection()
    also: Annotated[
        Literal["bm25"] | None, Field(description="mix in what shares words with the query, by turns"), Flag("Search")
    ] = None
    ann: Annotated[
        Literal["hnsw", "ivf"] | None,
        Field(description="search approximately; its recall is measured and printed"),
        Flag("Search"),
    ] = None
    query_prompt: Annotated[
        str | None, Field(description="put before each query; the model's own by default"), Flag("Texts")
    ] = None
    passage_prompt: Annotated[
        str | None, Field(description="put before each passage; the model's own by default"), Flag("Texts")
    ] = None
    overwrite: Annotated[bool, Field(description="replace the output"), Flag("Data")] = False
    device: Device = None

    @model_validator(mode="after")
    def _the_range_has_ranks_enough(self) -> MineConfig:
        expect_ranks("--range", self.range, self.neg_nums)
        return self


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
    query_prompt: Annotated[
        str | None, Field(description="put before each query; the model's own by default"), Flag("Texts")
    ] = None
    passage_prompt: Annotated[
        str | None, Field(description="put before each passage; the model's own by default"), Flag("Texts")
    ] = None
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


C = TypeVar("C", bound=Command)


def leaves(config: type[BaseModel], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every option of a configuration: its path through the sections and its pydantic field."""
    found: dict[tuple[str, ...], Any] = {}
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found |= leaves(field.annotation, (*path, name))
        else:
            found[*path, name] = field
    return found


def expect_ranks(flag: str, ranks: str, number: int) -> None:
    """Raise a ValueError if a range holds fewer ranks than there are to be negatives."""
    first, last = map(int, ranks.split("-"))
    if last - first < number:
        wanted = f"e.g. {flag} {first}-{first + max(200, number)}, or a lower --neg-nums"
        raise ValueError(f"{flag} {ranks} holds {max(0, last - first)} ranks, fewer than --neg-nums {number}: {wanted}")


def flag_of(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def load(config: type[C], file: str | None = None, flags: dict[str, Any] | None = None) -> C:
    """The configuration from defaults, a YAML file and flags, the later winning.

    Args:
        config: the command's configuration type.
        file: a YAML file of the sections' keys, or None.
        flags: field name to value, only what the user typed.

    Raises:
        ConfigError: lists every fault at once.
    """
    merged = _read_yaml(file) if file else {}
    for path in leaves(config):
        if path[-1] in (flags or {}):
            _put(merged, path, (flags or {})[path[-1]])
    try:
        return config.model_validate(merged)
    except ValidationError as invalid:
        typed = {path for path in leaves(config) if path[-1] in (flags or {})}
        faults = [_fault(error, typed, file) for error in invalid.errors()]
        hint = f"see `embedctl {config.name} --help` for the options and their values"
        raise ConfigError("\n  ".join(faults), hint) from None


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a value in a nested mapping; a section that is no mapping stays, for validation to name it."""
    section: Any = document
    for name in path[:-1]:
        section = section.setdefault(name, {})
    if isinstance(section, dict):
        section[path[-1]] = value


def _fault(error: Any, typed: set[tuple[str, ...]], file: str | None) -> str:
    names = tuple(str(part) for part in error["loc"] if not isinstance(part, int))
    message = error["msg"].removeprefix("Value error, ")
    if not names:
        return str(message)
    own = next((path for path in typed if names[: len(path)] == path), None)
    place = flag_of(own[-1]) if own else f"{file}: {'.'.join(names)}" if file else flag_of(names[-1])
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key"
    return f"{place}: {message[0].lower()}{message[1:]}, not {error['input']!r}"


def _not_yaml(file: str, cause: yaml.YAMLError) -> str:
    """Where a file stops to be YAML, and why."""
    mark = cause.problem_mark if isinstance(cause, yaml.MarkedYAMLError) else None
    place = f"{file}:{mark.line + 1}" if mark else file
    return f"{place}: not YAML: {cause.problem if isinstance(cause, yaml.MarkedYAMLError) else cause}"


def _read_yaml(file: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as missing:
        raise ConfigError(f"--config: {file}: {missing.strerror}", "check the name of the file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--config: {file}: not YAML: it is not UTF-8", CONFIG_HINT) from None
    except yaml.YAMLError as invalid:
        raise ConfigError(f"--config: {_not_yaml(file, invalid)}", CONFIG_HINT) from None
    if not isinstance(document or {}, dict):
        raise ConfigError(f"--config: {file}: a mapping of sections is expected", CONFIG_HINT)
    return {name: value for name, value in (document or {}).items() if value is not None}


def dump(config: Command) -> str:
    """The configuration as YAML that `load` reads back to the same."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


# Random weights learn fast and the data of a first try are few: what makes a minute of two CPU cores count.
TINY_OPTIM: dict[str, Any] = {"lr": 5e-4, "batch_size": 32, "epochs": 2}


def with_model_defaults(config: TrainConfig) -> TrainConfig:
    """The configuration with the built-in model's own lr, batch size and epochs where the user set none."""
    if config.model.model_name_or_path != TINY:
        return config
    own = {name: value for name, value in TINY_OPTIM.items() if name not in config.optim.model_fields_set}
    return config.model_copy(update={"optim": config.optim.model_copy(update=own)})
