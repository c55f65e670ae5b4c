import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra import initialize_config_dir
from PIL import Image

from deepsal.__main__ import main
from tests.support import RECORD_MODULES, ROOT, SMALL, write_checkpoint

OPTIONS = [*SMALL, "logger=csv", "rf=none"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield write_checkpoint(tmp_path_factory.mktemp("run"), *OPTIONS).parents[1]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        pixels = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "in" / name)
    return tmp_path / "in"


def test_images_are_predicted_with_a_summary(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("image,label,x0,y0,x1,y1\na.png,text,0,0,10,10\n")
    out = tmp_path / "out"
    command = ["predict", str(images), "--ckpt", str(run_folder), "--to", str(out)]
    command += ["--box", "left=0,0,20,30", "--boxes", str(boxes), "--device", "cpu"]
    assert main(command) == 0
    assert capsys.readouterr().out == f"2 of 2 images predicted, in {out}\n"
    rows = json.loads((out / "a.json").read_text())["boxes"]
    assert [row["label"] for row in rows] == ["left", "text"]
    assert main(command) == 1
    assert "a.overlay.png exists (and 5 more); set --overwrite" in capsys.readouterr().err
    (images / "c.png").write_text("no image")
    assert main([*command, "--overwrite"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("2 of 3 images predicted")
    assert printed.err.count("\n") == 1


def test_a_comparison_is_a_table_of_80_columns(
    run_folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", "--ckpt", str(run_folder), "--to", str(tmp_path / "out"), "--format"]
    command += ["hdf5", "--compare", str(images / "a.png"), str(images / "b.png")]
    assert main([*command, "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == [
        *("top_left", "top_right", "bottom_left", "bottom_right")
    ]
    assert max(len(line) for line in lines[:-1]) <= 80
    assert lines[5].startswith("similarity of the two maps: CC ")
    assert (tmp_path / "out" / "comparison.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no image is named; add files, folders or patterns, or --compare A B"),
        (["{in}", "--format", "tiff"], "--format tiff: set npy or hdf5"),
        (["{in}", "--box", "a=1"], "--box a=1: a box is a label and four"),
        (["{in}/*.gif"], "holds no image"),
        (["gone.png"], "gone.png does not exist; name image files or folders"),
        (["{in}", "--boxes", "gone.csv"], "--boxes gone.csv cannot be read (No such file"),
        (["{in}", "--compare", "{in}", "{in}/a.png"], "set two different image files"),
    ],
)
def test_a_wrong_option_is_one_line_before_torch_is_imported(
    arguments: list[str], message: str, images: Path, tmp_path: Path
) -> None:
    options = [argument.replace("{in}", str(images)) for argument in arguments]
    options += ["--ckpt", "run", "--to", str(tmp_path / "out")]
    script, modules = "deepsal/__main__.py", tmp_path / "modules"
    done = subprocess.run(
        [sys.executable, "-c", RECORD_MODULES, str(modules), script, "predict", *options],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "torch" not in modules.read_text().split()


def test_a_wrong_checkpoint_is_one_line_with_the_options_of_this_command(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(images), "--ckpt", "gone", "--to", str(tmp_path / "out")]) == 1
    assert "--ckpt gone" in capsys.readouterr().err
    (bad := tmp_path / "bad.ckpt").touch()
    assert main(["predict", str(images), "--ckpt", str(bad), "--to", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"--ckpt {bad} is no checkpoint of deepsal; set --ckpt FILE to a ")
    assert "  " not in line
    assert not (tmp_path / "out").exists()


def test_the_package_imports_no_library_of_networks() -> None:
    code = "import sys, deepsal; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
