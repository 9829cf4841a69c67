"""The model of a run as it is trained: wrapped for distribution, with its optimizer, precision and token budget."""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)

from embedctl.distributed.ranks import is_main, world_size
from embedctl.errors import ModelError
from embedctl.model.embedder import Embedder
from embedctl.model.tuning import (
    MasterWeights,
    add_adapters,
    compile_layers,
    enable_gradient_checkpointing,
    freeze_unused,
    merge_adapters,
)
from embedctl.tokens.packing import Ragged
from embedctl.training.budget import PROBES, find_budget, memory_advice
from embedctl.training.job import TrainJob
from embedctl.training.optim import adamw
from embedctl.training.runtime import Runtime

CPU_CHUNK = 2048


@dataclass
class Session:
    """What a run trains."""

    runtime: Runtime  # the worker's
    embedder: Embedder  # the model, unwrapped: it makes features
    model: Any  # the same, wrapped by accelerate: it is called
    masters: MasterWeights | None  # float32 masters of a half-precision model; None where the weights are their own
    optimizer: Any  # over the masters, or the weights
    pristine: Embedder | None  # a copy on the CPU, on the main rank: exports are filled into it
    budget: int  # tokens in one pass through the model

    @classmethod
    def prepare(cls, embedder: Embedder, runtime: Runtime, job: TrainJob) -> Session:
        """Make a loaded model trainable on this worker's device.

        Raises:
            ModelError: FSDP finds no layer to shard.
            TrainingError: the GPU is out of memory.
        """
        tune, budget = job.tune, job.launch.tokens_per_forward
        with memory_advice(budget or PROBES[-1], recomputes=tune.gradient_checkpointing):
            if tune.lora_rank:
                add_adapters(embedder, tune)
            freeze_unused(embedder)
            pristine = copy.deepcopy(embedder) if is_main() else None
            embedder.to(runtime.device).train()
            embedder.choose_attention(job.launch.attention, runtime.compute)
            if tune.gradient_checkpointing:
                enable_gradient_checkpointing(embedder)
            # shards bring their own masters; copies (ddp) and fp16, whose gradients are scaled, have float32 weights
            halved = runtime.strategy == "none" and runtime.compute == torch.bfloat16
            masters = MasterWeights(embedder, runtime.compute) if halved else None
            if tune.compile and runtime.device.type == "cuda":
                compile_layers(embedder)
            optimizer = adamw(masters.model if masters else embedder, job.optim)
            model, optimizer = runtime.accelerator.prepare(embedder, optimizer)
            if runtime.strategy == "fsdp":
                _expect_shards(model)
            session = cls(runtime, embedder, model, masters, optimizer, pristine, budget=0)
            session.budget = budget or find_budget(embedder, runtime.device, session._run)
        return session

    @property
    def device(self) -> torch.device:
        """This rank's device."""
        return self.runtime.device

    @property
    def scaled(self) -> bool:
        """Whether gradients are scaled (fp16): a step whose gradients overflow is left out."""
        return self.runtime.compute == torch.float16

    @property
    def chunk(self) -> int:
        """Tokens of a chunk: a CPU's caches like fewer than its memory holds. Ranks keep one graph at a time."""
        return min(self.budget, CPU_CHUNK) if self.device.type == "cpu" and world_size() == 1 else self.budget

    @property
    def weights(self) -> torch.nn.Module:
        """The module that the optimizer works on."""
        weights: torch.nn.Module = self.masters.model if self.masters else self.model
        return weights

    def __call__(self, features: dict[str, Any]) -> Tensor:
        """Vectors (N, H) of the texts in `features`, computed in the run's precision."""
        half = self.runtime.compute != torch.float32
        with torch.autocast(self.device.type, self.runtime.compute, enabled=half and self.runtime.strategy == "ddp"):
            vectors: Tensor = self.model(features)
        return vectors

    def no_sync(self) -> contextlib.AbstractContextManager[None]:
        """A context in which gradients stay on their rank."""
        context: contextlib.AbstractContextManager[None] = self.runtime.accelerator.no_sync(self.model)
        return context

    def backward(self, scalar: Tensor) -> None:
        """Send a scalar's gradient through the model."""
        self.runtime.accelerator.backward(scalar)

    def update(self, max_norm: float) -> Tensor:
        """Clip the gradients, update the weights and clear the gradients.

        Returns:
            The norm before clipping, a scalar on the device.
        """
        weights = [weight for weight in self.weights.parameters() if weight.requires_grad]
        norm = self.runtime.accelerator.clip_grad_norm_(weights, max_norm or float("inf"))
        self.optimizer.step()
        self.clear()
        if self.masters:
            self.masters.copy_to_model()
        whole: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        return whole.detach()

    def _run(self, texts: Ragged) -> None:
        """Forward and backward of texts, to measure the memory that they take."""
        self.backward(self(self.embedder.features(texts)).sum())
        self.clear()

    def clear(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """Weights and optimizer for a state to resume from. Called by all ranks."""
        model, optimizer = get_state_dict(self.weights, self.optimizer.optimizer)
        return {"model": model, "optimizer": optimizer}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave, filled from a checkpoint. Called by all ranks."""
        set_state_dict(
            self.weights, self.optimizer.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"]
        )
        if self.masters:
            self.masters.copy_to_model()

    def exported(self) -> Embedder | None:
        """The trained model in float32 on the CPU, on the main rank; None elsewhere. Called by all ranks."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = get_model_state_dict(self.weights, options=options)
        if self.pristine is None:
            return None
        trained = copy.deepcopy(self.pristine)
        set_model_state_dict(trained, state, options=StateDictOptions(strict=True))
        merge_adapters(trained)
        return trained.eval()


def _expect_shards(model: torch.nn.Module) -> None:
    """Raise a ModelError if only the root was sharded."""
    from torch.distributed.fsdp import FSDPModule

    units = sum(isinstance(module, FSDPModule) for module in model.modules())
    if units < 2:
        raise ModelError("FSDP finds no layer class of this model to shard", "use --strategy ddp")
