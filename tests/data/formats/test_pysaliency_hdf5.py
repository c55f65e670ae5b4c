import json
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deepsal.data import SaliencyDataset
from deepsal.data.formats import pysaliency_hdf5
from tests.data.conftest import stays

read_pysaliency_hdf5 = partial(pysaliency_hdf5.read_pysaliency_hdf5, off_image_limit=0.4)
"""A third of the fixations of the fake files are off their images."""
COUNT = 12
SIZES = [(9, 16), (12, 10)]


def place(i: int) -> tuple[int, int]:
    return i % 10, i % 9


def pixels(i: int, grey: bool = False) -> NDArray[np.uint8]:
    x, y = place(i)
    image = np.zeros((*SIZES[i % 2], 3), np.uint8)
    image[y, x] = 255
    return image[..., 0] if grey else image


def trains() -> tuple[list[list[float]], list[list[float]], list[int], list[int]]:
    """Two subjects an image: one on the planted pixel and off the image, one in the last corner."""
    xs, ys, ns, subjects = [], [], [], []
    for i in range(COUNT):
        (x, y), (height, width) = place(i), SIZES[i % 2]
        xs += [[x + 0.7, width + 0.1], [width - 0.01, np.nan]]
        ys += [[y + 0.2, 3.0], [height - 0.01, np.nan]]
        ns += [i, i]
        subjects += [0, 3]
    return xs, ys, ns, subjects


def marked(target: h5py.Group, kind: str, version: str) -> h5py.Group:
    target.attrs["type"] = np.bytes_(kind)
    target.attrs["version"] = np.bytes_(version)
    target.attrs["__attributes__"] = np.bytes_(json.dumps([]))
    return target


def write_files(root: Path, version: str = "2.1") -> None:
    names = [f"stimuli/{'ab'[i % 2]}/bild {i} ä.png" for i in range(COUNT)]
    with h5py.File(root / "stimuli.hdf5", "w") as file:
        marked(file, "FileStimuli", version).attrs["size"] = COUNT
        stored = names if version >= "2.0" else [str(root / name) for name in names]
        text = h5py.special_dtype(vlen=str)
        file.create_dataset("filenames", data=np.array([n.encode() for n in stored]), dtype=text)
        lists = h5py.special_dtype(vlen=np.dtype("int64"))
        shapes = file.create_dataset("shapes", (COUNT,), dtype=lists)
        for i, name in enumerate(names):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels(i)).save(root / name)
            shapes[i] = np.array(pixels(i).shape)


def write_arrays(root: Path) -> None:
    with h5py.File(root / "stimuli.hdf5", "w") as file:
        marked(file, "Stimuli", "1.1").attrs["size"] = COUNT
        for i in range(COUNT):
            file.create_dataset(str(i), data=pixels(i, grey=i % 3 == 0), compression="gzip")


def write_fixations(root: Path, kind: str) -> None:
    xs, ys, ns, subjects = (np.array(values) for values in trains())
    with h5py.File(root / "fixations.hdf5", "w") as file:
        marked(file, kind, "1.3" if kind == "FixationTrains" else "1.0")
        if kind == "ScanpathFixations":
            paths = marked(file.create_group("scanpaths"), "Scanpaths", "1.0")
            for key, values in {"xs": xs, "ys": ys, "n": ns}.items():
                paths.create_dataset(key, data=values)
            paths.create_dataset("lengths", data=(~np.isnan(xs)).sum(1))
            paths.create_group("scanpath_attributes").create_dataset("subject", data=subjects)
        elif kind == "FixationTrains":
            named = {"train_xs": xs, "train_ys": ys, "train_ns": ns, "train_subjects": subjects}
            for key, value in named.items():
                file.create_dataset(key, data=value)
        else:
            real = ~np.isnan(xs)
            rows = {"x": xs[real], "y": ys[real]}
            rows |= {"n": np.repeat(ns, real.sum(1)), "subjects": np.repeat(subjects, real.sum(1))}
            for key, value in rows.items():
                file.create_dataset(key, data=value)


def is_right(data: SaliencyDataset) -> None:
    assert data.dropped == {"off the image": COUNT}
    assert [s.size for s in data.stimuli] == SIZES * (COUNT // 2)
    for stimulus in data.stimuli:
        image = stimulus.read()[0]
        brightest = np.unravel_index(int(image.argmax()), image.shape)[::-1]
        assert np.abs(stimulus.fixations[0] - brightest).max() <= 0.5
        corner = (stimulus.size[1] - 1, stimulus.size[0] - 1)
        assert np.abs(stimulus.fixations[1] - corner).max() <= 0.5
        assert stimulus.observers.tolist() == [0, 3]


@pytest.mark.parametrize("kind", ["Fixations", "FixationTrains", "ScanpathFixations"])
def test_every_type_of_fixations_is_read(tmp_path: Path, kind: str) -> None:
    write_arrays(tmp_path)
    write_fixations(tmp_path, kind)
    is_right(read_pysaliency_hdf5(tmp_path, sigma=2.0))


@pytest.mark.parametrize("version", ["1.0", "2.1"])
def test_image_files_are_found_where_the_version_puts_them(tmp_path: Path, version: str) -> None:
    write_files(tmp_path, version)
    write_fixations(tmp_path, "ScanpathFixations")
    data = read_pysaliency_hdf5(tmp_path, sigma=2.0)
    is_right(data)
    assert data.stimuli[3].name == "b/bild 3 ä.png"


def test_the_split_is_fixed_and_whole(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    write_fixations(tmp_path, "Fixations")
    splits = read_pysaliency_hdf5(tmp_path, sigma=2.0).splits
    assert [len(splits[split]) for split in ("train", "val", "test")] == [10, 1, 1]
    assert sorted(i for split in splits.values() for i in split) == list(range(COUNT))


def test_a_missing_file_says_which_option_to_set(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"fixations\.hdf5 is missing; set data\.dataset"):
        read_pysaliency_hdf5(tmp_path, sigma=2.0)


def test_another_type_is_named(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    (tmp_path / "fixations.hdf5").write_bytes((tmp_path / "stimuli.hdf5").read_bytes())
    with pytest.raises(ValueError, match=r"fixations\.hdf5 is not .*its type is Stimuli, not Fix"):
        read_pysaliency_hdf5(tmp_path, sigma=2.0)


def test_a_file_that_is_no_hdf5_is_named(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    (tmp_path / "fixations.hdf5").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=r"fixations\.hdf5 is not a fixation file of pysaliency"):
        read_pysaliency_hdf5(tmp_path, sigma=2.0)


def test_a_missing_image_or_one_of_another_size_is_named(tmp_path: Path) -> None:
    write_files(tmp_path)
    write_fixations(tmp_path, "Fixations")
    image = tmp_path / "stimuli" / "a" / "bild 2 ä.png"
    Image.new("RGB", (3, 3)).save(image)
    with pytest.raises(ValueError, match=r"bild 2 ä\.png has .*\(3, 3\), but .* says \(9, 16\)"):
        read_pysaliency_hdf5(tmp_path, sigma=2.0)
    image.unlink()
    with pytest.raises(FileNotFoundError, match=r"bild 2 ä\.png, which is missing"):
        read_pysaliency_hdf5(tmp_path, sigma=2.0)


def test_fixations_on_an_image_that_is_not_there_are_told(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    write_fixations(tmp_path, "Fixations")
    with h5py.File(tmp_path / "fixations.hdf5", "a") as file:
        file["n"][0] = COUNT
    with pytest.raises(ValueError, match=r"fixations on image 12, but .* has 12 images"):
        read_pysaliency_hdf5(tmp_path, sigma=2.0)


def test_a_planted_pixel_stays_under_its_fixation_through_crop_flip_and_resize(
    tmp_path: Path,
) -> None:
    write_files(tmp_path)
    write_fixations(tmp_path, "ScanpathFixations")
    assert stays(read_pysaliency_hdf5(tmp_path, sigma=2.0)) > 1


@pytest.mark.parametrize(
    ("array", "stated"),
    [
        (np.zeros((9, 16, 3)), "float64"),
        (np.zeros((9, 16), np.uint16), "uint16"),
        (np.zeros((9, 16, 2), np.uint8), r"uint8 \(9, 16, 2\)"),
        (np.zeros(9, np.uint8), r"uint8 \(9,\)"),
    ],
)
def test_pixels_of_another_kind_are_refused_by_name(
    array: NDArray[np.generic], stated: str, tmp_path: Path
) -> None:
    write_arrays(tmp_path)
    write_fixations(tmp_path, "Fixations")
    with h5py.File(tmp_path / "stimuli.hdf5", "a") as file:
        del file["7"]
        file.create_dataset("7", data=array)
    with pytest.raises(ValueError, match=rf"stimuli\.hdf5 .*image /7 is {stated}.*store uint8"):
        read_pysaliency_hdf5(tmp_path, sigma=2.0)


def test_black_and_white_becomes_0_and_255_and_one_channel_grey(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    write_fixations(tmp_path, "Fixations")
    with h5py.File(tmp_path / "stimuli.hdf5", "a") as file:
        for i in (1, 2):
            del file[str(i)]
        file.create_dataset("1", data=pixels(1, grey=True) > 0)
        file.create_dataset("2", data=pixels(2, grey=True)[..., None])
    is_right(read_pysaliency_hdf5(tmp_path, sigma=2.0))
    image = read_pysaliency_hdf5(tmp_path, sigma=2.0).stimuli[1].read()
    assert image.unique().tolist() == [0, 255]


def test_many_fixations_off_their_images_are_refused_with_the_option(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    write_fixations(tmp_path, "Fixations")
    message = r"12 of 36 fixations \(33\.3%\) lie off .* set data\.dataset\.off_image_limit=SHARE"
    with pytest.raises(ValueError, match=message):
        pysaliency_hdf5.read_pysaliency_hdf5(tmp_path, sigma=2.0)


def test_all_images_may_be_test_images(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    write_fixations(tmp_path, "Fixations")
    splits = read_pysaliency_hdf5(tmp_path, sigma=2.0, split="all").splits
    assert splits == {"train": [], "val": [], "test": [*range(COUNT)]}
    with pytest.raises(
        ValueError, match=r"data\.dataset\.split=test: the choices are all, val and nu"
    ):
        read_pysaliency_hdf5(tmp_path, sigma=2.0, split="test")
