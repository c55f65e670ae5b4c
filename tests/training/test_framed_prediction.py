from collections.abc import Sequence
from pathlib import Path

import h5py
import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.nn.functional import interpolate

from deepsal.data.batch import GroundTruth, ImageRegion
from deepsal.data.frame import place_in_frame, region_mask
from deepsal.metrics import functional
from deepsal.metrics.scoring import ImageScorer
from deepsal.models import Centre, Uniform
from deepsal.runs.export import PredictionExport
from deepsal.training.framed_prediction import normalise_in_mask, predict_log_density
from deepsal.training.losses import SaliencyLoss
from tests.conftest import task
from tests.data.support import FRAME, SHAPES, shapes_datamodule, shapes_dataset

REGION = ImageRegion(0, 10, 32, 28)
CPU = torch.device("cpu")


class PlantedNetwork(nn.Module):
    """A network whose log density is its image's brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.register_buffer("mean", torch.tensor([0.9, 0.5, 0.5]).view(1, 3, 1, 1))
        self.images: list[Tensor] = []

    def forward(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        self.images.append(image)
        resized = interpolate(6 * image[:, :1], size, mode="bilinear", antialias=True)[:, 0]
        return resized.flatten(1).log_softmax(1).view_as(resized)


def masked_truth(count: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """A density, counts and the mask of images in `REGION`, and the last image whole."""
    regions = [REGION] * (count - 1) + [ImageRegion(0, 0, *FRAME)]
    mask = region_mask(regions, FRAME, CPU)
    density = torch.rand(count, *FRAME) * mask
    counts = (torch.rand(count, *FRAME) > 0.95).float() * mask
    return density / density.sum((1, 2), keepdim=True), counts, mask


def test_the_padding_is_the_mean_colour_and_is_left_out_of_the_prediction() -> None:
    network, image = PlantedNetwork(), torch.rand(1, 3, *FRAME)
    log_density = predict_log_density(network, image, FRAME, ["a"], [REGION])
    (seen,) = network.images
    inside = region_mask([REGION], FRAME, CPU)
    assert torch.equal(
        seen[0][:, ~inside[0]],
        network.get_buffer("backbone.mean")[0, :, :, 0].expand(3, int((~inside).sum())),
    )
    assert (log_density[~inside] == -torch.inf).all()
    assert log_density.exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["nss", "cc", "kl", "sim"])
def test_a_score_in_a_mask_is_that_of_the_images_part(name: str) -> None:
    torch.manual_seed(0)
    density, counts, mask = masked_truth()
    log_density = normalise_in_mask(torch.randn(2, *FRAME), mask)
    scores = ImageScorer(names=[name])(log_density, GroundTruth(density, counts, mask=mask))[name]
    truth = counts if name == "nss" else density
    part, whole = (..., *REGION.slices()), slice(1, 2)
    score = getattr(functional, name)
    first = score(log_density[:1][part], truth[:1][part])
    torch.testing.assert_close(scores[:1], first)
    torch.testing.assert_close(scores[1:], score(log_density[whole], truth[whole]))


def test_scores_that_do_not_know_a_mask_refuse_it() -> None:
    density, counts, mask = masked_truth()
    for scorer in (ImageScorer(names=["auc"]), ImageScorer(protocol="mit", names=["nss"])):
        with pytest.raises(ValueError, match="padded images have the scores nss, cc, kl, sim"):
            scorer(density.log(), GroundTruth(density, counts, mask=mask))


def test_the_loss_has_no_gradient_from_the_padding() -> None:
    torch.manual_seed(0)
    density, counts, mask = masked_truth()
    logits = torch.randn(2, *FRAME, dtype=torch.float64, requires_grad=True)
    loss = SaliencyLoss(kl=1.0, cc=0.5, nss=0.5, sim=0.5)
    normalised = logits.flatten(1).log_softmax(1).view_as(logits)
    total, _ = loss(normalise_in_mask(normalised, mask), density, counts, mask)
    total.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[~mask].abs().max() < 1e-12 * logits.grad[mask].abs().max()
    changed = logits.detach() + 5 * torch.randn_like(logits) * ~mask
    again, _ = loss(normalise_in_mask(changed, mask), density, counts, mask)
    assert again.item() == pytest.approx(total.item(), rel=1e-6)


def test_a_mask_of_all_pixels_changes_no_loss() -> None:
    torch.manual_seed(0)
    density, counts, _ = masked_truth()
    log_density = torch.randn(2, *FRAME).flatten(1).log_softmax(1).view(2, *FRAME)
    loss = SaliencyLoss(kl=1.0, cc=0.5, nss=0.5, sim=0.5)
    plain, _ = loss(log_density, density, counts)
    masked, _ = loss(log_density, density, counts, torch.ones(2, *FRAME, dtype=torch.bool))
    torch.testing.assert_close(plain, masked)


@pytest.mark.parametrize("size", [(64, 56), (200, 175)])
def test_a_planted_map_is_cut_to_the_image_at_its_own_size(size: tuple[int, int]) -> None:
    network, part = PlantedNetwork(), torch.rand(1, 3, 4, 4)
    part = interpolate(part, (REGION.height, REGION.width), mode="bicubic").clamp(0, 1)
    image = place_in_frame(part, FRAME, REGION)
    framed = predict_log_density(network, image, size, ["a"], [REGION])
    plain = predict_log_density(network, part, size, ["a"])
    inner = (..., slice(8, -8), slice(8, -8))  # the padding's colour reaches the border
    assert framed.shape == (1, *size)
    assert framed.exp().sum().item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(
        framed[inner] - framed[inner].mean(), plain[inner] - plain[inner].mean(), atol=0.1, rtol=0
    )


def test_a_baseline_receives_the_images_part_alone() -> None:
    image, dataset = torch.rand(1, 3, *FRAME), shapes_dataset()
    for baseline in (Uniform(), Centre().prepare(dataset)):
        framed = predict_log_density(baseline, image, (64, 56), ["a"], [REGION])
        part = image[(..., *REGION.slices())]
        assert torch.equal(framed, predict_log_density(baseline, part, (64, 56), ["a"]))


def scores_by_image(
    fit: str, network: nn.Module | None = None, frame: tuple[int, int] = FRAME
) -> dict[str, dict[str, float]]:
    """The scores of the test images by name."""
    module = task()
    if network:
        module.network = network
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    trainer.test(module, shapes_datamodule(fit, frame), verbose=False)
    return {row["name"]: row for row in module.test_rows}


def test_a_planted_network_scores_the_same_whatever_the_padding() -> None:
    frames: Sequence[tuple[int, int]] = [(96, 144), (96, 200), (144, 96)]
    first, *others = (scores_by_image("pad", PlantedNetwork(), frame) for frame in frames)
    for scores in others:
        for name, row in scores.items():
            assert row["nss"] == pytest.approx(first[name]["nss"], rel=0.02)
            assert row["cc"] == pytest.approx(first[name]["cc"], abs=0.03)
            assert row["centre_nss"] == pytest.approx(first[name]["centre_nss"])


def test_an_image_of_the_frames_shape_scores_the_same_padded_and_squeezed() -> None:
    padded, squeezed, cropped = (scores_by_image(f) for f in ("pad", "squeeze", "crop_long"))
    assert padded["test-own"] == squeezed["test-own"]
    assert padded["test-portrait"]["nss"] != squeezed["test-portrait"]["nss"]
    assert cropped == padded, "the map of a test image covers all of it"


def test_an_export_holds_the_maps_that_are_scored(tmp_path: Path) -> None:
    scores, module, data = scores_by_image("pad"), task(), shapes_datamodule("pad")
    written = PredictionExport(tmp_path / "maps.h5")(module.log_density, data.images["test"])
    with h5py.File(written) as file:
        for sample in map(data.images["test"].__getitem__, range(len(SHAPES))):
            log_density = torch.from_numpy(file[sample.name][()])
            assert log_density.shape == sample.size
            nss = functional.nss(log_density[None], sample.fixations[None]).item()
            assert nss == pytest.approx(scores[sample.name]["nss"], abs=1e-4)


@pytest.mark.parametrize("fit", ["pad", "crop_long"])
def test_a_training_on_several_shapes_learns(fit: str) -> None:
    torch.manual_seed(0)
    module = task()
    data = shapes_datamodule(fit, (64, 96))
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        max_epochs=12,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, data)
    assert float(trainer.callback_metrics["val/nss"]) > 0.5
