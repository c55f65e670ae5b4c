import torch

from deepsal.data.batch import Sample, collate_samples, first_images
from tests.conftest import datamodule


def test_collate_stacks_maps_and_keeps_ragged_points_apart() -> None:
    image, counts = torch.rand(3, 4, 4), torch.ones(4, 4)
    points = torch.rand(5, 2), torch.rand(2, 2)
    batch = collate_samples(
        [
            Sample(image, counts, counts / 16, p, n, (6, 8))
            for p, n in zip(points, "ab", strict=True)
        ]
    )
    assert batch.image.shape == (2, 3, 4, 4)
    assert batch.fixations.shape == batch.density.shape == (2, 4, 4)
    assert [len(p) for p in batch.points] == [5, 2]
    assert batch.name == ["a", "b"]
    assert batch.size == [(6, 8), (6, 8)]


def test_the_first_images_are_stacked_in_order_and_at_most_all() -> None:
    split = datamodule().images["val"]
    images = first_images(split, 1000)
    assert len(images) == len(split)
    assert torch.equal(first_images(split, 2), images[:2])
    assert torch.equal(images[1], split[1].image)
