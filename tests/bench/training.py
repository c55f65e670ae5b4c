"""An epoch of this pipeline against a plain PyTorch loop of the same network and data."""

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from deepsal.data import SaliencyDataModule, SaliencyDataset, osie, popout_dataset
from deepsal.data.dataset import Stimulus, fixation_density, rasterise_fixations
from deepsal.data.image_files import read_image
from deepsal.models import FinetuneDepth, ReadoutDecoder, SaliencyNetwork, build_backbone
from deepsal.training.losses import SaliencyLoss
from deepsal.training.precision import fastest_precision
from deepsal.training.task import SaliencyTask
from tests.bench.harness import Row, side_by_side

SIZE = (192, 256)
IMAGES = 160


def run(only: str) -> Iterator[Row]:
    """Yield one row; OSIE with DEEPSAL_DATA, else pop-out arrays written as JPEGs."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = os.environ.get("DEEPSAL_DATA")
        whole = osie(data_dir) if data_dir else written(Path(folder))
        positions = list(whole.splits["train"])[:IMAGES]
        dataset = SaliencyDataset(
            whole.name, whole.stimuli, {"train": positions, "val": [], "test": []}, whole.sigma
        )
        name = f"training/efficientnet_lite0/{SIZE[0]}x{SIZE[1]}"
        reference = "plain PyTorch loop, JPEGs decoded every epoch"
        ours, plain = _ours(dataset), _Plain(dataset)
        yield side_by_side(name, ours, plain, reference, images=IMAGES, dataset=dataset.name)


def _network() -> SaliencyNetwork:
    torch.manual_seed(0)
    return SaliencyNetwork(
        build_backbone("tf_efficientnet_lite0", "efficientnet_lite0"), ReadoutDecoder
    )


def _ours(dataset: SaliencyDataset) -> "partial[None]":
    optimizer = partial(torch.optim.AdamW, weight_decay=0.01)
    loss = SaliencyLoss(kl=1.0, cc=0.1, nss=0.1)
    task = SaliencyTask(_network(), FinetuneDepth("all"), loss, optimizer, lr=1e-4)
    return partial(_epoch, task, SaliencyDataModule(dataset, SIZE))


def _epoch(task: SaliencyTask, data: SaliencyDataModule) -> None:
    pl.Trainer(
        max_epochs=1,
        precision=fastest_precision(),
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(task, data)


class _Decoded(Dataset[tuple[torch.Tensor, ...]]):
    """What a plain script does: decode, resize, rasterise and blur for every sample."""

    def __init__(self, stimuli: list[Stimulus], sigma: float) -> None:
        self.stimuli = stimuli
        self.sigma = sigma

    def __len__(self) -> int:
        return len(self.stimuli)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        stimulus = self.stimuli[index]
        image = v2.functional.resize(stimulus.read(), list(SIZE), antialias=True) / 255
        counts = rasterise_fixations(torch.from_numpy(stimulus.fixations), stimulus.size, SIZE)
        down, across = (self.sigma * g / s for g, s in zip(SIZE, stimulus.size, strict=True))
        return image, counts, fixation_density(counts, (down, across))


class _Plain:
    def __init__(self, dataset: SaliencyDataset) -> None:
        self.network = _network().train()
        self.loss = SaliencyLoss(kl=1.0, cc=0.1, nss=0.1)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 1e-4)
        stimuli = [dataset.stimuli[i] for i in dataset.splits["train"]]
        images = _Decoded(stimuli, dataset.sigma)
        self.loader = DataLoader(images, 16, shuffle=True, drop_last=True)

    def __call__(self) -> None:
        for image, counts, density in self.loader:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                log_density = self.network(image)
            loss, _ = self.loss(log_density, density, counts)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def written(folder: Path) -> SaliencyDataset:
    """Return pop-out arrays stored as JPEGs of OSIE's size."""
    arrays = popout_dataset((IMAGES, 0, 0), size=(600, 800))
    stimuli = []
    for stimulus in arrays.stimuli:
        file = folder / f"{stimulus.name}.jpg"
        v2.functional.to_pil_image(stimulus.read()).save(file, quality=95)
        stimuli.append(
            Stimulus(
                file.name,
                stimulus.size,
                stimulus.fixations,
                stimulus.observers,
                partial(read_image, file),
            )
        )
    return SaliencyDataset("pop-out as JPEG", stimuli, arrays.splits, arrays.sigma)
