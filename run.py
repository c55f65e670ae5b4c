"""Command line of deepsal: compose a configuration, build its objects, run its steps."""

# Only functions that run a job import torch, so that the command line answers at once.
import sys
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deepsal.report import automatic
from deepsal.runs import option_ranges, paths, process, provenance, resume, targets, trained
from deepsal.runs.folder import JobOutcome, begun_run
from deepsal.sweeps import gpu_locks, job_table, optuna_search, sweep_job
from deepsal.terminal import PLAIN_ERRORS
from deepsal.training.precision import fastest_precision

for function in (fastest_precision, trained.run_name, paths.folder_name, *optuna_search.RESOLVERS):
    OmegaConf.register_new_resolver(function.__name__, function, replace=True)
OmegaConf.register_new_resolver("unused_folder", paths.unused_folder, use_cache=True, replace=True)


def build_objects(config: dict[str, Any]) -> dict[str, Any]:
    """Build the objects of a resolved configuration."""
    options = option_ranges.dataset_options(config)
    with process.plain_errors(InstantiationException, options):
        return dict(instantiate(targets.allowed_parts(config), _convert_="all"))


def run_in_folder(config: dict[str, Any], folder: Path, last: Path | None = None) -> float | None:
    """Run the steps of a resolved configuration; `last` is the checkpoint to resume from."""
    from deepsal.runs import steps

    score = steps.execute_run(config, partial(build_objects, config), folder, last)
    if process.is_first_rank():
        automatic.report_run(folder, f"{config['name']} on {config['data']['name']}")
    return score


def start_run(config: DictConfig, outcomes: list[JobOutcome]) -> float | None:
    """Start a run that Hydra composed; a job of a sweep appends its outcome to `outcomes`."""
    folder, job = Path(config.output_dir), HydraConfig.get()
    prepare = partial(provenance.prepare_folder, folder, Path(__file__), job.overrides.task)
    for option in trained.checkpoint_options(plain_values(config), job.overrides.task).items():
        OmegaConf.update(config, *option, merge=False, force_add=True)
    if job.mode == RunMode.RUN:
        values = plain_values(config)
        with begun_run(folder, values, prepare):
            return run_in_folder(values, folder)
    if sweep_job.is_submitit_job("local"):
        gpu_locks.restore_visible_devices()
    keep_written_precision(config, folder / "config.yaml")
    text, trainer = paths.as_text(plain_values(config)), config.trainer
    devices = (trainer.accelerator, trainer.devices)
    grace = job.launcher.get("signal_delay_s", 60) / 2
    outcome = sweep_job.run_sweep_job(folder, text, Path(__file__), prepare, devices, grace)
    if not sweep_job.is_submitit_job():  # its parent process appends it
        outcomes.append(outcome)
        automatic.report_sweep(Path(job.sweep.dir))
    return outcome.score


def plain_values(config: DictConfig) -> dict[str, Any]:
    """Return the resolved and checked values of a configuration, with absolute paths."""
    values = OmegaConf.to_container(config, resolve=True)
    return option_ranges.checked_options(paths.absolute_paths(values))


def keep_written_precision(config: DictConfig, written: Path) -> None:
    """Keep the precision that a job began with: machines differ in which is fastest."""
    if written.is_file() and OmegaConf.is_interpolation(config.trainer, "precision"):
        config.trainer.precision = OmegaConf.select(OmegaConf.load(written), "trainer.precision")


def command_line() -> int:
    """Read the command line; return the exit code."""
    process.configure_process()
    if any(argument.startswith("resume=") for argument in sys.argv[1:]):
        return resume.resume_run(sys.argv[1:], run_in_folder)
    paths.refuse_impossible_folder(sys.argv)
    outcomes: list[JobOutcome] = []
    sweep_job.prepare_sweep(sys.argv, outcomes, automatic.report_sweep)

    @hydra.main(config_path="conf", config_name="config", version_base="1.3")
    def main(config: DictConfig) -> float | None:
        try:
            with sweep_job.recorded_errors(outcomes, HydraConfig.get()):
                return start_run(config, outcomes)
        except (*PLAIN_ERRORS, OmegaConfBaseException) as error:
            cause = None if isinstance(error, OmegaConfBaseException) else error  # Hydra prints it
            raise CompactHydraException(process.one_line(error)) from cause

    return job_table.run_with_table(main, outcomes)


if __name__ == "__main__":
    sys.exit(command_line())
