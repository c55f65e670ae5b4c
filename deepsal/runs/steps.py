"""Steps of a run: fit, test, claims, v1 and export, in this order."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException

import deepsal
from deepsal.data.datamodule import explain_missing_images
from deepsal.models import Backbone, Baseline, backbone_from_checkpoint
from deepsal.models.weights import RUN_PREFIX, load_run_weights
from deepsal.rf.memory import is_out_of_memory
from deepsal.runs import claims, score_files, v1
from deepsal.runs.folder import mark_done, recorded_status
from deepsal.runs.process import is_first_rank, plain_errors
from deepsal.runs.provenance import read_commit
from deepsal.runs.trained import is_untrained
from deepsal.runs.verdict_tables import print_verdict
from deepsal.training.checkpoints import AtomicCheckpointIO, gather_from_ranks
from deepsal.training.precision import check_accelerator, check_precision
from deepsal.training.task import refuse_hidden_fixations
from deepsal.training.wandb_log import WeightsAndBiases, log_numbers

LOG = logging.getLogger(__name__)
RUN_STEPS = ("fit", "test", "claims", "v1", "export")
BACKBONE_STEPS = ("fit", "claims", "v1")
"""Steps that train or measure the stages of a backbone, which a baseline does not have."""
OUT_OF_MEMORY_ADVICE = (
    "the GPU has too little memory for a training step; "
    "set a smaller data.batch_size or data.size, or trainer.precision=bf16-mixed"
)


def execute_run(
    config: Mapping[str, Any],
    build: Callable[[], Mapping[str, Any]],
    folder: Path,
    last: Path | None = None,
) -> float | None:
    """Execute the steps of a run in its folder, and record there how it ended.

    Args:
        config: plain values of the whole configuration.
        build: builds the objects `task`, `data`, `callbacks`, `logger`, `trainer`, `claims`,
            `v1`, `export`; called after the checks, with seeded generators.
        folder: the run folder.
        last: the checkpoint of this run that the training resumes from.

    Returns:
        The score of the run: `metric` of the best epoch, or the NSS of a test alone, if it has
        that score.

    Raises:
        ValueError: an unknown step, accelerator or precision; a step that the network cannot do; or
            one that would fail at its end.
    """
    accelerator, precision = config["trainer"]["accelerator"], config["trainer"]["precision"]
    with recorded_status(folder):
        prepare_run(config["do"], config["seed"])
        refuse_baseline_steps(config["network"], config["do"])
        check_accelerator(accelerator)
        if last is None:  # a resumed run keeps its precision, also where it is slow
            check_precision(precision, accelerator)
        objects = build()
        record = {
            "config": dict(config),
            "dataset": name_training_set(config, objects["data"].dataset.name),
            "commit": read_commit(folder),
            "version": deepsal.__version__,
        }
        score = run_steps(with_trainer(objects, record), config, folder, last)
        if is_first_rank():
            mark_done(folder, score)
    return score


def prepare_run(steps: Sequence[str], seed: int) -> None:
    """Check the steps, silence Lightning's notes, and seed every generator.

    Raises:
        ValueError: an unknown step.
    """
    if unknown := [step for step in steps if step not in RUN_STEPS]:
        choices = ", ".join(RUN_STEPS)
        raise ValueError(f"do=[{', '.join(unknown)}]: no such step; the choices are {choices}")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    pl.seed_everything(seed, workers=True, verbose=False)


def refuse_baseline_steps(network: Mapping[str, Any], steps: Sequence[str]) -> None:
    """Refuse, before any data is read, steps that a baseline cannot do.

    Args:
        network: its options; those of a network that learns state its backbone.
        steps: of the run.

    Raises:
        ValueError: the network is a baseline, and a step needs a backbone.
    """
    refused = ", ".join(step for step in steps if step in BACKBONE_STEPS)
    if refused and "backbone" not in network:
        raise ValueError(
            f"network={network['name']} is a baseline, which has no stages for do=[{refused}]; "
            "set do=[test]"
        )


def with_trainer(
    objects: Mapping[str, Any], record: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the objects of a run with the trainer built from its callbacks and loggers.

    Args:
        objects: of the run.
        record: see `AtomicCheckpointIO`.
    """
    build_trainer = objects["trainer"]
    plugins = [AtomicCheckpointIO(record), *build_trainer.keywords.pop("plugins", [])]
    callbacks = [callback for callback in objects["callbacks"].values() if callback]
    loggers = [logger for logger in objects["logger"].values() if logger]
    with plain_errors(MisconfigurationException):
        trainer = build_trainer(callbacks=callbacks, logger=loggers, plugins=plugins)
    return {**objects, "trainer": trainer}


def run_steps(
    objects: Mapping[str, Any], config: Mapping[str, Any], folder: Path, last: Path | None = None
) -> float | None:
    """Run the steps of `do` and return the score: the best epoch's, or the test's.

    Args:
        objects: task, data, trainer, claims, v1 and export.
        config: plain values: `do`; `ckpt`: the checkpoint that a training starts from, with a new
            optimiser and schedule, or that is tested, measured or exported; and all that the
            loggers record.
        folder: the run folder.
        last: the checkpoint of this run that the training resumes from.
    """
    task, data, trainer = objects["task"], objects["data"], objects["trainer"]
    steps, score, ckpt = config["do"], None, config["ckpt"]
    before, training_set = load_start(task, config, data.dataset.name, last)
    check_steps(objects, steps, before, last)
    wandb = [logger for logger in trainer.loggers if isinstance(logger, WeightsAndBiases)]
    for logger in wandb:
        logger.log_hyperparams(dict(config))
    failed = True
    try:
        if "fit" in steps:
            with plain_fit_errors():
                trainer.fit(task, data, ckpt_path=last, weights_only=True)
            if trainer.checkpoint_callback.best_model_score is None:
                raise ValueError("the training ended before its first validation; it has no score")
            score = trainer.checkpoint_callback.best_model_score.item()
            ckpt = trainer.checkpoint_callback.best_model_path
            load_run_weights(task, ckpt)
        if "test" in steps:
            task.save_test_rows = partial(save_scores, folder, objects, training_set)
            trainer.test(task, data, verbose=False)
            nss = trainer.callback_metrics.get("test/nss")
            score = nss.item() if score is None and nss is not None else score
        if before and trainer.is_global_zero:
            after = backbone_from_checkpoint(before, ckpt) if ckpt else before
            networks = [n.to(trainer.strategy.root_device) for n in (before, after)]
            measure_backbones(objects, steps, *networks)
        if "export" in steps and trainer.is_global_zero:
            task.to(trainer.strategy.root_device)  # the device that the test ran on
            path = objects["export"](task.predictor(data.dataset), data.images["test"])
            print(f"predictions are in {path}")  # noqa: T201
        failed = False
    finally:
        for logger in wandb:
            logger.close(exit_code=int(failed))
    return score


def measure_backbones(
    objects: Mapping[str, Any], steps: Sequence[str], before: Backbone, after: Backbone
) -> None:
    """Run the steps that measure the backbone before and after training: claims and v1."""
    trainer, images = objects["trainer"], objects["data"].field_images
    if "claims" in steps:
        rows = objects["claims"](before, after, images("val"), images("train"))
        log_numbers(trainer, claims.logged_effects(rows))
        print_verdict(rows, objects["claims"].networks, objects["claims"].left_out)
    if "v1" in steps:
        comparison = objects["v1"](before, after, images("val"))
        log_numbers(trainer, v1.logged_similarities(comparison))
        v1.print_similarities(comparison)


def check_steps(
    objects: Mapping[str, Any], steps: Sequence[str], start: Backbone | None, last: Path | None
) -> None:
    """Check, before any step, what the later ones need.

    Args:
        objects: data, claims, v1 and export.
        steps: of the run.
        start: the backbone before training, for claims and v1.
        last: the checkpoint of this run that the training resumes from.

    Raises:
        ValueError: a split without images, hidden fixations, or options that `check_options` of
            `ClaimEvaluation` refuses.
        OSError: the file of an export exists, or its images do not.
    """
    images, evaluation, export = objects["data"].images, objects["claims"], objects["export"]
    needs = [("fit", "train"), ("fit", "val"), ("test", "test"), ("claims", "val")]
    if objects["v1"].backgrounds or objects["v1"].textures:
        needs.append(("v1", "val"))
    for step, split in needs:
        if step in steps and not len(images[split]):
            raise ValueError(explain_missing_images(images[split].dataset, split, step))
    if "test" in steps:
        refuse_hidden_fixations(images["test"].dataset)
    if start is not None and "claims" in steps:
        evaluation.check_options(start)
    if "export" in steps:
        export.check_paths(resumed=last is not None)


def load_start(
    task: Any, config: Mapping[str, Any], dataset: str, last: Path | None = None
) -> tuple[Backbone | None, str | None]:
    """Load the weights of `ckpt`: those that a training starts from, or those of the other steps.

    Args:
        task: its network is changed.
        config: plain values.
        dataset: name of the data set of this run.
        last: the checkpoint of this run that the training resumes from, which has all weights.

    Returns:
        The backbone before training, for claims and v1; and the data set that the network is
        trained on: None for a baseline, `nothing` for a network that is not trained.
    """
    steps, ckpt, trained = config["do"], config["ckpt"], config.get("trained") or {}
    measured = {"claims", "v1"} & {*steps}
    if "fit" in steps and ckpt and (last is None or measured):
        load_run_weights(task, ckpt)
    before = deepcopy(task.network.backbone) if measured else None
    if before and (start := trained.get("start")):
        load_run_weights(before, start, RUN_PREFIX, before.name)
    if "fit" not in steps and ckpt:
        load_run_weights(task, ckpt)
    if isinstance(task.network, Baseline):
        return before, None
    if is_untrained(ckpt, steps):
        LOG.warning("the network is not trained; set ckpt=FILE, ckpt=RUN_FOLDER or do=[fit,test]")
        return before, "nothing"
    return before, trained.get("dataset") or name_training_set(config, dataset)


def name_training_set(config: Mapping[str, Any], dataset: str) -> str:
    """Return the name of what a run trains on: its data set, and the control if it has one.

    >>> name_training_set({"control": "other_task"}, "OSIE")
    'OSIE, control other_task'
    """
    control = config.get("control")
    return f"{dataset}, control {control}" if control else dataset


@contextmanager
def plain_fit_errors() -> Iterator[None]:
    """Turn errors of a training step and of the trainer's options into plain ones.

    Raises:
        MemoryError: the GPU has too little memory; the message names the options to set.
        ValueError: an option of the trainer.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise ValueError(f"trainer: {' '.join(str(error).split())}") from error
    except ValueError as error:
        if "more than 1 value per channel" in str(error):  # torch's batch norm
            raise ValueError(
                f"a training step has too few pixels for batch norm ({error}); "
                "set a larger data.batch_size or data.size"
            ) from error
        raise
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(OUT_OF_MEMORY_ADVICE) from error


def save_scores(
    folder: Path,
    objects: Mapping[str, Any],
    trained_on: str | None,
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Write the test scores of all ranks; every rank calls it with its own rows."""
    task, images, trainer = objects["task"], objects["data"].images["test"], objects["trainer"]
    rows = gather_rows(rows, len(images), trainer.world_size)
    scored = [row for row in rows if len(row) > 1]
    if not scored:
        raise FileNotFoundError(
            f"{task.network.path} has no map for any of {len(rows)} test images of "
            f"{images.dataset.name}; set network.path, or the data set they were made for"
        )
    if trainer.is_global_zero:
        baselines = {**task.baselines, "run": task.network}
        settings = {
            name: chosen
            for name, baseline in baselines.items()
            if isinstance(baseline, Baseline) and (chosen := baseline.settings())
        }
        conditions = (images.dataset.name, task.score.protocol, task.score.maps)
        left_out = len(rows) - len(scored)
        if left_out:
            print(f"{left_out} of {len(rows)} test images have no map and are left out")  # noqa: T201
        score_files.write_scores(folder, scored, *conditions, trained_on, settings, left_out)


def gather_rows(
    rows: Sequence[Mapping[str, Any]], images: int, ranks: int
) -> Sequence[Mapping[str, Any]]:
    """Return the rows of all ranks in the images' order, each image once.

    Lightning deals the images out to the ranks in turn, and repeats the first images until all
    ranks have equally many.
    """
    parts = gather_from_ranks(rows, ranks)
    return [row for turn in zip(*parts, strict=True) for row in turn][:images]
