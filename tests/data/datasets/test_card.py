from deepsal.data.datasets.card import CardTable, DatasetCard, ReleaseArchive

CARD = DatasetCard(
    name="toy",
    title="Toy",
    citation="Nobody 2020",
    images=3,
    observers=2,
    viewing_seconds=1.5,
    pixels_per_degree=24.0,
    sigma=8.0,
    splits="1/1/1",
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


def test_an_archive_has_the_name_at_the_end_of_its_address_or_one_of_its_own() -> None:
    archive = ReleaseArchive("https://example.org/a/ALL.zip", "0" * 32, "ALL")
    assert archive.file_name == "ALL.zip"
    assert archive._replace(stored_name="images.zip").file_name == "images.zip"
