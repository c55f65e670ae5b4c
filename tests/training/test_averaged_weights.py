from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from deepsal.training.averaged_weights import AveragedWeights
from deepsal.training.checkpoints import LastCheckpoint
from tests.training.support import fit_or_resume, fit_with

Weights = dict[str, torch.Tensor]


def weights_of(module: torch.nn.Module) -> Weights:
    state = module.state_dict()  # the counts of batches are whole numbers
    return {name: v.clone() for name, v in state.items() if v.is_floating_point()}


class Record(pl.Callback):
    """Weights after each step, and those that a callback sees at the end of a validation."""

    def __init__(self) -> None:
        self.steps: list[Weights] = []
        self.measured: list[Weights] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_a: Any) -> None:
        self.steps.append(weights_of(module))

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.measured.append(weights_of(module))


def expected_average(steps: list[Weights], decay: float) -> Weights:
    average = steps[0]
    for step in steps[1:]:
        average = {n: decay * v + (1 - decay) * step[n] for n, v in average.items()}
    return average


def close(one: Weights, other: Weights) -> bool:
    return all(torch.allclose(v, other[n], atol=1e-6) for n, v in one.items())


def test_what_is_measured_and_saved_is_the_average_and_training_goes_on_without_it(
    tmp_path: Path,
) -> None:
    record, plain = Record(), Record()
    fit_with(tmp_path, [record, AveragedWeights(0.6), LastCheckpoint(tmp_path)])
    average = expected_average(record.steps, 0.6)
    assert close(record.measured[-1], average)
    assert not close(record.measured[-1], record.steps[-1])
    file = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert close(average, file["state_dict"])
    fit_with(tmp_path / "plain", [plain])
    assert all(close(a, b) for a, b in zip(record.steps, plain.steps, strict=True))


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_an_interrupted_training_resumes_to_the_same_average(tmp_path: Path) -> None:
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_args: Any) -> None:
            if trainer.global_step == 5:
                raise FloatingPointError("on purpose")

    whole = fit_or_resume(tmp_path / "whole", AveragedWeights(0.6))
    with pytest.raises(FloatingPointError):
        fit_or_resume(tmp_path / "cut", AveragedWeights(0.6), Stop())
    resumed = fit_or_resume(tmp_path / "cut", AveragedWeights(0.6))
    assert all(torch.equal(whole[name], value) for name, value in resumed.items())
