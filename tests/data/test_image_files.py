import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from PIL.PngImagePlugin import PngInfo

from deepsal.data.image_files import image_size, read_image, read_upright_image


def pixels(height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("mode", "file"),
    [
        ("L", "a.png"),
        ("L", "a.jpg"),
        ("1", "a.png"),
        ("P", "a.png"),
        ("P", "a.gif"),
        ("LA", "a.png"),
        ("RGBA", "a.png"),
        ("CMYK", "a.jpg"),
        ("CMYK", "a.tif"),
        ("I;16", "a.png"),
        ("I;16", "a.tif"),
    ],
)
def test_every_kind_of_image_becomes_rgb_bytes(mode: str, file: str, tmp_path: Path) -> None:
    grey = Image.fromarray(pixels()).convert("L")
    stored = (
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(pixels()).convert(mode)
    )
    stored.save(tmp_path / file)
    image = read_image(tmp_path / file)
    assert image.dtype == torch.uint8
    assert image.shape == (3, *image_size(tmp_path / file)) == (3, 40, 50)
    assert image.unique().numel() > 1


def test_colours_arrive_as_stored(tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0).numpy(), pixels())


def test_sixteen_bits_are_scaled_to_eight_and_not_clipped(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp * 257).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png")[0].numpy(), ramp)


def test_a_palette_with_transparency_is_read(tmp_path: Path) -> None:
    palette = Image.fromarray(pixels()).convert("P")
    palette.save(tmp_path / "icon.png", transparency=bytes(range(256)))
    assert read_image(tmp_path / "icon.png").shape == (3, 40, 50)


@pytest.mark.parametrize("extension", ["jpg", "png"])
@pytest.mark.parametrize("length", [0, 10, 500, 0.5, 0.9])
def test_a_truncated_image_names_the_file(extension: str, length: float, tmp_path: Path) -> None:
    file = tmp_path / f"cut.{extension}"
    Image.fromarray(pixels()).save(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: round(length * len(whole)) if isinstance(length, float) else length])
    with pytest.raises(ValueError, match=rf"cut\.{extension} is not a readable image"):
        read_image(file)


def test_a_text_file_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "note.jpg").write_text("see attachment")
    for read in (read_image, image_size):
        with pytest.raises(ValueError, match=r"note\.jpg is not a readable image"):
            read(tmp_path / "note.jpg")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (read_image, image_size):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
            read(tmp_path / "nowhere.jpg")


@pytest.mark.parametrize("read", [image_size, read_image])
def test_a_huge_image_is_named(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "poster.png"
    Image.new("L", (50, 40)).save(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(ValueError, match=r"poster\.png is not a readable image: .*2000 pixels"):
        read(file)


@pytest.mark.parametrize(
    ("dtype", "kind"), [(np.float32, "floating-point"), (np.int32, "32-bit"), (np.uint32, "32-bit")]
)
def test_pixels_whose_white_is_not_known_are_refused(
    dtype: type[np.generic], kind: str, tmp_path: Path
) -> None:
    Image.fromarray(pixels()[..., 0].astype(dtype)).save(tmp_path / "a.tif")
    message = rf"a\.tif is not a readable image: its pixels are {kind} numbers; save it with 8 or"
    with pytest.raises(ValueError, match=message):
        read_image(tmp_path / "a.tif")


def test_large_metadata_are_no_fault_of_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = PngInfo()
    about.add_text("comment", "x" * (3 << 20), zip=True)
    Image.fromarray(pixels()).save(tmp_path / "a.png", pnginfo=about)
    assert np.array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0).numpy(), pixels())
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1000)
    with pytest.raises(ValueError, match=r"a\.png is not a readable image: .*too large"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_a_photograph_of_a_phone_is_turned_upright(suffix: str, tmp_path: Path) -> None:
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:8, :24] = 255
    turns = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
    turns |= {8: Image.Transpose.ROTATE_270, 2: Image.Transpose.FLIP_LEFT_RIGHT}
    for orientation, turn in turns.items():
        image, exif = Image.fromarray(upright), Image.Exif()
        exif[0x0112] = orientation
        file = tmp_path / f"{orientation}.{suffix}"
        (image if turn is None else image.transpose(turn)).save(file, exif=exif, quality=95)
        read = read_upright_image(file)
        assert read.orientation == orientation
        assert read.pixels.shape == (3, 40, 60)
        assert (read.pixels[:, 2:6, 2:20] > 200).all()
        assert (read.pixels[:, 20:, 30:] < 50).all()
        if orientation != 1 and suffix == "jpg":
            stored = (40, 60) if orientation in {2, 3} else (60, 40)
            assert read_image(file).shape[1:] == stored, "a data set is read as it is stored"


def test_sixteen_bits_that_are_turned_are_not_clipped(tmp_path: Path) -> None:
    ramp, exif = np.arange(256, dtype=np.uint16).reshape(16, 16), Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(ramp * 257).save(tmp_path / "deep.png", exif=exif)
    pixels = read_upright_image(tmp_path / "deep.png").pixels
    assert np.array_equal(pixels[0].numpy(), ramp[::-1, ::-1])


def test_a_photograph_in_heif_names_the_package_or_is_read_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "IMG_1.HEIC"
    Image.fromarray(pixels()).save(file, "PNG")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"IMG_1\.HEIC .* needs pip install pillow-heif"):
        read_upright_image(file)
    calls: list[bool] = []
    package = types.SimpleNamespace(register_heif_opener=lambda: calls.append(True))
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    assert read_upright_image(file).pixels.shape == (3, 40, 50)
    assert calls
