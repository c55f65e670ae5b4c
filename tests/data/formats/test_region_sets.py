from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepsal.data.formats.region_sets import read_region_set

HEADER = "image,label,x0,y0,x1,y1\n"


def boxes(folder: Path, rows: str, header: str = HEADER) -> Path:
    file = folder / "boxes.csv"
    file.write_text(header + rows)
    return file


def label_folder(folder: Path, pixels: np.ndarray, labels: str = "1,face\n7,text\n") -> Path:
    (folder / "labels.csv").write_text("value,label\n" + labels)
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "a.png")
    return folder


def test_boxes_become_masks_and_an_image_without_rows_has_none(tmp_path: Path) -> None:
    rows = "a.jpg,face,1,0,3,2\n\na.jpg,text,0,0,1.5,1\na.jpg,face,4,3,6,4\n"
    labels, masks = read_region_set(boxes(tmp_path, rows))
    assert labels == ("face", "text")
    face, text = masks("a.jpg", (4, 6))
    assert face.sum() == 4 + 2
    assert face[0, 1]
    assert face[3, 5]
    assert text.sum() == 2
    assert not masks("b.jpg", (4, 6)).any()


def test_label_images_become_the_masks_of_the_same_boxes(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6))
    pixels[:2, 1:3], pixels[3, 4:] = 1, 7
    labels, masks = read_region_set(label_folder(tmp_path, pixels))
    assert labels == ("face", "text")
    rows = "a.jpg,face,1,0,3,2\na.jpg,text,4,3,6,4\n"
    same = read_region_set(boxes(tmp_path, rows)).masks("a.jpg", (4, 6))
    assert np.array_equal(masks("a.jpg", (4, 6)), same)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.jpg,face,1,0,3,2\na.jpg,face,1,zero,3,2\n", "line 3: could not convert"),
        ("a.jpg,face,3,0,3,2\n", "line 2: the box 3,0,3,2 is empty"),
        ("a.jpg,face,-1,0,3,2\n", "line 2: the box -1,0,3,2 is empty or outside"),
        ("a.jpg,face,0,0,nan,2\n", "line 2: the box 0,0,nan,2"),
        ("a.jpg,,0,0,3,2\n", "line 2: it needs 6 fields"),
        ("a.jpg,face,0,0,3\n", "line 2: it needs 6 fields"),
        ("", "has no rows"),
    ],
)
def test_a_wrong_row_is_an_error_that_names_its_line(
    rows: str, message: str, tmp_path: Path
) -> None:
    file = boxes(tmp_path, rows)
    with pytest.raises(ValueError, match=message) as error:
        read_region_set(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_box_outside_of_its_image_is_an_error(tmp_path: Path) -> None:
    masks = read_region_set(boxes(tmp_path, "a.jpg,face,0,0,7,2\n")).masks
    with pytest.raises(ValueError, match=r"boxes.csv, line 2: the box ends at 7,2, but a.jpg is 6"):
        masks("a.jpg", (4, 6))


def test_missing_files_and_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"none.csv is missing; its columns are image,label"
    ):
        read_region_set(tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match=r"labels.csv is missing; its columns are value"):
        read_region_set(tmp_path)
    with pytest.raises(ValueError, match="it lacks the columns y1; it needs image,label"):
        read_region_set(boxes(tmp_path, "", "image,label,x0,y0,x1\n"))
    masks = read_region_set(label_folder(tmp_path, np.zeros((4, 6)))).masks
    with pytest.raises(FileNotFoundError, match=r"b.png is missing; add the label image of b.jpg"):
        masks("b.jpg", (4, 6))


@pytest.mark.parametrize("labels", ["0,face\n", "x,face\n", "256,face\n", "1,a\n1,b\n", "1,a\n2,a"])
def test_each_label_has_one_value(labels: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labels.csv, line \d: .* give each label one value"):
        read_region_set(label_folder(tmp_path, np.zeros((4, 6)), labels))


def test_a_wrong_label_image_is_named(tmp_path: Path) -> None:
    masks = read_region_set(label_folder(tmp_path, np.full((4, 6), 3))).masks
    with pytest.raises(ValueError, match=r"a.png has the value 3, which .*labels.csv does not"):
        masks("a.jpg", (4, 6))
    with pytest.raises(ValueError, match=r"a.png is 6x4, but a.jpg is 9x9"):
        masks("a.jpg", (9, 9))
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a.png has the mode RGB"):
        masks("a.jpg", (4, 6))
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ValueError, match=r"a.png is not a readable image"):
        masks("a.jpg", (4, 6))
