"""Exports of a run: each epoch's, the best so far and the last, and the panel that closes the run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from embedctl import console
from embedctl.data.rows import read_rows
from embedctl.data.store import TrainingData
from embedctl.distributed.ranks import barrier, is_main
from embedctl.model.embedder import Embedder
from embedctl.search.vectors import unit
from embedctl.tokens.tokenize import tokenize
from embedctl.training import checkpoint
from embedctl.training.export import Account, expect_agreement, export, verify
from embedctl.training.job import TrainJob
from embedctl.training.measure import History, encode_shared
from embedctl.training.session import Session

CHECK_ROWS = 8  # whose texts are encoded to compare the export with the trained model
# cosine between the model as it runs and its float32 masters
ROUNDING = {torch.float32: 0.9999, torch.bfloat16: 0.99, torch.float16: 0.999}


@dataclass(frozen=True)
class Finish:
    """Writes the models of a run."""

    job: TrainJob  # the run's
    session: Session  # what was trained
    data: TrainingData  # what on
    history: History  # its evaluations

    @property
    def best_folder(self) -> Path:
        """Where the best model stands if it is not the last."""
        return self.job.folder / "checkpoints" / "best"

    def keep_best(self, step: int) -> None:
        """Export the best model so far. Called by all ranks."""
        self._write(self.best_folder, step)

    def keep_epoch(self, epoch: int, step: int) -> None:
        """Export an epoch's model if that was asked for. Called by all ranks."""
        if self.job.run.save_on_epoch_end:
            self._write(self.job.folder / "checkpoints" / f"epoch-{epoch}", step)

    def export(self, step: int) -> None:
        """Export the final model, check it against the trained one and close the run. Called by all ranks.

        Raises:
            ModelError: the saved model differs from the trained one.
        """
        rows = islice(read_rows(self.job.sources[0].path), CHECK_ROWS)
        texts = [text for row in rows for text in (row.query, row.pos[0])]
        embedder = self.session.embedder
        tokens = tokenize(embedder.tokenizer, texts, embedder.max_len)
        live = encode_shared(self.session, tokens)
        last_is_best = not self.history.entries or self.history.best["step"] == step
        if is_main() and last_is_best:
            shutil.rmtree(self.best_folder, ignore_errors=True)
        trained = self._write(self.job.folder, step)
        if trained is not None:
            masters = unit(trained.encode(texts, prompt=""))
            expect_agreement(masters, live, ROUNDING[self.session.runtime.compute], "gathered weights")
            agreement = verify(self.job.folder, texts, masters, trust_remote_code=self.job.trust_remote_code)
            shutil.rmtree(checkpoint.states_folder(self.job.folder), ignore_errors=True)
            self._close(step, agreement, last_is_best)
        barrier()

    def _write(self, folder: Path, step: int) -> Embedder | None:
        """Export the model as it is now; returns it on the main rank. Called by all ranks."""
        trained = self.session.exported()
        if trained is not None:
            export(trained, folder, self._account(step))
        barrier()
        return trained

    def _account(self, step: int) -> Account:
        measured = {entry["step"]: entry["metrics"] for entry in self.history.entries}
        return Account(self.job, self.data.facts, measured.get(step, {}), measured.get(0, {}), step)

    def _close(self, step: int, agreement: float, last_is_best: bool) -> None:
        facts = {
            "model": str(self.job.folder),
            "checked": f"loaded with SentenceTransformer, cosine {agreement:.6f} to the trained model",
        }
        account = self._account(step)
        if account.metrics:
            rows = [[name, *_change(account.before.get(name), value)] for name, value in account.metrics.items()]
            console.table("evaluation rows", ["metric", "step 0", f"step {step}", "difference"], rows)
            best, metric = self.history.best, self.history.metric
            where = str(self.job.folder if last_is_best else self.best_folder)
            if best["step"] == 0:
                where = "training did not improve on the model that it began with; try a lower --lr or more data"
            facts["best"] = f"{metric} {best['metrics'][metric]:.4f} at step {best['step']}: {where}"
        facts["next"] = f"embedctl eval --ckpt {self.job.folder}"
        console.panel("done", facts)
        if self.job.json_output:
            measured = {"metrics": account.metrics, "before": account.before}
            console.result({"model": str(self.job.folder), "steps": step, **measured, "agreement": agreement})


def _change(before: float | None, after: float) -> list[str]:
    if before is None or np.isnan(before):
        return ["", f"{after:.4f}", ""]
    return [f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"]
