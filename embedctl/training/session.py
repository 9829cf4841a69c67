"""The model in training with its optimizer, distribution, precision and token budget."""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed.checkpoint.state_dict as dcp
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from embedctl.distributed.ranks import is_main, world_size
from embedctl.errors import ModelError
from embedctl.model import tuning
from embedctl.model.adapters import merge_adapters
from embedctl.model.embedder import Embedder
from embedctl.tokens.packing import Ragged
from embedctl.training.budget import PROBE_TOKENS, explain_out_of_memory, find_budget
from embedctl.training.job import TrainJob
from embedctl.training.optim import adamw
from embedctl.training.runtime import Runtime

MAX_CPU_CHUNK_TOKENS = 2048  # larger chunks exceed the caches of a CPU and are slower


@dataclass
class Session:
    """The model in training and its optimizer."""

    runtime: Runtime
    embedder: Embedder  # the model without wrappers, which makes model inputs
    model: torch.nn.Module  # the same model, wrapped by accelerate, which computes vectors
    masters: tuning.MasterWeights | None  # float32 weights, if the model itself is in half precision
    optimizer: Any  # updates the float32 weights
    export_template: Embedder | None  # on rank 0: a copy of the base model on the CPU, for exports
    budget: int  # token budget of a forward pass

    @classmethod
    def prepare(cls, embedder: Embedder, runtime: Runtime, job: TrainJob) -> Session:
        """Prepare a loaded model for training on this worker's device.

        Raises:
            ModelError: FSDP finds no layers to shard.
            TrainingError: the GPU ran out of memory.
        """
        tune, budget = job.tune, job.launch.tokens_per_forward
        with explain_out_of_memory(budget or PROBE_TOKENS[-1], gradient_checkpointing=tune.gradient_checkpointing):
            tuning.check_tuning(embedder, tune, runtime.device)
            if tune.lora_rank:
                tuning.add_adapters(embedder, tune)
            tuning.freeze_unused(embedder)
            template = copy.deepcopy(embedder) if is_main() else None
            embedder.to(runtime.device).train()
            embedder.choose_attention(job.launch.attention, runtime.compute_dtype)
            if tune.gradient_checkpointing:
                tuning.enable_gradient_checkpointing(embedder)
            # With FSDP, with ddp (autocast) and with fp16 (gradient scaler), the model itself has float32 weights.
            half = runtime.strategy == "none" and runtime.compute_dtype == torch.bfloat16
            masters = tuning.MasterWeights(embedder, runtime.compute_dtype) if half else None
            if tune.compile:
                tuning.compile_layers(embedder)
            optimizer = adamw(masters.model if masters else embedder, job.optim)
            model, optimizer = runtime.accelerator.prepare(embedder, optimizer)
            # If FSDP finds no layers, the only sharded module is the root.
            if runtime.strategy == "fsdp" and sum(isinstance(module, FSDPModule) for module in model.modules()) < 2:
                raise ModelError("FSDP found no layers to shard in this model", "use --strategy ddp")
            session = cls(runtime, embedder, model, masters, optimizer, template, budget=0)
            session.budget = budget or find_budget(embedder, runtime.device, session._forward_backward)
        return session

    @property
    def uses_grad_scaler(self) -> bool:
        """Whether gradients are scaled (fp16). A step whose gradients overflow is then skipped."""
        return self.runtime.compute_dtype == torch.float16

    @property
    def chunk_tokens(self) -> int:
        """Largest number of tokens per chunk in training.

        It is less than the budget on a CPU with one process, where the graphs of all chunks are kept. With several
        processes, small chunks would be slower, because each chunk of a batch is encoded twice.
        """
        single_cpu = self.runtime.device.type == "cpu" and world_size() == 1
        return min(self.budget, MAX_CPU_CHUNK_TOKENS) if single_cpu else self.budget

    @property
    def trained_module(self) -> torch.nn.Module:
        """The module whose parameters the optimizer updates."""
        return self.masters.model if self.masters else self.model

    def __call__(self, features: dict[str, Any]) -> Tensor:
        """Return the vectors (N, H) of N texts, computed in the precision of the run."""
        autocast = self.runtime.strategy == "ddp" and self.runtime.compute_dtype != torch.float32
        with torch.autocast(self.runtime.device.type, self.runtime.compute_dtype, enabled=autocast):
            vectors: Tensor = self.model(features)
        return vectors

    def no_sync(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which gradients are not averaged over the ranks."""
        context: contextlib.AbstractContextManager[None] = self.runtime.accelerator.no_sync(self.model)
        return context

    def backward(self, scalar: Tensor) -> None:
        """Run the backward pass of a scalar."""
        self.runtime.accelerator.backward(scalar)

    def optimizer_step(self, max_norm: float) -> Tensor:
        """Clip the gradients to `max_norm` (0: no clipping), update the weights and return the norm before clipping."""
        weights = [weight for weight in self.trained_module.parameters() if weight.requires_grad]
        norm: Tensor = self.runtime.accelerator.clip_grad_norm_(weights, max_norm or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.masters:
            self.masters.copy_to_model()
        return (norm.full_tensor() if isinstance(norm, DTensor) else norm).detach()

    def _forward_backward(self, texts: Ragged) -> None:
        """Run forward and backward pass, to measure their memory."""
        self.backward(self(self.embedder.features(texts)).sum())
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of weights and optimizer for a checkpoint. All ranks must call it."""
        model, optimizer = dcp.get_state_dict(self.trained_module, self.optimizer.optimizer)
        return {"model": model, "optimizer": optimizer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set weights and optimizer to a state that `state_dict` returned. All ranks must call it."""
        module, optimizer = self.trained_module, self.optimizer.optimizer
        dcp.set_state_dict(module, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
        if self.masters:
            self.masters.copy_to_model()

    def export_model(self) -> Embedder | None:
        """Return the current model in float32 on the CPU on rank 0, else None. Called by all ranks."""
        options = dcp.StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = dcp.get_model_state_dict(self.trained_module, options=options)
        if self.export_template is None:
            return None
        trained = copy.deepcopy(self.export_template)
        dcp.set_model_state_dict(trained, state, options=dcp.StateDictOptions(strict=True))
        merge_adapters(trained)
        return trained.eval()
