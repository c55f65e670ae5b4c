"""What the launchers' options ask of Slurm, without one."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from submitit.core import core
from submitit.slurm.slurm import SlurmExecutor

ROOT = Path(__file__).parents[1]


class Asked(Exception):  # noqa: N818
    pass


def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> str:
    """The script that `hydra/launcher=slurm` submits for a sweep of one job."""
    (tmp_path / "srun").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def submit(executor: SlurmExecutor, command: str) -> None:
        raise Asked(executor._make_submission_file_text(command, "0"))

    monkeypatch.setattr(core.PicklingExecutor, "_submit_command", submit)
    chosen = ["trainer=cluster", "hydra/launcher=slurm", f"hydra.sweep.dir={tmp_path}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", [*chosen, *overrides], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    launcher: Any = Plugins.instance()._instantiate(config.hydra.launcher)
    launcher.setup(hydra_context=None, task_function=None, config=config)
    with pytest.raises(Asked) as asked:
        launcher.launch([["seed=0"]], 0)
    return str(asked.value)


def test_a_job_has_one_task_per_device_and_is_told_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["trainer.devices=4", "trainer.num_nodes=2", "hydra.launcher.partition=gpu"]
    options += ["hydra.launcher.account=me", "hydra.launcher.setup=[module load cuda]"]
    options += ["+hydra.launcher.additional_parameters={mail-type: FAIL}"]
    script = sbatch(tmp_path, monkeypatch, *options).splitlines()
    for line in ("ntasks-per-node=4", "gpus-per-node=4", "nodes=2", "partition=gpu", "account=me"):
        assert f"#SBATCH --{line}" in script
    for line in ("time=240", "signal=USR2@300", "mail-type=FAIL"):
        assert f"#SBATCH --{line}" in script
    assert "module load cuda" in script
    assert any("--kill-on-bad-exit=1" in line for line in script)


def test_a_cluster_without_gpus_is_not_asked_for_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "gpus-per-node" not in sbatch(tmp_path, monkeypatch, "hydra.launcher.gpus_per_node=null")
