"""What a run does: fit, test, claims, export, in this order."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from deepsal.models import backbone_from_checkpoint
from deepsal.rf.memory import is_out_of_memory
from deepsal.runs import claims, score_files
from deepsal.training.checkpoints import gather_from_ranks
from deepsal.training.wandb_log import WeightsAndBiases, log_numbers

RUN_STEPS = ("fit", "test", "claims", "export")
OUT_OF_MEMORY_ADVICE = (
    "the GPU has too little memory for a training step; "
    "set a smaller data.batch_size or data.size, or trainer.precision=bf16-mixed"
)


def prepare_run(verbs: Sequence[str], seed: int) -> None:
    """Check the verbs, silence Lightning's notes, and seed every generator.

    Call it before anything is built.

    Raises:
        ValueError: an unknown verb; the message lists the choices.
    """
    if unknown := [verb for verb in verbs if verb not in RUN_STEPS]:
        raise ValueError(f"do={unknown}: the verbs are {list(RUN_STEPS)}")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    pl.seed_everything(seed, workers=True, verbose=False)


def run_steps(
    objects: Mapping[str, Any], config: Mapping[str, Any], folder: Path, last: Path | None = None
) -> float | None:
    """Do the configured verbs; return the sweep's score (the best epoch's, or the test's).

    Args:
        objects: task, data, trainer, claims and export.
        config: plain values: `run_steps`, `ckpt`, and all that the loggers keep.
        folder: the run folder.
        last: the checkpoint of this very run that the fit goes on from.
    """
    task, data, trainer = objects["task"], objects["data"], objects["trainer"]
    verbs, found, ckpt = config["do"], None, config["ckpt"]
    before = deepcopy(task.network.backbone) if "claims" in verbs else None
    wandb = [logger for logger in trainer.loggers if isinstance(logger, WeightsAndBiases)]
    for logger in wandb:
        logger.log_hyperparams(dict(config))
    failed = True
    try:
        if "fit" in verbs:
            with out_of_memory_advice():
                trainer.fit(task, data, ckpt_path=last or ckpt, weights_only=True)
            found, ckpt = trainer.checkpoint_callback.best_model_score.item(), "best"
        if "test" in verbs:
            trainer.test(task, data, ckpt_path=ckpt, weights_only=True, verbose=False)
            rows = gather_rows(task.test_rows, len(data.images["test"]), trainer.world_size)
            if trainer.is_global_zero:
                of = data.images["test"].dataset.name
                score_files.write_scores(folder, rows, of, task.score.protocol, task.score.maps)
            found = trainer.callback_metrics["test/nss"].item() if found is None else found
        best = trainer.checkpoint_callback.best_model_path or config["ckpt"]
        if before and trainer.is_global_zero:
            after = backbone_from_checkpoint(before, best) if best else before
            networks = [n.to(trainer.strategy.root_device) for n in (before, after)]
            rows = objects["claims"](networks[0], networks[1:], data.images["val"])
            log_numbers(trainer, claims.logged_effects(rows))
            claims.print_verdict(rows)
        if "export" in verbs and trainer.is_global_zero:
            if best:
                task.load_state_dict(torch.load(best, "cpu", weights_only=True)["state_dict"])
            task.to(trainer.strategy.root_device)  # where the test scored it
            written = objects["export"](task.predictor(data.dataset), data.images["test"])
            print(f"predictions are in {written}")  # noqa: T201
        failed = False
    finally:
        for logger in wandb:
            logger.close(exit_code=int(failed))
    return found


@contextmanager
def out_of_memory_advice() -> Iterator[None]:
    """Let a GPU that runs out of memory say what to set.

    Raises:
        MemoryError: instead of torch's own error.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(OUT_OF_MEMORY_ADVICE) from error


def gather_rows(
    rows: Sequence[Mapping[str, Any]], images: int, ranks: int
) -> Sequence[Mapping[str, Any]]:
    """Return the rows of all ranks in the images' order, each image once.

    Images go round the ranks, which are filled up with the first images again.
    """
    parts = gather_from_ranks(rows, ranks)
    return [row for turn in zip(*parts, strict=True) for row in turn][:images]
