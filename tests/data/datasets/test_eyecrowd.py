from deepsal.data import eyecrowd
from tests.data.conftest import Copied


def test_it_has_the_layout_of_osie(copied: Copied) -> None:
    data = eyecrowd(copied("eyecrowd"))
    assert [stimulus.name for stimulus in data.stimuli] == [f"{i + 1:03d}.jpg" for i in range(143)]
    assert data.stimuli[20].fixations.tolist() == [[4, 8]]
