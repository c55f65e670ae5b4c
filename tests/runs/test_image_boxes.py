from pathlib import Path

import numpy as np
import pytest

from deepsal.runs.image_boxes import (
    Box,
    box_share,
    boxes_of_images,
    check_boxes,
    parse_box,
    quadrants,
    read_boxes,
)

HEADER = "image,label,x0,y0,x1,y1\n"


def test_the_share_of_a_box_is_the_sum_inside_and_edge_pixels_count_by_their_part() -> None:
    density = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    density /= density.sum()
    assert box_share(density, Box("", 2, 1, 6, 4)) == pytest.approx(density[1:4, 2:6].sum())
    assert box_share(density, Box("", 0.25, 0, 1, 1)) == pytest.approx(0.75 * density[0, 0])
    shares = [box_share(density, box) for box in quadrants((5, 7))]
    assert sum(shares) == pytest.approx(1)
    middle = density[2] / 2
    assert shares[0] == pytest.approx(
        density[:2, :3].sum() + density[:2, 3].sum() / 2 + middle[:3].sum() + middle[3] / 2
    )


@pytest.mark.parametrize(
    "text",
    ["10,20,30,40", "a=1,2,3", "a=1,2,3,x", "a=5,0,5,9", "a=0,9,5,1", "a=0,0,nan,1", "=1,2,3,4"],
)
def test_a_box_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=rf"--box {text}: a box is a label and four pixel edges"):
        parse_box(text)


def test_boxes_are_read_by_image(tmp_path: Path) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text(
        f"\ufeff{HEADER}a.jpg,face,1,2,3,4\nb/c.jpg, text ,0,0,9.5,9\na.jpg,text,5,5,6,6\n"
    )
    assert read_boxes(file) == {
        "a.jpg": [Box("face", 1, 2, 3, 4), Box("text", 5, 5, 6, 6)],
        "b/c.jpg": [Box("text", 0, 0, 9.5, 9)],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,x0,y0,x1\n", "lacks the columns label, y1; its first line must be image,label,x0"),
        ("", "lacks the columns image, label"),
        (f"{HEADER}a,face,1,2,3,4\na,face,4,2,3,4\n", "line 3: a box is a label"),
        (f"{HEADER}a,face,1,2\n", "line 2: a box is a label"),
    ],
)
def test_a_table_that_is_none_names_file_and_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"^--boxes .*boxes\.csv,? {message}"):
        read_boxes(tmp_path / "boxes.csv")


def test_a_file_that_cannot_be_read_is_named_with_its_option(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    reasons = {"gone.csv": "No such file", "": "Is a directory", "picture.png": "it is no text"}
    for name, reason in reasons.items():
        message = rf"^--boxes {tmp_path / name} cannot be read \({reason}.*\); set --boxes to a CSV"
        with pytest.raises(ValueError, match=message):
            read_boxes(tmp_path / name)


def test_boxes_belong_to_images_by_the_end_of_their_path() -> None:
    images = [Path("p/a/x.jpg"), Path("p/b/x.jpg"), Path("p/b/y.jpg")]
    everywhere, own = Box("all", 0, 0, 1, 1), Box("own", 0, 0, 2, 2)
    boxes = boxes_of_images(images, [everywhere], {"b/x.jpg": [own], "y.jpg": [own]})
    assert [*boxes.values()] == [[everywhere], [everywhere, own], [everywhere, own]]
    for name, problem in (("x.jpg", "is 2 of the images; add their folder"), ("z.jpg", "is none")):
        with pytest.raises(ValueError, match=f"image '{name}' {problem}"):
            boxes_of_images(images, [], {name: [own]})
    with pytest.raises(ValueError, match=r"y\.jpg has two boxes 'all'"):
        boxes_of_images(images, [everywhere], {"y.jpg": [everywhere]})


def test_a_box_outside_its_image_is_named() -> None:
    check_boxes([Box("a", 0, 0, 6, 4)], (4, 6))
    with pytest.raises(ValueError, match=r"box a=0,0,4,6 leaves the upright image of 6x4 pixels"):
        check_boxes([Box("a", 0, 0, 4, 6)], (4, 6))
