"""Options of train for the output folder, checkpoints, evaluations, processes and hardware."""

from __future__ import annotations

from typing import Literal

from embedctl.config.base import HARDWARE, Section, Strings, option
from embedctl.config.trackers import Tracker

# Headings in `--help`.
FOLDER, EVALUATION = "Output folder and checkpoints", "Evaluation and tracking"


class RunSection(Section):
    """The output folder of a run, its checkpoints and its evaluations."""

    output_dir: str = option("out", FOLDER, "-o", metavar="FOLDER", min_length=1)
    """folder for the fine-tuned model, its metrics and its checkpoints"""
    overwrite: bool = option(False, FOLDER)
    """replace an earlier run in the output folder, or add the run to a folder with other files, which are kept"""
    resume: str | None = option(None, FOLDER, metavar="[FOLDER]")
    """continue an interrupted run from its folder or from one of its checkpoints; without a value, from the newest
    checkpoint in --output-dir (default: start a new run)"""
    save_on_epoch_end: bool = option(False, FOLDER)
    """export the model after each epoch, to OUTPUT_DIR/checkpoints/epoch-N"""
    save_steps: int | None = option(None, FOLDER, gt=0)
    """optimizer steps between two checkpoints for --resume (default: one checkpoint per epoch)"""
    keep: int = option(2, FOLDER, gt=0)
    """number of newest checkpoints that are kept for --resume"""
    eval_steps: int | None = option(None, EVALUATION, gt=0)
    """optimizer steps between two evaluations (default: one evaluation per epoch)"""
    metric: str = option("nDCG@10", EVALUATION, metavar="NAME")
    """metric that selects the best model, for example MRR@10 or Recall@1"""
    early_stopping_patience: int | None = option(None, EVALUATION, gt=0)
    """stop after this number of consecutive evaluations without a better --metric (default: do not stop early)"""
    log_with: Tracker = option("none", EVALUATION)
    """experiment tracker that records the loss and the metrics"""


class LaunchSection(Section):
    """Processes, GPUs and machines of a run."""

    num_processes: int | None = option(None, HARDWARE, gt=0)
    """processes of this run on all machines together (default: one per GPU, or one on a CPU)"""
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = option("auto", HARDWARE)
    """data type of the computation; no is float32; auto is bf16 if the GPU supports it, else float32"""
    strategy: Literal["auto", "fsdp", "ddp"] = option("auto", HARDWARE)
    """with several processes: fsdp shards the weights; ddp copies them to each process; auto uses ddp for a model with
    less than 1 GiB of weights, else fsdp"""
    fsdp_reshard: bool = option(True, HARDWARE)
    """with fsdp: free the weights of a layer after its forward pass and gather them again in the backward pass; off
    takes more memory and less communication"""
    fsdp_layers: Strings = option((), HARDWARE, metavar="CLASS")
    """with fsdp: class of the layers to shard, for example BertLayer; for several classes, repeat the option or use a
    list in YAML (default: those that the model names)"""
    tokens_per_forward: int | None = option(None, HARDWARE, gt=0)
    """maximum number of tokens in one forward pass; a larger batch is computed in chunks with the same gradients, so
    lower this value, not --batch-size, if memory is exhausted (default: depends on the available memory)"""
    attention: Literal["auto", "packed", "padded"] = option("auto", HARDWARE)
    """packed computes without padding (on a GPU in half precision); padded works with every model; auto uses packed
    where it can"""
    cpu: bool = option(False, HARDWARE)
    """train on the CPU even if there is a GPU"""
    num_machines: int = option(1, HARDWARE, gt=0)
    """number of machines of this run; start the command on each of them"""
    machine_rank: int = option(0, HARDWARE, ge=0)
    """rank of this machine; the main machine is 0"""
    main_process_ip: str | None = option(None, HARDWARE)
    """IP address of the main machine; required with several machines (default: none)"""
    main_process_port: int = option(0, HARDWARE, ge=0, le=65535)
    """port on the main machine; required with several machines; on one machine, 0 selects a free port"""
    dry_run: bool = option(False, HARDWARE)
    """check settings and data, print the accelerate command of the run, and stop"""


def fsdp_options(launch: LaunchSection) -> list[str]:
    """Return the given options that only FSDP uses."""
    given = {"--fsdp-layers": bool(launch.fsdp_layers), "--no-fsdp-reshard": not launch.fsdp_reshard}
    return [flag for flag, is_given in given.items() if is_given]
