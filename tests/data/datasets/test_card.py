from deepsal.data.datasets.card import ArchiveAddress, CardTable, DatasetCard

CARD = DatasetCard(
    "toy",
    "Toy",
    None,
    "Nobody 2020",
    3,
    None,
    2,
    1.5,
    None,
    24.0,
    8.0,
    "1/1/1",
    (ArchiveAddress("a"),),
)


def test_cards_print_as_a_table_and_what_is_unknown_is_a_dash() -> None:
    header, row = str(CardTable([CARD])).splitlines()
    assert header.split() == [
        "data=",
        "images",
        "fixations",
        "people",
        "s",
        "px/°",
        "blur",
        "licence",
    ]
    assert row.split() == ["toy", "3", "–", "2", "1.5", "24", "8", "not", "stated"]


def test_the_table_fits_80_columns() -> None:
    assert max(map(len, str(CardTable([CARD] * 3)).splitlines())) <= 80
