import pytest
import torch

from deepsal.models import GBVS, Itti
from deepsal.models.baselines.baseline import Baseline
from deepsal.models.baselines.itti import promote_unique_peaks

ROWS, COLUMNS, PITCH = 4, 5, 48


def array(feature: str, target: tuple[int, int]) -> torch.Tensor:
    """Vertical red bars on grey; the target is blue of equal luminance, or horizontal."""
    image = torch.full((1, 3, ROWS * PITCH, COLUMNS * PITCH), 0.4)
    for row in range(ROWS):
        for column in range(COLUMNS):
            odd = (row, column) == target
            length, breadth = (6, 24) if odd and feature == "orientation" else (24, 6)
            ink = (0.1, 0.1, 0.7) if odd and feature == "colour" else (0.7, 0.1, 0.1)
            y, x = row * PITCH + PITCH // 2, column * PITCH + PITCH // 2
            bar = image[
                0, :, y - length // 2 : y + length // 2, x - breadth // 2 : x + breadth // 2
            ]
            bar.copy_(torch.tensor(ink)[:, None, None].expand_as(bar))
    return image


def peak_item(network: Baseline, image: torch.Tensor) -> tuple[int, int]:
    size = (ROWS * PITCH, COLUMNS * PITCH)
    y, x = divmod(int(network(image, size)[0].argmax()), size[1])
    return y // PITCH, x // PITCH


@pytest.mark.parametrize("target", [(1, 2), (2, 1), (0, 4), (3, 0)])
@pytest.mark.parametrize("feature", ["colour", "orientation"])
def test_an_odd_item_pops_out(feature: str, target: tuple[int, int]) -> None:
    assert peak_item(Itti(), array(feature, target)) == target


@pytest.mark.parametrize("target", [(1, 2), (2, 1), (2, 3)])
def test_the_graph_finds_an_odd_colour(target: tuple[int, int]) -> None:
    assert peak_item(GBVS(), array("colour", target)) == target


def test_the_output_is_a_log_density_of_any_size_from_any_size() -> None:
    network = Itti()
    torch.manual_seed(0)
    for shape, size in (((96, 128), None), ((70, 50), (33, 71))):
        log_density = network(torch.rand(2, 3, *shape), size)
        assert log_density.shape == (2, *(size or shape))
        assert log_density.exp().sum((1, 2)).allclose(torch.ones(2), atol=1e-4)


def test_an_image_without_contrast_gives_the_uniform_density() -> None:
    log_density = Itti()(torch.full((1, 3, 48, 64), 0.5))
    assert log_density.exp().allclose(torch.tensor(1 / (48 * 64)))


def test_images_of_a_batch_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 48, 64)
    both = Itti()(images)
    assert both[1].allclose(Itti()(images[1:])[0], atol=1e-4)


def test_one_peak_is_promoted_and_many_are_not() -> None:
    maps = torch.zeros(1, 2, 9, 9)
    maps[0, 0, 4, 4] = 5
    maps[0, 0, 1, 1] = 1
    maps[0, 1, 1::3, 1::3] = 5
    maps[0, 1, 0, 8] = 0
    one, many = promote_unique_peaks(maps)[0].amax((1, 2)).tolist()
    assert one == pytest.approx((1 - 0.2) ** 2)
    assert many == 0
    assert promote_unique_peaks(torch.full((1, 1, 4, 4), 3.0)).max() == 0
