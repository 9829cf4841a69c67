"""Saving of the models of a run (best, per epoch, final), and the results that are printed at its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedctl import console
from embedctl.data.store import TrainingData
from embedctl.distributed.ranks import barrier, is_main
from embedctl.model.embedder import Embedder
from embedctl.model.equivalence import record_comparison
from embedctl.run_folder import CHECKPOINTS, RunFolder
from embedctl.shell import embedctl_command
from embedctl.tokens.tokenize import tokenize
from embedctl.training.evaluator import EvaluationHistory, encode_distributed
from embedctl.training.export import RunSummary, Samples, check_vectors, export, verify
from embedctl.training.job import TrainJob
from embedctl.training.session import Session

BEST_MODEL = Path("checkpoints", "best")  # in the output folder, if the best model is not the final one


@dataclass(frozen=True)
class ModelSaver:
    """Saves the models of a run."""

    job: TrainJob
    session: Session
    data: TrainingData
    history: EvaluationHistory
    samples: Samples  # a few texts of the rows

    def save_best(self, step: int) -> None:
        """Save the current model as the best one. Called by all ranks."""
        self._save(self.job.folder / BEST_MODEL, step)

    def save_epoch(self, epoch: int, step: int) -> None:
        """Save the model at the end of an epoch (counted from 1), with --save-on-epoch-end. Called by all ranks."""
        if self.job.run.save_on_epoch_end:
            self._save(self.job.folder / "checkpoints" / f"epoch-{epoch}", step)

    def save_final(self, step: int) -> None:
        """Save the final model, verify it, remove the checkpoints and print the results. Called by all ranks.

        Raises:
            ModelError: the saved model returns other embeddings than the model in training.
        """
        embedder, samples = self.session.embedder, self.samples
        texts = [embedder.prefix("query", embedder.prompt_for("query")) + text for text in samples.queries]
        texts += [embedder.prefix("passage", embedder.prompt_for("passage")) + text for text in samples.passages]
        tokens = tokenize(embedder.tokenizer, texts, embedder.max_len)
        current = encode_distributed(self.session, tokens)[:, : embedder.encoded_dimension(None)]
        final_is_best = not self.history.entries or self.history.best["step"] == step
        if is_main() and final_is_best:
            RunFolder(self.job.folder).remove_below(self.job.folder / BEST_MODEL)
        trained = self._save(self.job.folder, step)
        if trained is not None:
            vectors = samples.encode(trained.encode_queries, trained.encode_passages)
            dtype, current = self.session.runtime.compute_dtype, embedder.similarity.prepare(current)
            check_vectors(vectors, current, dtype, "float32 weights gathered from all ranks")
            similarity = verify(self.job.folder, samples, vectors, trust_remote_code=self.job.trust_remote_code)
            RunFolder(self.job.folder).remove_below(self.job.folder / CHECKPOINTS)
            if not trained.uses_own_forward:
                record_comparison(str(self.job.folder))
            self._print_results(step, similarity, final_is_best)
        barrier()

    def _save(self, folder: Path, step: int) -> Embedder | None:
        """Export the current model, and return it on rank 0. Called by all ranks."""
        trained = self.session.export_model()
        if trained is not None:
            export(trained, folder, self._summary(step))
        barrier()
        return trained

    def _summary(self, step: int) -> RunSummary:
        metrics = {entry["step"]: entry["metrics"] for entry in self.history.entries}
        return RunSummary(self.job, self.data.facts, metrics.get(step, {}), metrics.get(0, {}), step)

    def _print_results(self, step: int, similarity: float, final_is_best: bool) -> None:
        facts = {
            "model": str(self.job.folder),
            "check of the model": f"SentenceTransformer returns the same embeddings (cosine {similarity:.6f})",
        }
        summary = self._summary(step)
        if summary.metrics:
            base = summary.base_metrics
            rows = [[name, *_table_cells(base.get(name), value)] for name, value in summary.metrics.items()]
            console.table("evaluation", ["metric", "base model", "fine-tuned model", "difference"], rows)
            best, metric = self.history.best, self.history.metric
            where = f", saved in {self.job.folder if final_is_best else self.job.folder / BEST_MODEL}"
            if best["step"] == 0:
                where = " (base model). Training did not improve the model: use a lower --lr or more data"
            facts["best model"] = f"{metric} {best['metrics'][metric]:.4f} at step {best['step']}{where}"
        console.panel("training finished", facts)
        command = embedctl_command("eval", "--ckpt", self.job.folder, trust_remote_code=self.job.trust_remote_code)
        console.info(f"next: {command}")
        self._warn_if_worse(summary, final_is_best=final_is_best)
        if self.job.json_output:
            metrics = {"metrics": summary.metrics, "before": summary.base_metrics}
            console.result({"model": str(self.job.folder), "steps": step, **metrics, "agreement": similarity})

    def _warn_if_worse(self, summary: RunSummary, *, final_is_best: bool) -> None:
        """Warn, also with --quiet, if the fine-tuned model has a lower metric than the base model."""
        metric = self.history.metric
        base, value = summary.base_metrics.get(metric), summary.metrics.get(metric)
        if base is None or value is None or value >= base:
            return
        better = self.history.best["step"] > 0 and not final_is_best
        where = f"use the best model, {self.job.folder / BEST_MODEL}, or " if better else "use "
        change = f"{metric} fell from {base:.4f} to {value:.4f}"
        console.warn(f"the fine-tuned model is worse than the base model: {change}; {where}a lower --lr or more data")


def _table_cells(base: float | None, fine_tuned: float) -> list[str]:
    if base is None or np.isnan(base):
        return ["", f"{fine_tuned:.4f}", ""]
    return [f"{base:.4f}", f"{fine_tuned:.4f}", f"{fine_tuned - base:+.4f}"]
