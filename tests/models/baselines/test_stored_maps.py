from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from deepsal.metrics.functional import auc, cc, kl, nss
from deepsal.models import StoredMaps

SIZE = (30, 40)
IMAGE = torch.zeros(1, 3, 8, 8)


@pytest.fixture
def saliency() -> Tensor:
    torch.manual_seed(0)
    return torch.rand(1, *SIZE).square()


def write(file: Path, saliency: Tensor) -> None:
    if file.suffix == ".npy":
        np.save(file, saliency[0].numpy())
    else:
        Image.fromarray((saliency[0] * 255).round().byte().numpy()).save(file)


@pytest.mark.parametrize("kind", ["a.png", "a.jpg.png", "a.npy", "a.jpg.npy"])
def test_a_map_in_a_folder_scores_as_the_map_itself(
    kind: str, saliency: Tensor, tmp_path: Path
) -> None:
    write(tmp_path / kind, saliency)
    log_density = StoredMaps(tmp_path)(IMAGE, SIZE, ["a.jpg"])
    exact = saliency if kind.endswith("npy") else (saliency * 255).round()
    density = exact / exact.sum()
    fixations = torch.bernoulli(torch.full((1, *SIZE), 0.1))
    for score, truth in ((nss, fixations), (auc, fixations), (cc, density)):
        expected = score((exact + 1e-30).log(), truth)
        torch.testing.assert_close(score(log_density, truth), expected, atol=1e-5, rtol=0)
    assert kl(log_density, density) < 0.01


def test_a_map_may_be_named_exactly_as_its_image(saliency: Tensor, tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", saliency)
    write(tmp_path / "b.png", saliency)
    named, other = (StoredMaps(tmp_path)(IMAGE, SIZE, [name]) for name in ("a.jpg", "b.jpg"))
    assert cc(named, other.exp()).item() > 0.95  # JPEG is lossy


def test_log_densities_in_hdf5_are_read_as_they_are(saliency: Tensor, tmp_path: Path) -> None:
    log_density = (saliency / saliency.sum()).log()
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["a.jpg"] = log_density[0].numpy()
    stored = StoredMaps(tmp_path / "a.hdf5")(IMAGE, SIZE, ["a.jpg"])
    torch.testing.assert_close(stored, log_density, atol=1e-5, rtol=0)
    with pytest.raises(FileNotFoundError, match=r"a\.hdf5 has no map for b\.jpg"):
        StoredMaps(tmp_path / "a.hdf5")(IMAGE, SIZE, ["b.jpg"])


@pytest.mark.parametrize("grid", [(15, 20), (60, 80), (14, 19)])
def test_a_map_of_another_size_is_resized(grid: tuple[int, int], tmp_path: Path) -> None:
    y, x = torch.meshgrid(*(torch.linspace(0, 1, n) for n in grid), indexing="ij")
    np.save(tmp_path / "a.npy", (x + 2 * y + 1).numpy())
    density = StoredMaps(tmp_path)(IMAGE, SIZE, ["a.jpg"]).exp()
    assert density.shape == (1, *SIZE)
    assert density.sum().item() == pytest.approx(1, abs=1e-4)
    assert density[0, -1, -1] / density[0, 0, 0] == pytest.approx(4, rel=0.1)


def test_sixteen_bits_palettes_and_equal_colours_are_grey(saliency: Tensor, tmp_path: Path) -> None:
    levels = (saliency[0] * 255).round().byte().numpy()
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(np.stack([levels] * 3, axis=2)).save(tmp_path / "rgb.png")
    Image.fromarray(levels).save(tmp_path / "grey.png")
    Image.fromarray(levels).convert("P").save(tmp_path / "palette.png")
    maps = StoredMaps(tmp_path)
    grey = maps(IMAGE, SIZE, ["grey"])
    for name in ("deep", "rgb", "palette"):
        torch.testing.assert_close(maps(IMAGE, SIZE, [name]), grey, atol=1e-5, rtol=0)


def test_a_faulty_map_is_refused_with_its_fault(tmp_path: Path) -> None:
    maps = StoredMaps(tmp_path)
    good = np.ones(SIZE, dtype=np.float32)
    with pytest.raises(FileNotFoundError, match=r"no map for a.jpg: none of .*a.jpg.png"):
        maps(IMAGE, SIZE, ["a.jpg"])
    for bad, message in (
        (np.full(SIZE, np.nan), "NaN or infinite"),
        (good - 2, r"negative values, down to -1"),
        (good * 0, "zero everywhere"),
        (np.ones((30, 30)), "30x30, its image 40x30: the shapes differ"),
        (np.ones((2, 30, 40)), r"a map is \(height, width\)"),
    ):
        np.save(tmp_path / "a.npy", bad)
        with pytest.raises(ValueError, match=rf"a.npy .*{message}"):
            maps(IMAGE, SIZE, ["a.jpg"])
    write(tmp_path / "a.png", torch.ones(1, *SIZE))
    with pytest.raises(ValueError, match=r"a\.jpg has two maps"):
        maps(IMAGE, SIZE, ["a.jpg"])
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    (tmp_path / "c.npy").write_bytes(b"no array")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)).save(
        tmp_path / "d.png"
    )
    for name, message in (
        ("b", "not a readable map"),
        ("c", "not a readable map"),
        ("d", "coloured"),
    ):
        with pytest.raises(ValueError, match=message):
            maps(IMAGE, SIZE, [name])
    with pytest.raises(ValueError, match="no HDF5 file"):
        StoredMaps(tmp_path / "c.npy")(IMAGE, SIZE, ["a"])


def test_a_missing_folder_or_name_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist; set network\.path"):
        StoredMaps(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="name="):
        StoredMaps(tmp_path)(IMAGE, SIZE)
    with pytest.raises(FileNotFoundError, match=r"has no map for a: .*set network\.missing=skip"):
        StoredMaps(tmp_path)(IMAGE, SIZE, ["a"])
    with pytest.raises(ValueError, match=r"network\.missing=no: the choices are error and skip"):
        StoredMaps(tmp_path, missing="no")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".npy", ".hdf5"])
def test_images_without_a_map_are_skipped_on_demand_only(
    suffix: str, saliency: Tensor, tmp_path: Path
) -> None:
    if suffix == ".hdf5":
        with h5py.File(tmp_path / "maps.hdf5", "w") as file:
            file["a"] = saliency[0].numpy()
    elif suffix == ".npy":
        np.save(tmp_path / "a.npy", saliency[0].numpy())
    else:
        write(tmp_path / f"a{suffix}", saliency)
    path = tmp_path / "maps.hdf5" if suffix == ".hdf5" else tmp_path
    names = ("a", "b")
    assert [StoredMaps(path, missing="skip").skips(name) for name in names] == [False, True]
    assert [StoredMaps(path).skips(name) for name in names] == [False, False]


@pytest.mark.parametrize(("levels", "read"), [(0, True), (3, True), (4, False)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_that_differ_by_three_levels_are_grey(
    mode: str, levels: int, read: bool, tmp_path: Path
) -> None:
    grey = np.random.default_rng(0).integers(9, 240, SIZE, np.uint8)
    pixels = np.stack([grey, grey + np.uint8(levels), grey], axis=2)
    Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png")
    if not read:
        with pytest.raises(ValueError, match=r"a\.png is coloured.*convert\('L'\)"):
            StoredMaps(tmp_path)(IMAGE, SIZE, ["a"])
        return
    density = StoredMaps(tmp_path)(IMAGE, SIZE, ["a"]).exp()[0]
    assert np.corrcoef(density.flatten(), grey.flatten())[0, 1] > 0.9999


def test_grey_with_transparency_is_grey(saliency: Tensor, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(9, 240, SIZE, np.uint8)
    Image.fromarray(grey).convert("LA").save(tmp_path / "a.png")
    density = StoredMaps(tmp_path)(IMAGE, SIZE, ["a"]).exp()[0]
    assert np.corrcoef(density.flatten(), grey.flatten())[0, 1] > 0.9999
