"""deepsal's one door: compose → build → fit/test/claims/export → report.

Only functions that run a job import torch, so that the command line answers at once.

python run.py                                        VGG16 on OSIE
python run.py -m backbone=vgg16,resnet50 finetune=conv5,conv4,all
python run.py resume=runs/…/…                        go on with a run that was cut short
python run.py --help                                 every option
"""

import inspect
import logging
import os
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deepsal.report import automatic
from deepsal.runs import folder as state
from deepsal.runs import process, provenance
from deepsal.sweeps import gpu_locks, optuna_search, requeue
from deepsal.training import precision

PARTS = ("task", "data", "callbacks", "logger", "trainer", "claims", "export")
ALLOWED = ("deepsal.", "torch.", "torchvision.", "pytorch_lightning.")
SAID = (ValueError, OSError, FloatingPointError, ImportError, MemoryError, OmegaConfBaseException)
"""Errors whose message is enough: no traceback."""
JOBS: list[state.JobOutcome] = []
"""What the jobs of a sweep came to."""

OmegaConf.register_new_resolver("fastest_precision", precision.fastest_precision, replace=True)
OmegaConf.register_new_resolver("direction", optuna_search.optuna_direction, replace=True)


def build(config: DictConfig) -> dict[str, Any]:
    """Make the objects a configuration describes: task, data, callbacks, logger, trainer."""
    from deepsal.training.checkpoints import AtomicCheckpointIO

    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    objects = instantiate({part: _checked(plain[part], part) for part in PARTS}, _convert_="all")
    callbacks = [callback for callback in objects["callbacks"].values() if callback]
    loggers = [*objects["logger"].values()]
    plugins = [AtomicCheckpointIO(), *objects["trainer"].keywords.pop("plugins", [])]
    trainer = objects["trainer"](callbacks=callbacks, logger=loggers, plugins=plugins)
    return {**objects, "trainer": trainer}


def _checked(node: Any, path: str) -> Any:
    """Refuse targets outside the allow-list; drop an option's name where its object takes none."""
    if isinstance(node, list):
        return [_checked(value, f"{path}[{i}]") for i, value in enumerate(node)]
    if not isinstance(node, dict):
        return node
    named = False
    if target := node.get("_target_"):
        found: Any = get_object(target) if target.startswith(ALLOWED) else None
        if not f"{getattr(found, '__module__', '')}.".startswith(ALLOWED):
            raise ValueError(f"{path}._target_={target}: only {', '.join(ALLOWED)} may be built")
        named = "name" in inspect.signature(found).parameters
    return {
        key: _checked(value, f"{path}.{key}")
        for key, value in node.items()
        if key != "name" or named
    }


def execute(config: DictConfig, folder: Path, last: Path | None = None) -> float | None:
    """Build, and do the verbs; return the score. `last` is the checkpoint the fit goes on from."""
    from deepsal.runs import steps

    steps.prepare_run(config.do, config.seed)
    precision.check_accelerator(config.trainer.accelerator)
    if last is None:  # a run that is resumed keeps its precision, even where it is slow
        precision.check_precision(config.trainer.precision, config.trainer.accelerator)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return steps.run_steps(build(config), plain, folder, last)  # type: ignore[arg-type]


@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(config: DictConfig) -> float | None:
    """Run one job in its folder; each job of a sweep gets a process of its own."""
    folder, hydra_config = Path(config.output_dir), HydraConfig.get()
    if requeue.is_submitit_job("local"):
        gpu_locks.restore_visible_devices()
    if hydra_config.mode == RunMode.MULTIRUN:
        keep_precision(config, folder)
    text = OmegaConf.to_yaml(config, resolve=True)

    def prepare() -> None:
        provenance.check_folder_writable(folder)
        provenance.write_provenance(folder, Path(__file__).parent, hydra_config.overrides.task)

    if hydra_config.mode == RunMode.RUN:
        if process.is_first_rank():
            try:
                state.refuse_used_folder(folder, config.do)
                prepare()
            except OSError as error:
                raise CompactHydraException(f"{type(error).__name__}: {error}") from error
            (folder / "config.yaml").write_text(text)
            (folder / "done").unlink(missing_ok=True)
        return run(config, folder)
    command = [sys.executable, __file__, f"resume={folder.absolute()}"]
    grace = hydra_config.launcher.get("signal_delay_s", 60) / 2
    with ExitStack() as held:
        if requeue.is_submitit_job("local"):
            trainer = config.trainer
            chosen = held.enter_context(
                gpu_locks.lock_devices(trainer.accelerator, trainer.devices)
            )
            os.environ.update(chosen)
        fresh = process.fresh_environment(os.environ)
        for name in os.environ.keys() - fresh.keys():
            del os.environ[name]
        job = state.run_job(
            folder, text, prepare, lambda: requeue.run_until_preempted(command, fresh, grace)
        )
    if not requeue.is_submitit_job():
        heard(job, Path(hydra_config.sweep.dir))
    return job.score


def keep_precision(config: DictConfig, folder: Path) -> None:
    """Leave a job its precision: the machines of a cluster differ in which is fastest."""
    written = folder / "config.yaml"
    if written.is_file() and OmegaConf.is_interpolation(config.trainer, "precision"):
        config.trainer.precision = OmegaConf.select(OmegaConf.load(written), "trainer.precision")


def heard(job: state.JobOutcome, sweep: Path) -> None:
    """Note how a job of a sweep ended, and write the sweep's page as far as it has come."""
    JOBS.append(job)
    automatic.report_sweep(sweep)


def resume(folder: Path, *others: str) -> float | None:
    """Go on with a run from its newest whole checkpoint; without one, start it again."""
    if others:
        raise ValueError(f"a resumed run keeps its configuration; leave out {' '.join(others)}")
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"resume={folder}: no config.yaml there; give a run's folder")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    if job := state.outcome_if_done(folder, (folder / "config.yaml").read_text()):
        print(f"{folder} is done already")
        return job.score
    from deepsal.training.checkpoints import newest_checkpoint

    config.output_dir = str(folder)
    last, torn = newest_checkpoint(folder)
    for path in torn if process.is_first_rank() else ():
        print(f"{path} is damaged and not used")
    if last is None and process.is_first_rank():
        state.remove_training_outputs(folder)
    return run(config, folder, last)


def run(config: DictConfig, folder: Path, last: Path | None = None) -> float | None:
    """Run one job in its folder; `status` there says how it ended."""
    from deepsal.training.preemption import RunPreempted

    try:
        state.write_status(folder, "running")
        found = execute(config, folder, last)
    except (KeyboardInterrupt, SystemExit):
        state.write_status(folder, "interrupted")
        print(f"interrupted; to go on from the last checkpoint: resume={folder}")
        raise
    except RunPreempted as told:
        state.write_status(folder, "preempted")
        print(f"{told}; to go on: resume={folder}")
        sys.exit(requeue.PREEMPTED_EXIT_CODE)
    except Exception as error:
        while isinstance(error, InstantiationException) and isinstance(error.__cause__, Exception):
            error = error.__cause__
        state.write_status(folder, f"failed: {type(error).__name__}: {error}")
        if isinstance(error, SAID):
            raise CompactHydraException(f"{type(error).__name__}: {error}") from error
        raise
    if process.is_first_rank():
        state.mark_done(folder, found)
        state.write_status(folder, "done")
        automatic.report_run(folder, f"{config.name} on {config.data.name}")
    return found


def door() -> int:
    """Read the command line; return the exit code."""
    process.configure_process()
    given = [argument for argument in sys.argv[1:] if argument.startswith("resume=")]
    if not given:
        os.environ[optuna_search.TRIAL_PREFIX_VARIABLE] = optuna_search.trial_folder_prefix(
            sys.argv
        )
        if find_spec("submitit"):
            from deepsal.sweeps import submitit_jobs

            submitit_jobs.patch_submitit(heard)
            gpu_locks.save_visible_devices()
        main()
        from deepsal.sweeps import job_table

        return job_table.print_job_table(JOBS, "score") if JOBS else 0
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        others = [argument for argument in sys.argv[1:] if argument != given[0]]
        resume(Path(given[0].removeprefix("resume=")).absolute(), *others)
    except (CompactHydraException, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(door())
