"""Weights & Biases log of a run, and functions that log numbers and figures to all loggers."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import numpy as np
import pytorch_lightning as pl
from lightning_fabric.loggers.logger import _DummyExperiment
from PIL import Image
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

_Result = TypeVar("_Result")
FLUSH_SECONDS = 1.0
"""Time between writes of an offline run's file; W&B's own is 15."""
WANDB_HOST = "api.wandb.ai"
LOG = logging.getLogger(__name__)


class WeightsAndBiases(WandbLogger):
    """W&B logger that never fails a training: at its first error it warns once and stops logging.

    A run that cannot be started online is logged offline. The logger is online if there is a key
    (WANDB_API_KEY or a login) and offline otherwise, unless WANDB_MODE is set. An offline run ends
    with the command that uploads it. The run's id is stored in the run folder, so that a resumed
    run continues the same W&B run. Offline, each start writes a folder of its own; `wandb sync`
    joins them.

    Args:
        folder: the run folder.
        project: W&B project.
        name: name of the run in the dashboard.
        group: group of the run; None: the folder that holds the run folders of a sweep.
        job_type: the steps of the run.
        tags: backbone and depth.
        artifacts: upload the best and the last checkpoint and the fields, too.
    """

    def __init__(
        self,
        folder: str | Path,
        project: str = "deepsal",
        name: str | None = None,
        group: str | None = None,
        job_type: Sequence[str] = (),
        tags: Sequence[str] = (),
        artifacts: bool = False,
    ) -> None:
        import wandb  # takes half a second, which other loggers do not need

        self.failed = False
        self.artifacts = artifacts
        self.folder = Path(folder)
        mode = os.environ.get("WANDB_MODE") or ("online" if _has_api_key() else "offline")
        super().__init__(
            name=name,
            save_dir=str(folder),
            id=_run_id(self.folder),
            project=project,
            group=group or self.folder.absolute().parent.name,
            job_type="-".join(job_type) or None,
            tags=list(tags),
            resume="allow",
            mode=mode,
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=60,
                # of a killed run; a file without one record makes `wandb sync` upload nothing
                x_transaction_log_flush_interval=FLUSH_SECONDS,
            ),
        )
        self._wandb_init.pop("anonymous")  # W&B warns of it, whatever its value
        self.mode = mode

    @property
    @override
    def experiment(self) -> Any:
        """The W&B run, which is started; once W&B has failed, an object that does nothing."""
        if self._experiment is None and not self.failed and not rank_zero_only.rank:  # type: ignore[attr-defined]
            self._start_run()
        return _DummyExperiment() if self.failed else super().experiment

    def _start_run(self) -> None:
        try:
            self._experiment = super().experiment
        except Exception as error:  # of the network, the key, or an option
            if self.mode != "online":
                self._give_up(error)
                return
            import wandb

            LOG.warning("W&B cannot start online (%s); this run is logged offline", error)
            self.mode = self._wandb_init["mode"] = "offline"
            wandb.teardown()  # the failed start holds the run's id
            self._start_run()

    def _give_up(self, error: Exception) -> None:
        self.failed = True
        LOG.warning("W&B failed (%s); the training continues and metrics.csv is complete", error)

    @override
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._call_unless_failed(lambda: super(WeightsAndBiases, self).log_metrics(metrics, step))

    @override
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self._call_unless_failed(
            lambda: super(WeightsAndBiases, self).log_hyperparams(params, *args, **kwargs)
        )

    def log_figure(self, key: str, file: Path, step: int) -> None:
        """Log a PNG file; the dashboard has a slider over the steps of a key."""
        import wandb

        pixels = np.asarray(Image.open(file).convert("RGB"))
        self._call_unless_failed(
            lambda: self.experiment.log({key: wandb.Image(pixels), "trainer/global_step": step})
        )

    @rank_zero_only
    def close(self, exit_code: int = 0) -> None:
        """End the W&B run, so that the next job of a sweep starts its own."""
        if self._experiment is None or self.failed:
            return
        import wandb

        if self.artifacts:
            self._call_unless_failed(self._upload_artifacts)
        self._call_unless_failed(lambda: wandb.finish(exit_code=exit_code))
        if self.mode == "offline":
            segments = f"{self.folder}/wandb/offline-run-*-{self._id}"
            LOG.info("W&B was offline; to upload the run: wandb sync %s", segments)

    def _upload_artifacts(self) -> None:
        import wandb

        for kind, pattern in (("checkpoints", "[!.]*.ckpt"), ("fields", "*=*.npz")):
            if files := sorted((self.folder / kind).glob(pattern)):
                artifact = wandb.Artifact(f"{kind}-{self.experiment.id}", kind)
                for file in files:
                    artifact.add_file(str(file))
                self.experiment.log_artifact(artifact)

    @rank_zero_only
    def _call_unless_failed(self, action: Callable[[], _Result]) -> _Result | None:
        if isinstance(self.experiment, _DummyExperiment):
            return None
        try:
            return action()
        except Exception as error:  # an error of the dashboard must not end the training
            self._give_up(error)
            return None


def log_figure(trainer: pl.Trainer, key: str, file: Path) -> None:
    """Log a PNG file of the run folder to every logger that takes figures."""
    for logger in trainer.loggers:
        if isinstance(logger, WeightsAndBiases):
            logger.log_figure(key, file, trainer.global_step)


def log_numbers(trainer: pl.Trainer, numbers: Mapping[str, float]) -> None:
    """Log numbers to every logger at the current step, outside Lightning's own logging."""
    for logger in trainer.loggers:
        logger.log_metrics({**numbers, "epoch": trainer.current_epoch}, step=trainer.global_step)
        logger.save()


def _has_api_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc().authenticators(WANDB_HOST) is not None
    except (FileNotFoundError, NetrcParseError):
        return False


def _run_id(folder: Path) -> str:
    file = folder / "wandb_id"
    if file.is_file():
        return file.read_text(encoding="utf-8").strip()
    run_id = token_hex(4)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(run_id, encoding="utf-8")
    return run_id
