import dataclasses
import gzip
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deepsal.data import (
    SaliencyDataModule,
    SaliencyDataset,
    Stimulus,
    popout_dataset,
    read_csv_folder,
    write_csv_folder,
)
from deepsal.data.image_files import read_image
from tests.data.conftest import stays

NAMES = [f"{i}.png" for i in range(20)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty images of 8x6 pixels, two observers, image i fixated at (1, i/4) and (7.25, 2)."""
    path = tmp_path / "mine"
    (path / "images").mkdir(parents=True)
    images, fixations = ["image,width,height"], ["image,subject,index,x,y,start_ms"]
    for i, name in enumerate(NAMES):
        Image.new("RGB", (8, 6), (i, 0, 0)).save(path / "images" / name)
        images.append(f"{name},8,6")
        fixations += [f"{name},anna,0,1,{i / 4},200", f"{name},ben,0,7.25,2,220"]
    (path / "images.csv").write_text("\n".join(images))
    (path / "fixations.csv").write_text("\n".join(fixations))
    return path


def members(data: SaliencyDataset) -> dict[str, list[str]]:
    return {split: [data.stimuli[i].name for i in at] for split, at in data.splits.items()}


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def refuses(root: Path, *words: str, error: type[Exception] = ValueError) -> None:
    with pytest.raises(error, match=".*".join(map(re.escape, words))):
        read_csv_folder(root, sigma=1.0)


def test_what_was_written_is_read_back(root: Path) -> None:
    data = read_csv_folder(root, sigma=3.0)
    assert (data.name, data.sigma) == ("mine", 3.0)
    assert [s.name for s in data.stimuli] == NAMES
    for i, stimulus in enumerate(data.stimuli):
        assert stimulus.size == (6, 8)
        assert stimulus.fixations.tolist() == [[1, i / 4], [7.25, 2]]
        assert stimulus.observers.tolist() == [0, 1]
        assert stimulus.read()[:, 0, 0].tolist() == [i, 0, 0]


def test_rows_may_come_in_any_order(root: Path) -> None:
    header, *rows = (root / "fixations.csv").read_text().split("\n")
    (root / "fixations.csv").write_text("\n".join([header, *reversed(rows)]))
    assert read_csv_folder(root, 1.0).stimuli[3].fixations.tolist() == [[7.25, 2], [1, 0.75]]


def test_names_that_are_numbers_keep_their_zeros(root: Path) -> None:
    (root / "images" / "0.png").rename(root / "images" / "007")
    for table in ("images.csv", "fixations.csv"):
        text = (root / table).read_text()
        (root / table).write_text(re.sub(r"^0\.png", "007", text, flags=re.MULTILINE))
    assert read_csv_folder(root, 1.0).stimuli[0].name == "007"


def test_a_compressed_table_is_read(root: Path) -> None:
    plain = read_csv_folder(root, 1.0)
    file = root / "fixations.csv"
    (root / "fixations.csv.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    packed = read_csv_folder(root, 1.0)
    assert all(
        np.array_equal(a.fixations, b.fixations)
        for a, b in zip(plain.stimuli, packed.stimuli, strict=True)
    )


def test_without_a_table_a_fixed_tenth_is_validation_and_another_test(root: Path) -> None:
    splits = read_csv_folder(root, 1.0).splits
    assert [len(splits[split]) for split in ("train", "val", "test")] == [16, 2, 2]
    assert sorted(i for split in splits.values() for i in split) == list(range(20))
    assert read_csv_folder(root, 1.0).splits == splits


def test_splits_are_those_of_the_table(root: Path) -> None:
    (root / "splits.csv").write_text("image,split\n3.png,val\n1.png,train\n2.png,train\n0.png,test")
    expected = {"train": ["1.png", "2.png"], "val": ["3.png"], "test": ["0.png"]}
    assert members(read_csv_folder(root, 1.0)) == expected


def test_an_image_may_have_a_blur_of_its_own(root: Path) -> None:
    header, *rows = (root / "images.csv").read_text().split("\n")
    blurs = [f"{row},{i + 1}" for i, row in enumerate(rows)]
    (root / "images.csv").write_text("\n".join([f"{header},sigma", *blurs]))
    data = read_csv_folder(root, sigma=30.0)
    assert [data.sigma_of(name) for name in NAMES] == [i + 1 for i in range(20)]
    replace(root / "images.csv", "4.png,8,6,5", "4.png,8,6,")
    refuses(root, "images.csv, line 6", "sigma")
    replace(root / "images.csv", "4.png,8,6,", "4.png,8,6,-1")
    refuses(root, "image 4.png", "sigma=-1 must be a positive number")


def test_a_missing_folder_names_the_option(root: Path) -> None:
    refuses(root / "no", "no", "data.dataset.path", error=FileNotFoundError)


@pytest.mark.parametrize(
    ("table", "columns"), [("images.csv", "width"), ("fixations.csv", "subject")]
)
def test_a_missing_table_names_its_columns_and_the_option(
    root: Path, table: str, columns: str
) -> None:
    (root / table).unlink()
    option = "set data.dataset.path"
    refuses(root, table, "missing", columns, option, error=FileNotFoundError)


@pytest.mark.parametrize(
    ("table", "column"),
    [("images.csv", "height"), ("fixations.csv", "subject"), ("splits.csv", "split")],
)
def test_a_missing_column_names_file_and_column(root: Path, table: str, column: str) -> None:
    (root / "splits.csv").write_text("image,split\n0.png,train")
    replace(root / table, column, "other")
    refuses(root, table, f"['{column}']", "it needs")


@pytest.mark.parametrize("table", ["fixations.csv", "splits.csv"])
def test_an_unknown_image_names_file_and_image(root: Path, table: str) -> None:
    (root / "splits.csv").write_text("image,split\n0.png,train\n1.png,val\n2.png,test")
    replace(root / table, "0.png", "nobody.png")
    refuses(root, table, "'nobody.png'", "images.csv")


def test_an_unknown_image_in_a_compressed_table_names_that_table(root: Path) -> None:
    text = (root / "fixations.csv").read_text().replace("0.png", "nobody.png", 1)
    (root / "fixations.csv.gz").write_bytes(gzip.compress(text.encode()))
    refuses(root, "fixations.csv.gz", "'nobody.png'")


def test_a_wrong_size_names_file_and_both_sizes(root: Path) -> None:
    replace(root / "images.csv", "4.png,8,6", "4.png,6,8")
    refuses(root, "4.png", "8x6", "images.csv", "6x8")


def test_a_missing_image_names_file_and_table(root: Path) -> None:
    (root / "images" / "5.png").unlink()
    refuses(root, "images.csv", "'5.png'", "missing; add the file", error=FileNotFoundError)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_vanishes_during_training_is_named(root: Path, workers: int) -> None:
    data = read_csv_folder(root, sigma=1.0)
    module = SaliencyDataModule(data, size=(6, 8), batch_size=2, num_workers=workers)
    lost = data.stimuli[data.splits["train"][0]].name
    (root / "images" / lost).unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(str(root / "images" / lost))):
        [*module.train_dataloader()]


def test_a_file_that_is_no_image_is_named(root: Path) -> None:
    (root / "images" / "5.png").write_text("not a picture")
    refuses(root, "5.png", "not a readable image")


def test_an_image_listed_twice_is_named(root: Path) -> None:
    replace(root / "images.csv", "1.png,8,6", "0.png,8,6")
    refuses(root, "images.csv", "'0.png' twice")


def test_an_image_in_two_splits_is_refused(root: Path) -> None:
    rows = "image,split\n0.png,train\n0.png,val\n1.png,val\n2.png,test"
    (root / "splits.csv").write_text(rows)
    refuses(root, "mine", "two splits")


def test_a_wrong_split_lists_the_choices(root: Path) -> None:
    (root / "splits.csv").write_text("image,split\n0.png,training\n1.png,val\n2.png,test")
    refuses(root, "splits.csv", "'training'", "['train', 'val', 'test']")


def test_an_empty_split_is_named(root: Path) -> None:
    (root / "splits.csv").write_text("image,split\n0.png,train\n1.png,val")
    refuses(root, "splits.csv", "no image", "['test']")


def test_test_images_alone_are_a_data_set_to_score(root: Path) -> None:
    (root / "splits.csv").write_text("image,split\n3.png,test\n1.png,test")
    assert read_csv_folder(root, 1.0).splits == {"train": [], "val": [], "test": [3, 1]}
    (root / "splits.csv").write_text("image,split\n3.png,train\n1.png,test")
    refuses(root, "splits.csv", "no image", "['val']", "train, val and test, or of test alone")


@pytest.mark.parametrize("table", ["", "image,split\n3.png,test"])
def test_all_images_may_be_test_images(table: str, root: Path) -> None:
    if table:
        (root / "splits.csv").write_text(table)
    splits = read_csv_folder(root, 1.0, split="all").splits
    assert splits == {"train": [], "val": [], "test": [*range(20)]}
    with pytest.raises(
        ValueError, match=r"data\.dataset\.split=test: the choices are all, val and nu"
    ):
        read_csv_folder(root, 1.0, split="test")


def test_a_missing_blur_names_the_option_unless_the_table_has_it(root: Path) -> None:
    with pytest.raises(ValueError, match=r"no column sigma; set data\.dataset\.sigma=PIXELS"):
        read_csv_folder(root)
    lines = (root / "images.csv").read_text().split("\n")
    rows = [f"{line},{i + 1}" for i, line in enumerate(lines[1:])]
    (root / "images.csv").write_text("\n".join([f"{lines[0]},sigma", *rows]))
    data = read_csv_folder(root)
    assert (data.sigma, data.sigma_of("4.png")) == (10.5, 5.0)


@pytest.mark.parametrize("name", ["NA", "null", "None", "nan", "N/A", "-inf", "1e5", "007"])
def test_a_name_is_never_a_missing_value(name: str, root: Path) -> None:
    (root / "images" / name).parent.mkdir(exist_ok=True)
    (root / "images" / "0.png").rename(root / "images" / name)
    for table in ("images.csv", "fixations.csv"):
        text = (root / table).read_text().replace("0.png", "@").replace("1@", "10.png")
        (root / table).write_text(text.replace("@", name).replace("anna", name))
    (root / "splits.csv").write_text(f"image,split\n{name},test")
    data = read_csv_folder(root, 1.0)
    assert data.stimuli[0].name == name
    assert all(len({*stimulus.observers}) == 2 for stimulus in data.stimuli)


def test_an_empty_name_names_file_and_line(root: Path) -> None:
    replace(root / "fixations.csv", "1.png,anna", "1.png,")
    refuses(root, "fixations.csv", "line 4", "subject", "is empty")


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_for_three_splits_are_refused(root: Path, count: int) -> None:
    for table, rows in (("images.csv", count), ("fixations.csv", 2 * count)):
        lines = (root / table).read_text().split("\n")
        (root / table).write_text("\n".join(lines[: rows + 1]))
    refuses(root, "train", "data.dataset.split=all")


@pytest.mark.parametrize("row", ["0.png,anna,1,", "0.png,anna,1,,2"])
def test_a_missing_coordinate_names_file_and_line(root: Path, row: str) -> None:
    with (root / "fixations.csv").open("a") as file:
        file.write(f"\n{row}")
    refuses(root, "fixations.csv", "line 42")


def test_a_coordinate_that_is_no_number_names_file_and_value(root: Path) -> None:
    replace(root / "fixations.csv", "7.25", "left")
    refuses(root, "fixations.csv", "left")


@pytest.mark.parametrize("table", ["images.csv", "fixations.csv", "splits.csv"])
def test_an_empty_table_names_the_file(root: Path, table: str) -> None:
    (root / table).write_text("")
    refuses(root, table)


def test_a_fixation_off_its_image_is_named(root: Path) -> None:
    replace(root / "fixations.csv", "0.png,anna,0,1,", "0.png,anna,0,8,")
    refuses(root, "mine, image 0.png (8x6)", "off the image", "(8, 0)")


def test_a_planted_pixel_stays_under_its_fixation_through_crop_flip_and_resize(root: Path) -> None:
    for i, name in enumerate(NAMES):
        image = Image.new("RGB", (8, 6))
        image.putpixel((1, min(5, round(i / 4))), (255, 255, 255))
        image.save(root / "images" / name)
    assert stays(read_csv_folder(root, sigma=1.0)) > 1


@pytest.fixture
def written(tmp_path: Path) -> SaliencyDataset:
    """Twelve observers; names with spaces, umlauts and folders; grey, 16-bit and CMYK images."""
    random = np.random.default_rng(0)
    files = ["ä b.png", "Action/001.jpg", "Art/001.jpg", "c.png"]
    stimuli = []
    for name, mode in zip(files, ["L", "CMYK", "RGB", "I;16"], strict=True):
        path = tmp_path / "release" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = {"L": (6, 8), "I;16": (6, 8), "CMYK": (6, 8, 4), "RGB": (6, 8, 3)}[mode]
        if mode == "I;16":
            Image.fromarray(random.integers(0, 65536, shape).astype(np.uint16)).save(path)
        else:
            pixels = random.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels, mode=mode).save(path)
        points = random.uniform((-0.5, -0.5), (7.5, 5.5), (24, 2))
        subjects = np.arange(24) % 12
        stimuli.append(Stimulus(name, (6, 8), points, subjects, partial(read_image, path)))
    return SaliencyDataset("toy", stimuli, {"train": [2, 0], "val": [1], "test": [3]}, 2.0)


def test_what_is_exported_is_read_back_bit_for_bit(
    written: SaliencyDataset, tmp_path: Path
) -> None:
    write_csv_folder(written, tmp_path / "toy")
    back = read_csv_folder(tmp_path / "toy", sigma=2.0)
    assert back.name == written.name
    assert back.splits == written.splits
    for old, new in zip(written.stimuli, back.stimuli, strict=True):
        assert (old.name, old.size) == (new.name, new.size)
        assert np.array_equal(old.fixations, new.fixations)
        assert np.array_equal(old.observers, new.observers)
        assert torch.equal(old.read(), new.read())


def test_an_images_own_blur_is_kept(written: SaliencyDataset, tmp_path: Path) -> None:
    own = dataclasses.replace(
        written, stimuli=[dataclasses.replace(written.stimuli[0], sigma=5.5), *written.stimuli[1:]]
    )
    write_csv_folder(own, tmp_path / "toy")
    back = read_csv_folder(tmp_path / "toy", sigma=9.0)
    assert [s.sigma for s in back.stimuli] == [5.5, 2, 2, 2]


def test_drawn_images_become_png_files(tmp_path: Path) -> None:
    drawn = popout_dataset((2, 1, 1), size=(24, 32))
    write_csv_folder(drawn, tmp_path / "arrays")
    back = read_csv_folder(tmp_path / "arrays", sigma=2.0)
    assert [s.name for s in back.stimuli] == [f"{s.name}.png" for s in drawn.stimuli]
    assert all(
        torch.equal(a.read(), b.read()) and np.array_equal(a.fixations, b.fixations)
        for a, b in zip(drawn.stimuli, back.stimuli, strict=True)
    )


def test_a_folder_that_is_not_empty_is_left_alone(written: SaliencyDataset, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match=r"release exists already; choose a new folder"):
        write_csv_folder(written, tmp_path / "release")


def test_nothing_half_written_stays(written: SaliencyDataset, tmp_path: Path) -> None:
    (tmp_path / "release" / "c.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"c\.png"):
        write_csv_folder(written, tmp_path / "toy")
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


@pytest.mark.parametrize("name", ["../a.png", "/tmp/a.png"])
def test_a_name_that_leads_out_of_the_folder_is_refused(
    written: SaliencyDataset, tmp_path: Path, name: str
) -> None:
    bad = dataclasses.replace(
        written, stimuli=[dataclasses.replace(written.stimuli[0], name=name)], splits={"train": [0]}
    )
    with pytest.raises(ValueError, match="leads out of the folder"):
        write_csv_folder(bad, tmp_path / "toy")


def test_images_alone_are_refused(written: SaliencyDataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="images only"):
        write_csv_folder(dataclasses.replace(written, fixations_hidden=True), tmp_path / "toy")
