import pytest
import torch

from deepsal.data.batch import ImageRegion
from deepsal.data.frame import covering_size, padded_region, place_in_frame, region_mask

SIZES = [(600, 800), (800, 600), (481, 640), (1, 1000), (1000, 1), (33, 33), (768, 1024)]


@pytest.mark.parametrize("frame", [(192, 256), (33, 47), (1, 2)])
@pytest.mark.parametrize("size", SIZES)
def test_a_padded_image_has_its_shape_to_a_pixel_and_equal_padding_on_opposite_sides(
    size: tuple[int, int], frame: tuple[int, int]
) -> None:
    top, left, height, width = padded_region(size, frame)
    assert (height + 2 * top, width + 2 * left) == frame
    assert min(height, width) >= 1
    scale = min(frame[0] / size[0], frame[1] / size[1])
    assert abs(height - size[0] * scale) <= 1 + 1e-9 or height <= 2
    assert abs(width - size[1] * scale) <= 1 + 1e-9 or width <= 2
    assert top == 0 or left == 0


@pytest.mark.parametrize("size", SIZES)
def test_an_image_that_covers_a_frame_touches_it_on_one_axis(size: tuple[int, int]) -> None:
    height, width = covering_size(size, (192, 256))
    assert height == 192 or width == 256
    assert height >= 192
    assert width >= 256
    assert covering_size((384, 512), (192, 256)) == (192, 256)


def test_placing_in_a_frame_is_undone_by_the_slices_and_shown_by_the_mask() -> None:
    image, region = torch.rand(3, 4, 2), ImageRegion(0, 2, 4, 2)
    framed = place_in_frame(image, (4, 6), region)
    assert torch.equal(framed[(..., *region.slices())], image)
    mask = region_mask([region, ImageRegion(0, 0, 4, 6)], (4, 6), torch.device("cpu"))
    assert torch.equal(mask[0], framed[0] > 0)
    assert mask[1].all()
    assert place_in_frame(image, (4, 2), ImageRegion(0, 0, 4, 2)) is image
