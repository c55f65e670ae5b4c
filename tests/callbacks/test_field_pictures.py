from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from deepsal.callbacks import field_pictures
from deepsal.rf import store
from deepsal.rf.mapping.gradient_fields import ReceptiveFields


def small_fields(scale: float) -> ReceptiveFields:
    field = np.zeros((2, 3, 9, 9), dtype=np.float32)
    field[:, :, 3:6, 3:6] = scale
    return ReceptiveFields(
        field,
        units=np.array([4, 7]),
        patches=np.array([[[0, 2, 3], [1, 0, 0]], [[1, 2, 3], [-1, -1, -1]]]),
        centre=np.array([[[20, 30], [1, 1]], [[20, 30], [np.nan, np.nan]]], dtype=np.float32),
        activation=np.ones((2, 2), dtype=np.float32),
        count=np.array([2, 1]),
        reliability=np.array([0.9, np.nan]),
    )


def save_epochs(folder: Path) -> None:
    stages = {"conv4": {"sigma": 1.0, "size": [9, 9]}}
    about = {"method": "gradient", "target": 0.9, "stages": stages}
    for epoch in (0, 2):
        file = folder / "fields" / f"epoch={epoch:03d}.npz"
        store.save_fields(
            file,
            {"conv4/centred": small_fields(1 + epoch), "conv4/strongest": small_fields(1)},
            about,
        )


def test_a_grid_per_stage_and_source_is_named_after_its_checkpoint(tmp_path: Path) -> None:
    save_epochs(tmp_path)
    file = tmp_path / "fields" / "epoch=002.npz"
    pictures = field_pictures.draw_field_grids(
        tmp_path, {"conv4/centred": small_fields(1)}, file, degree=8.0
    )
    place = tmp_path / "figures" / "fields" / "conv4-centred" / "epoch=002.png"
    assert pictures == {"rf/conv4/centred": place}
    with Image.open(place) as picture:
        assert picture.size[0] > 200
    assert [f.name for f in place.parent.iterdir()] == ["epoch=002.png"]


def test_evolution_and_profiles_are_drawn_from_all_checkpoints(tmp_path: Path) -> None:
    save_epochs(tmp_path)
    pictures = field_pictures.draw_field_evolution(tmp_path, "conv4", "centred", None)
    assert [*pictures] == ["rf/conv4/evolution", "rf/conv4/profile"]
    assert all(picture.is_file() for picture in pictures.values())


def image(colour: tuple[int, int, int], index: int) -> Tensor:
    pixels = torch.zeros(3, 48, 64, dtype=torch.uint8)
    pixels[:, 20, 30] = torch.tensor(colour, dtype=torch.uint8)
    pixels += index
    return pixels


def test_a_patch_is_cut_around_the_units_own_centre() -> None:
    picture = image((250, 0, 0), 0)
    cut = field_pictures._crop_around(picture, np.array([20, 30], dtype=np.float32), 11)
    assert cut.shape == (11, 11, 3)
    assert cut[5, 5].tolist() == [250, 0, 0]
    assert cut.astype(int).sum() == 250
    corner = field_pictures._crop_around(picture, np.array([0, 0], dtype=np.float32), 11)
    assert (corner[:5] == 255).all(), "white beyond the image"
    assert (corner[5:, 5:] == 0).all()


def test_a_sheet_shows_the_strongest_patches_of_the_last_checkpoint(tmp_path: Path) -> None:
    save_epochs(tmp_path)
    pictures = field_pictures.draw_patch_sheet(tmp_path, "conv4", partial(image, (0, 250, 0)), 8.0)
    with Image.open(pictures["rf/conv4/patches"]) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    green = (pixels[..., 1] > 150) & (pixels[..., 0] < 90) & (pixels[..., 2] < 90)
    assert green.any(), "the pixel at the unit's centre"


def test_thumbnails_of_all_units_are_stored(tmp_path: Path) -> None:
    save_epochs(tmp_path)
    field_pictures.draw_patch_sheet(tmp_path, "conv4", partial(image, (0, 250, 0)), 8.0)
    with Image.open(tmp_path / "figures" / "fields" / "conv4-patches.webp") as picture:
        assert picture.size == (22, 22), "2 units, 2 patches of 11 px"
        assert picture.convert("RGB").getpixel((20, 20)) == (217, 217, 217), "no patch is grey"
