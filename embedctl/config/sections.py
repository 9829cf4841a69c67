"""The sections of a training run, but for the model's: texts, weights, rows, loss, steps, folder and machines."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from embedctl.config.base import Flag, PassagePrompt, QueryPrompt, Range, Section, Strings
from embedctl.config.trackers import Tracker


class TextSection(Section):
    """How texts become tokens in training."""

    query_max_len: Annotated[int, Field(ge=4, description="tokens of a query, special ones counted"), Flag("Texts")] = (
        128
    )
    passage_max_len: Annotated[int, Field(ge=4, description="tokens of a passage"), Flag("Texts")] = 512
    query_prompt: QueryPrompt = None
    passage_prompt: PassagePrompt = None


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
    log_with: Annotated[Tracker, Field(description="tracker of the curves"), Flag("Run")] = "none"


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
