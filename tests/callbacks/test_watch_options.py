from typing import Any

import pytest

from deepsal.callbacks.watch_options import WatchOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": ["conv7"]}, r"rf.stages.*conv7.*conv1"),
        ({"sources": ["bottomk"]}, r"rf.sources.*bottomk.*strongest"),
        ({"sources": ["natural"]}, r"rf.method=gradient.*natural.*centred"),
        (
            {"method": "reverse_correlation", "sources": ["centred"]},
            r"must start with.*natural.*rf.method=gradient",
        ),
        ({"target": 1.0}, r"rf.target=1.0"),
        ({"pairs": 7}, r"rf.pairs=7.*8 or more"),
        ({"method": "magic"}, r"magic.*gradient"),
    ],
)
def test_bad_options_say_what_would_be_right(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WatchOptions(**options)


def test_sources_follow_from_the_method() -> None:
    noise, guided = WatchOptions(method="reverse_correlation"), WatchOptions(method="guided")
    assert noise.all_sources == ["natural", "grey", "strongest"]
    assert (noise.noise_sources, noise.patch_method) == (["natural", "grey"], "gradient")
    assert guided.all_sources == ["centred", "strongest"]
    assert (guided.noise_sources, guided.patch_method) == ([], "guided")
