import pytest

from deepsal.rf.tuning.grating_protocol import SHORT_PROTOCOL, GratingProtocol


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels_per_degree": 5.0}, "set it to 12.3 or more"),
        ({"phase": (0.0, 120.0, 240.0)}, "3 phases"),
        ({"centres": 0}, "centres=0"),
    ],
)
def test_a_protocol_that_cannot_be_shown_is_an_error(
    change: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GratingProtocol(**change)  # type: ignore[arg-type]


def test_frequencies_that_the_pixels_do_not_show_are_left_out() -> None:
    shown = GratingProtocol(pixels_per_degree=14.0).tuning_frequencies()
    assert shown.max() == 6.69
    assert not len(SHORT_PROTOCOL.tuning_frequencies())
