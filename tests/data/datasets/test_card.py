from deepsal.data.datasets.card import Archive, Card, Cards

CARD = Card(
    "toy", "Toy", None, "Nobody 2020", 3, None, 2, 1.5, None, 24.0, 8.0, "1/1/1", (Archive("a"),)
)


def test_cards_print_as_a_table_and_what_is_unknown_is_a_dash() -> None:
    header, row = str(Cards([CARD])).splitlines()
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
    assert max(map(len, str(Cards([CARD] * 3)).splitlines())) <= 80
