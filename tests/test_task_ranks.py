"""Two processes train and score as one does on the same global batch."""

from functools import partial
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch

from deepsal.data import SaliencyDataModule, popout_dataset
from deepsal.models import FinetuneDepth, ReadoutDecoder, SaliencyNetwork
from deepsal.training.csv_log import csv_logger
from deepsal.training.losses import SaliencyLoss
from deepsal.training.task import SaliencyTask
from tests.conftest import backbone

IMAGES = 8


def train(folder: Path, ranks: int) -> dict[str, torch.Tensor]:
    """Fit three epochs of one step each, whose global batch is the whole training set."""
    pl.seed_everything(0, verbose=False)
    network = SaliencyNetwork(backbone(), partial(ReadoutDecoder, width=8))
    loss = SaliencyLoss(kl=1.0, cc=0.1, nss=0.1)
    task = SaliencyTask(network, FinetuneDepth("none"), loss, partial(torch.optim.SGD), lr=1e-2)
    data = popout_dataset((IMAGES, 6, 3), size=(64, 96))
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=ranks,
        strategy="ddp_spawn" if ranks > 1 else "auto",
        logger=csv_logger(folder),
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[pl.callbacks.ModelCheckpoint(folder, filename="last")],
    )
    trainer.fit(task, SaliencyDataModule(data, (64, 96), batch_size=IMAGES // ranks, flip=0.0))
    state: dict[str, torch.Tensor] = torch.load(folder / "last.ckpt", weights_only=True)[
        "state_dict"
    ]
    return state


def test_two_ranks_end_in_the_weights_and_scores_of_one(tmp_path: Path) -> None:
    one, two = (train(tmp_path / str(ranks), ranks) for ranks in (1, 2))
    for key, value in one.items():
        assert torch.allclose(two[key], value, rtol=1e-5, atol=1e-6), key
    tables = [pd.read_csv(tmp_path / str(ranks) / "metrics.csv") for ranks in (1, 2)]
    for key in ("val/nss", "val/cc", "val/kl", "val/loss"):
        values = [table[key].dropna().to_numpy() for table in tables]
        assert len(values[0]) == 3
        assert abs(values[0] - values[1]).max() < 1e-4, key
    assert tables[0]["val/nss"].dropna().is_unique, "the weights move"
