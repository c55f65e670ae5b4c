import torch

from deepsal.rf import sources
from tests.conftest import arrays_equal, backbone


def test_blank_and_noise_are_reproducible_and_leave_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = (sources.noise(4, (64, 64), seed=3) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    assert abs(first.mean() - 0.5) < 0.01
    assert abs(first.std() - 0.2) < 0.01
    assert sources.blank((8, 9)).unique().tolist() == [0.5]


def test_the_strongest_patches_are_those_of_brute_force() -> None:
    network = backbone().eval()
    images = torch.rand(7, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = sources.strongest(network, "conv3", images, [1, 4], k=3, batch_size=2)
    with torch.no_grad():
        response = network(images)["conv3"][:, [1, 4]]
    best = response.flatten(2).max(2).values.argsort(0, descending=True)[:3].T
    assert arrays_equal(found[..., 0], best)
