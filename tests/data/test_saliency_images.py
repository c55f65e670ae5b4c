import torch

from deepsal.data import SaliencyDataModule, popout_dataset
from deepsal.data.batch import SeededIndex


def images(**options: float) -> SaliencyDataModule:
    return SaliencyDataModule(popout_dataset((4, 2, 1), size=(48, 64)), (48, 64), 2, **options)  # type: ignore[arg-type]


def test_images_travel_as_bytes_and_are_divided_where_they_are_used() -> None:
    split = images().images["val"]
    batch = split.__getitems__([0, 1])
    assert batch.image.dtype == torch.uint8
    expected = torch.stack([split[i].image for i in (0, 1)])
    assert torch.equal(batch.to_device(torch.device("cpu")).image, expected)
    assert torch.equal(batch.image / 255, expected)


def test_the_seed_of_a_draw_decides_its_augmentation_and_leaves_torch_as_it_is() -> None:
    split = images(crop=0.6, colour=0.4).images["train"]
    before = torch.get_rng_state()
    batches = [split.__getitems__([SeededIndex(0, seed)]).image for seed in (1, 1, 2)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_plain_index_is_augmented_by_torchs_own_generator() -> None:
    split = images(crop=0.6).images["train"]
    torch.manual_seed(0)
    first, second = split[0].image, split[0].image
    torch.manual_seed(0)
    assert torch.equal(split[0].image, first)
    assert not torch.equal(first, second)
