from typing import Any

import pytest

from deepsal.runs.option_ranges import OPTION_RANGES, Choice, checked_options


def option(name: str, value: Any) -> dict[str, Any]:
    for key in reversed(name.split(".")):
        value = {key: value}
    return dict(value)


@pytest.mark.parametrize(
    ("name", "value", "phrase"),
    [
        ("optim.lr", -1, "optim.lr=-1 must be a number, above 0"),
        ("optim.lr", float("nan"), "optim.lr=nan must be a number, above 0"),
        ("optim.lr", "fast", "optim.lr=fast must be a number, above 0"),
        ("seed", True, "seed=true must be a whole number, 0 or more, at most 4294967295"),
        ("seed", 2**32, "seed=4294967296 must be a whole number"),
        ("trainer.max_epochs", 2.0, "trainer.max_epochs=2.0 must be a whole number, 1 or more"),
        ("data.size", [64], r"data.size=\[64\] must be a list of 2, each a whole number, 32 or"),
        ("data.size", 64, "data.size=64 must be a list of 2"),
        ("data.dataset.rows", [6, 4], "in ascending order"),
        ("tested.dataset.jitter", 1, "tested.dataset.jitter=1 must be a number, 0 or more"),
        (
            "rf.sources",
            [],
            r"rf.sources=\[\] must be a list of one or more different names, or null",
        ),
        ("rf.stages", [1], r"rf.stages=\[1\] must be a list of one or more different names"),
        ("decoder.stages", ["conv5", "conv5"], r"decoder.stages=\[conv5,conv5\] must be a list of"),
        ("claims.controls", ["a", "a"], "must be a list of different names"),
        ("callbacks.average.decay", 1, "callbacks.average.decay=1 must be .* at most 0.99999"),
        ("rf.units", 0, "rf.units=0 must be a whole number, 1 or more, or a list of one or more"),
        ("data.device_cache", 1, "data.device_cache=1 must be true or false, or null"),
        *[
            ("trainer.devices", each, "must be a number of devices, 1 or more; -1 or auto for all")
            for each in (0, -2, "0", "all", "", ",", 1.0, True, [], [-1], None)
        ],
        ("finetune.lr_scale", {"conv6": 1}, "numbers by stage .conv1, conv2, conv3, conv4, conv5"),
    ],
)
def test_an_option_out_of_range_is_named_with_the_values_to_set(
    name: str, value: Any, phrase: str
) -> None:
    with pytest.raises(ValueError, match=phrase):
        checked_options(option(name, value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optim.lr", 1e-4),
        ("optim.lr", 1),
        ("trainer.limit_train_batches", 1.0),
        *[("trainer.devices", each) for each in (1, -1, "auto", "-1", "2", "0,", "0, 1", [0])],
        ("rf.units", [0, 7]),
        ("rf.sources", None),
        ("finetune.lr_scale", {"conv5": 0.5}),
        ("data.dataset.sigma", "???"),
        ("data.dataset.sigma", None),  # the column of images.csv
        ("data.cache_dir", "anything"),
        ("do", []),
    ],
)
def test_a_value_in_range_stays(name: str, value: Any) -> None:
    assert checked_options(option(name, value)) == option(name, value)


def test_the_values_to_set_are_each_named_once() -> None:
    for name, ranges in OPTION_RANGES.items():
        choices = [str(each).split(" or ") for each in ranges if isinstance(each, Choice)]
        values = [value for choice in choices for value in choice]
        assert len({*values}) == len(values), name


@pytest.mark.parametrize(
    "name",
    [
        *("do", "rf.stages", "callbacks.watch.stages", "data.test.viewings", "task.score.names"),
        *("decoder.stages", "network.decoder.stages", "task.network.decoder.stages"),
    ],
)
def test_a_name_alone_is_a_list_where_an_option_is_one(name: str) -> None:
    assert checked_options(option(name, "test")) == option(name, ["test"])


@pytest.mark.parametrize(
    ("option", "copies"),
    [
        ("rf.stages", ["callbacks.watch.stages"]),
        ("decoder.stages", ["task.network.decoder.stages", "network.decoder.stages"]),
    ],
)
def test_a_value_that_several_options_share_is_named_once_as_it_is_typed(
    option: str, copies: list[str]
) -> None:
    for order in (1, -1):
        config: dict[str, Any] = {"seed": -1}
        for name in [*copies, option][::order]:
            node = config
            *groups, last = name.split(".")
            for group in groups:
                node = node.setdefault(group, {})
            node[last] = []
        with pytest.raises(ValueError, match=r"seed=-1") as raised:
            checked_options(config)
        assert str(raised.value).count("=[]") == 1
        assert f"; {option}=[]" in str(raised.value)


@pytest.mark.parametrize("typed", ["tested.dataset", "mixed.second.dataset"])
def test_a_data_set_inside_another_is_named_by_the_option_that_is_typed(typed: str) -> None:
    wrong = {"sigma": -1}
    config: dict[str, Any] = {"data": {"test": None, "dataset": {"datasets": [{}, wrong]}}}
    if typed == "tested.dataset":
        config = {"data": {"test": wrong}}
    with pytest.raises(ValueError, match=rf"^{typed}.sigma=-1 must be a number, above 0, or null$"):
        checked_options({**config, **option(typed, wrong)})
