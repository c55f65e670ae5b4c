"""Ranges of the numeric and list options of a run, checked before any work."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from deepsal.vocabulary import FITS, STAGES


class Number(NamedTuple):
    """Finite number from `low` to `high`; `above`: `low` itself is out of range."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    above: bool = False

    def accepts(self, value: Any) -> bool:
        """Return whether a value is such a number."""
        kinds = (int,) if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
            return False
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        """Return the phrase.

        >>> print(Number(1, whole=True), "/", Number(0, 1, above=True))
        a whole number, 1 or more / a number, above 0, at most 1
        """
        low = f", above {self.low:g}" if self.above else f", {self.low:.10g} or more"
        high = f", at most {self.high:.10g}"
        kind = "a whole number" if self.whole else "a number"
        return kind + low * math.isfinite(self.low) + high * math.isfinite(self.high)


class Numbers(NamedTuple):
    """List of numbers; a `length` of 0 is any but 0; `ascending`: none below the one before."""

    each: Number
    length: int = 0
    ascending: bool = False

    def accepts(self, value: Any) -> bool:
        """Return whether a value is such a list."""
        if not isinstance(value, list) or len(value) != (self.length or max(1, len(value))):
            return False
        numbers = all(self.each.accepts(number) for number in value)
        return numbers and (not self.ascending or value == sorted(value))

    def __str__(self) -> str:
        """Return the phrase."""
        order = ", in ascending order" if self.ascending else ""
        return f"a list of {self.length or 'one or more'}, each {self.each}{order}"


class Names(NamedTuple):
    """List of different names, `least` or more; a name alone stands for a list of one."""

    least: int = 1

    def accepts(self, value: Any) -> bool:
        """Return whether a value is such a list."""
        if not isinstance(value, list) or len(value) < self.least or not _are_texts(value):
            return False
        return len(set(value)) == len(value)

    def __str__(self) -> str:
        """Return the phrase."""
        return f"a list of {'one or more ' * (self.least > 0)}different names"


class Choice(NamedTuple):
    """One of some values, which are of one type: `1` is not `true`."""

    values: tuple[Any, ...]

    def accepts(self, value: Any) -> bool:
        """Return whether a value is one of them."""
        return any(type(value) is type(choice) and value == choice for choice in self.values)

    def __str__(self) -> str:
        """Return the phrase."""
        return " or ".join("null" if v is None else str(v).lower() for v in self.values)


class AnyText(NamedTuple):
    """Any text."""

    def accepts(self, value: Any) -> bool:
        """Return whether a value is a text."""
        return isinstance(value, str)

    def __str__(self) -> str:
        """Return the phrase."""
        return "a text"


class ByStage(NamedTuple):
    """Numbers by stage, such as `{conv5: 0.1}`."""

    each: Number

    def accepts(self, value: Any) -> bool:
        """Return whether a value is such a mapping."""
        return isinstance(value, Mapping) and all(
            stage in STAGES and self.each.accepts(number) for stage, number in value.items()
        )

    def __str__(self) -> str:
        """Return the phrase."""
        return f"such numbers by stage ({', '.join(STAGES)})"


class Devices(NamedTuple):
    """Devices of Lightning's trainer."""

    def accepts(self, value: Any) -> bool:
        """Return whether a value is a number of devices, all of them, or their indices."""
        if isinstance(value, str):
            return bool(re.fullmatch(r"-1|auto|[1-9]\d*|(\d+, *)+\d*", value))
        return any(each.accepts(value) for each in (COUNT, Choice((-1,)), Numbers(NATURAL)))

    def __str__(self) -> str:
        """Return the phrase."""
        return "a number of devices, 1 or more; -1 or auto for all; or indices such as [0,1]"


OptionRange = Number | Numbers | Names | Choice | AnyText | Devices | ByStage
"""Values that an option may have; its text is a phrase for an error."""
COUNT, NATURAL = Number(1, whole=True), Number(0, whole=True)
POSITIVE, WEIGHT, FRACTION = Number(0, above=True), Number(0), Number(0, 1)
SEED = Number(0, 2**32 - 1, whole=True)
SIZE = Numbers(Number(32, 16384, whole=True), 2)
"""(height, width); the last of five stages has a stride of 32."""
PAIRS, RELIABILITY = Number(8, whole=True), Number(0.01, 0.99)
"""Pairs of noise images, one or more in each of eight blocks; the reliability that they reach."""
NULL, FLAG = Choice((None,)), Choice((True, False))
SHARE = (COUNT, Number(0, 1, above=True), NULL)
"""Number of batches, or a fraction of them."""

OPTION_RANGES: dict[str, tuple[OptionRange, ...]] = {
    "do": (Names(0),),
    "seed": (SEED,),
    "noise_pairs.*": (PAIRS,),
    "size_tuning.*": (FLAG,),
    "callbacks.average.decay": (Number(0, 0.99999),),  # 1 averages nothing but the first step
    "callbacks.show.images": (COUNT,),
    "callbacks.show.every_n_epochs": (COUNT,),
    "claims.backgrounds": (Names(),),
    "claims.built_in": (Names(0),),
    "claims.controls": (Names(0),),
    "claims.images": (Number(2, whole=True),),
    "claims.names": (Names(),),
    "claims.pairs": (PAIRS,),
    "claims.plantings": (Number(2, whole=True),),
    "claims.run.seed": (SEED,),
    "claims.stages": (Names(),),
    "claims.target": (RELIABILITY,),
    "claims.tuning": (FLAG,),
    "claims.units": (COUNT, Numbers(NATURAL), NULL),
    "claims.window": (Number(3, whole=True), NULL),
    "data.batch_size": (COUNT,),
    "data.cache_gib": (WEIGHT,),
    "data.colour": (FRACTION,),
    "data.crop": (Number(0.1, 1),),
    "data.device_cache": (FLAG, NULL),
    "data.fit": (Choice(FITS),),
    "data.flip": (FRACTION,),
    "data.keep": (FRACTION,),
    "data.num_workers": (Number(0, 1024, whole=True), NULL),
    "data.size": (SIZE,),
    "data.val_batch_size": (COUNT, NULL),
    "data.dataset.background": (Numbers(Number(0, 255), 2, ascending=True),),
    "data.dataset.categories": (Names(), NULL),
    "data.dataset.contrasts": (Numbers(Number(0, 1, above=True)), NULL),
    "data.dataset.datasets": (),
    "data.dataset.features": (Names(),),
    "data.dataset.fixations": (COUNT,),
    "data.dataset.fold": (NATURAL,),
    "data.dataset.images": (Numbers(NATURAL, 3),),
    "data.dataset.jitter": (Number(0, 0.25),),
    "data.dataset.off_image_limit": (FRACTION,),
    "data.dataset.pixels_per_degree": (POSITIVE, NULL),
    "data.dataset.release": (COUNT,),
    "data.dataset.rows": (Numbers(Number(2, 64, whole=True), 2, ascending=True),),
    "data.dataset.seed": (SEED,),
    "data.dataset.sigma": (POSITIVE, NULL),
    "data.dataset.size": (SIZE,),
    "data.dataset.split": (Choice(("all", "val", None)),),
    "data.dataset.viewings": (Names(),),
    "data.dataset.weights": (Numbers(POSITIVE), NULL),
    "decoder.stages": (Names(),),
    "decoder.width": (COUNT,),
    "export.fit": (Choice(FITS),),
    "export.size": (SIZE,),
    "finetune.lr_scale": (WEIGHT, ByStage(WEIGHT)),
    "finetune.norm_only": (FLAG,),
    "logger.wandb.artifacts": (FLAG,),
    "logger.wandb.group": (AnyText(), NULL),
    "logger.wandb.job_type": (Names(0),),
    "logger.wandb.tags": (Names(0),),
    **{f"loss.{score}": (WEIGHT,) for score in ("kl", "cc", "nss", "sim")},
    "network.bandwidth": (POSITIVE, NULL),
    "network.bandwidths": (Numbers(POSITIVE),),
    "network.cells": (Number(2, 512, whole=True),),
    "network.centre_weight": (FRACTION, NULL),
    "network.concentration": (POSITIVE, NULL),
    "network.longest": (Number(64, 16384, whole=True),),
    "network.smooth": (WEIGHT,),
    "network.uniform_weight": (FRACTION, NULL),
    "optim.lr": (POSITIVE,),
    "optim.optimizer.momentum": (Number(0, 1),),
    "optim.optimizer.weight_decay": (WEIGHT,),
    "rf.every_n_epochs": (COUNT,),
    "rf.pairs": (PAIRS,),
    "rf.patches": (COUNT,),
    "rf.sources": (Names(), NULL),
    "rf.stages": (Names(),),
    "rf.target": (RELIABILITY,),
    "rf.tuning": (FLAG,),
    "rf.units": (COUNT, Numbers(NATURAL)),
    "rf.window": (Number(3, whole=True),),
    "score.emd": (FLAG,),
    "score.names": (Names(), NULL),
    "task.compile": (FLAG, Choice(("default", "reduce-overhead", "max-autotune"))),
    "trainer.accumulate_grad_batches": (COUNT,),
    "trainer.check_val_every_n_epoch": (COUNT,),
    "trainer.devices": (Devices(),),
    "trainer.enable_model_summary": (FLAG,),
    "trainer.fast_dev_run": (Choice((False,)),),
    "trainer.gradient_clip_val": (WEIGHT, NULL),
    "trainer.limit_test_batches": SHARE,
    "trainer.limit_train_batches": SHARE,
    "trainer.limit_val_batches": SHARE,
    "trainer.log_every_n_steps": (COUNT,),
    "trainer.max_epochs": (COUNT,),
    "trainer.max_steps": (COUNT, Choice((-1,))),
    "trainer.num_nodes": (COUNT,),
    "trainer.num_sanity_val_steps": (Number(-1, whole=True),),
    "trainer.val_check_interval": SHARE,
    "v1.all_units": (FLAG,),
    "v1.backgrounds": (NATURAL,),
    "v1.centres": (COUNT,),
    "v1.controls": (Names(0),),
    "v1.pixels_per_degree": (POSITIVE,),
    "v1.run.seed": (SEED,),
    "v1.seed": (SEED,),
    "v1.short": (FLAG,),
    "v1.stages": (Names(),),
    "v1.surround": (FLAG,),
    "v1.textures": (NATURAL,),
}
"""Ranges of each option, any of which it may be in; () for one that is no value."""
BUILT_DATASETS = r"^data\.(test|dataset\.datasets)\b"
"""Pattern of the data sets that `tested` and `mixed` state, where the data module has them."""
BUILT_PARTS = (
    rf"{BUILT_DATASETS}|^task\.(network|finetune|loss|score)\b|^network\.(backbone|decoder)\b"
    r"|^callbacks\.watch\b"
)
"""Pattern of options that repeat others, which are typed."""
COPIES = {
    r"^(tested|mixed\.\w+)\.": "data.",
    rf"{BUILT_DATASETS}\.": "data.dataset.",
    r"^callbacks\.watch\.": "rf.",
    r"^task\.(network|finetune|loss|score)\.": r"\1.",
    r"^network\.(backbone|decoder)\.": r"\1.",
    r"^noise_pairs\..+": "noise_pairs.*",
    r"^size_tuning\..+": "size_tuning.*",
}
"""Patterns of options that are copies of others, and the option that has the ranges."""


def checked_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in which a name alone is a list where an option is one.

    Args:
        config: plain values.

    Raises:
        ValueError: options are out of range; the message names each, and the values to set.
    """
    problems: dict[str, str] = {}
    checked = dict(_check_node(config, "", problems))
    if problems:
        raise ValueError("; ".join(f"{option}{problem}" for problem, option in problems.items()))
    return checked


def dataset_options(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that state the data sets to test on and to mix, by the sets' places.

    >>> dataset_options({"mixed": {"first": {}, "second": {}}})["data.dataset.datasets[1]"]
    'mixed.second.dataset'
    """
    options = {"data.test": "tested.dataset"}
    for i, name in enumerate(config.get("mixed") or ()):
        places = f"data.dataset.datasets{i}", f"data.dataset.datasets[{i}]"  # Hydra has both
        options |= dict.fromkeys(places, f"mixed.{name}.dataset")
    return options


def ranges_of(option: str) -> tuple[OptionRange, ...] | None:
    """Return the ranges of an option by its dotted name, None if it has none.

    >>> [str(each) for each in ranges_of("tested.dataset.seed")]
    ['a whole number, 0 or more, at most 4294967295']
    """
    for copy, original in COPIES.items():
        option = re.sub(copy, original, option)
    return OPTION_RANGES.get(option)


def _check_node(node: Any, option: str, problems: dict[str, str]) -> Any:
    """Return a checked node; a problem is stored once, with the option that can be typed."""
    ranges = ranges_of(option)
    if ranges and node != "???":  # a missing value is named when its object is built
        if isinstance(node, str) and any(isinstance(each, Names) for each in ranges):
            node = [node]
        if not any(each.accepts(node) for each in ranges):
            phrase = ", or ".join(map(str, ranges))
            problem = f"={as_typed(node)} must be {phrase}"
            if re.match(BUILT_PARTS, problems.get(problem, "data.test")):
                problems[problem] = option
        return node
    if isinstance(node, list):
        return [_check_node(value, option, problems) for value in node]
    if isinstance(node, Mapping):
        start = f"{option}." if option else ""
        return {key: _check_node(value, f"{start}{key}", problems) for key, value in node.items()}
    return node


def _are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) and value for value in values)


def as_typed(value: Any) -> str:
    """Return a value as it is typed on the command line.

    >>> as_typed([None, True, "a"])
    '[null,true,a]'
    """
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
