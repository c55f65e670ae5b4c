from pathlib import Path

import pytest

from deepsal.data import mit300
from tests.data.conftest import Copied


@pytest.fixture
def fake(copied: Copied) -> Path:
    return copied("mit300")


def test_a_partial_copy_is_refused_unless_wanted(fake: Path) -> None:
    (fake / "mit300" / "BenchmarkIMAGES" / "i7.jpg").unlink()
    with pytest.raises(ValueError, match="MIT300 has 300 images, here are 299"):
        mit300(fake)
    assert len(mit300(fake, check_counts=False).stimuli) == 299
