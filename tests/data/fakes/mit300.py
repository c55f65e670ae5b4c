from pathlib import Path

from PIL import Image

from deepsal.data import mit300
from tests.data.fakes.fake import Fake


def write(data_dir: Path) -> None:
    folder = data_dir / "mit300" / "BenchmarkIMAGES"
    (folder / "SM").mkdir(parents=True)
    for i in range(1, 301):
        Image.new("RGB", (8, 6)).save(folder / f"i{i}.jpg")


MIT300 = Fake(
    name="mit300",
    load=mit300,
    write=write,
    images=300,
    fixations=None,
    splits=(0, 0, 300),
    image="BenchmarkIMAGES/i7.jpg",
    table=None,
    points=lambda *_: [],
    listed=False,
    archives={"BenchmarkIMAGES.zip": ("BenchmarkIMAGES", "BenchmarkIMAGES")},
)
