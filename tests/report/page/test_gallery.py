import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from deepsal.report.page.gallery import pixels_data_uri, read_gallery
from tests.report.support import write_gallery


def test_a_picture_carries_its_own_bytes() -> None:
    address = pixels_data_uri(np.full((4, 6, 3), 77, dtype=np.uint8))
    kind, _, data = address.partition(";base64,")
    assert kind == "data:image/webp"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.size == (6, 4)


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_gallery(tmp_path) == []
    write_gallery(tmp_path)
    best, worst = read_gallery(tmp_path)
    assert (best.name, best.rank, best.nss, best.size) == ("a.jpg", "best", 3.0, (40, 30))
    assert best.fixations == [(25.0, 50.0)]
    assert worst.rank == "worst"
    assert best.truth.startswith("data:image/webp;base64,")
