from deepsal.data import pascal_s
from tests.data.conftest import Copied


def test_images_are_numbered_in_the_order_of_the_cells(copied: Copied) -> None:
    data = pascal_s(copied("pascal_s"))
    assert [stimulus.name for stimulus in data.stimuli] == [f"{i + 1}.jpg" for i in range(172)]
    assert data.stimuli[20].fixations.tolist() == [[4, 8], [4, 8]]
