import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

import deepsal.data
from deepsal.data.index import PUBLISHED_DATASETS, RELEASE_SOURCES, dataset_cards, load_dataset

CONF = Path(__file__).parents[2] / "conf" / "data"


def test_every_release_has_a_card_an_option_and_a_loader_of_one_name() -> None:
    for card, loader in PUBLISHED_DATASETS.values():
        option = yaml.safe_load((CONF / f"{card.name}.yaml").read_text())
        assert option["name"] == card.name
        assert option["dataset"]["_target_"] == f"deepsal.data.{card.name}"
        assert getattr(deepsal.data, card.name) is loader


def test_every_option_with_files_has_a_card() -> None:
    options = {option.stem for option in CONF.glob("*.yaml")}
    assert (
        options - {card.name for card in dataset_cards()}
        == {"folder", "hdf5", "mix", "popout"} & options
    )


def test_the_table_of_all_cards_fits_80_columns() -> None:
    lines = str(dataset_cards()).splitlines()
    assert max(map(len, lines)) <= 80
    names = [card.name for card in dataset_cards()]
    assert [line.split()[0] for line in lines[1 : len(names) + 1]] == names


def test_the_layout_of_every_release_stands_in_the_table() -> None:
    text = " ".join(str(dataset_cards()).split())
    assert all(card.layout and card.layout in text for card in dataset_cards())
    assert all(card.layout.startswith(f"{card.name}/") for card in dataset_cards())


@pytest.mark.parametrize("name", [*PUBLISHED_DATASETS])
def test_every_release_that_is_not_there_says_which_option_to_set(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no .* here: .*{name}.* set data_dir=FOLDER"):
        load_dataset(name, tmp_path)


def test_a_folder_in_the_generic_layout_is_known_by_its_name(tmp_path: Path) -> None:
    root = tmp_path / "meine Bilder"
    (root / "images").mkdir(parents=True)
    names = ["ä b.png", "c.png", "d.png"]
    for name in names:
        Image.new("RGB", (4, 4)).save(root / "images" / name)
    (root / "images.csv").write_text(
        "image,width,height\n" + "".join(f"{n},4,4\n" for n in names), encoding="utf-8"
    )
    (root / "fixations.csv").write_text(
        "image,subject,index,x,y\n" + "".join(f"{n},0,0,1,2\n" for n in names), encoding="utf-8"
    )
    assert [s.name for s in load_dataset("meine Bilder", tmp_path).stimuli] == names


def test_an_unknown_name_lists_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no data set 'ozie': the choices are \['osie'"):
        load_dataset("ozie", tmp_path)


def test_every_published_data_set_has_a_source() -> None:
    names = {re.sub(r"^salicon20(15|17)$", "salicon", name) for name in RELEASE_SOURCES}
    assert names == set(PUBLISHED_DATASETS)


def test_a_source_is_a_pinned_commit_or_archives_with_checksums() -> None:
    for source in RELEASE_SOURCES.values():
        assert bool(source.archives) != bool(source.repository)
        assert not source.repository or re.search(r"/[0-9a-f]{40}$", source.repository)
        assert all(re.fullmatch(r"[0-9a-f]{32}", archive.md5) for archive in source.archives)
