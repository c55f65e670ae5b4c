"""Options of the wrong type or range: one line at the start, never a traceback, never later."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import run
from deepsal.runs import steps
from deepsal.runs.option_ranges import ranges_of
from deepsal.runs.paths import flat_options
from deepsal.runs.process import one_line
from deepsal.terminal import PLAIN_ERRORS
from tests.support import ROOT, SMALL, composed, execute

GROUPS = sorted((ROOT / "conf").glob("[!h]*/*.yaml"))
NO_VALUES = ("ckpt", "control", "export.images", "claims.other_task", "data.dataset.datasets")
"""Options whose null stands for a text, and one that other options fill."""
FUZZED = [*SMALL, "logger=csv", "rf.units=2", "rf.patches=1", "do=[fit,test,claims,export]"]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 40),
    st.integers(),
    st.floats(),
    st.text("a0,:-", max_size=3),
    st.lists(st.integers(-1, 70), max_size=4),
    st.lists(st.text("ab", max_size=2), max_size=2),
    st.just({}),
    st.just({"conv5": -1}),
)


@pytest.fixture(autouse=True, scope="module")
def hydra_from_here() -> Iterator[None]:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


def value_options(config: DictConfig) -> dict[str, Any]:
    """Return the options that are numbers, flags, lists or null, but not copies of others."""
    options = flat_options(OmegaConf.to_container(config, resolve=False))
    return {
        option: value
        for option, value in options.items()
        if (value is None or isinstance(value, int | float | list))
        and not option.endswith("_partial_")
        and option not in {*NO_VALUES, "trainer.plugins"}
    }


def start_refusal(config: DictConfig) -> Exception | None:
    """Build the objects of a run and check its steps; return the plain error, if there is one."""
    try:
        values = run.plain_values(config)
        objects = steps.with_trainer(run.build_objects(values))
        steps.check_steps(objects, values["do"], objects["task"].network.backbone, None)
    except (*PLAIN_ERRORS, OmegaConfBaseException) as error:
        return error
    return None


@pytest.mark.parametrize("file", GROUPS, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_every_numeric_and_list_option_has_a_range(file: Path) -> None:
    config = compose("config", [f"{file.parent.name}={file.stem}", "output_dir=here"])
    options = value_options(config)
    assert not [option for option in options if not ranges_of(option)]


@pytest.mark.slow
@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_value_is_refused_in_one_line_or_builds(data: st.DataObject, tmp_path: Path) -> None:
    config = composed(tmp_path, *FUZZED)
    option = data.draw(st.sampled_from(sorted(value_options(config))))
    OmegaConf.update(config, option, data.draw(VALUES), merge=False)
    refusal = start_refusal(config)
    assert refusal is None or "\n" not in one_line(refusal)


LOWEST = [
    *("trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1"),
    *("data.dataset.images=[2,1,1]", "data.batch_size=2", "data.val_batch_size=1"),
    *("data.size=[32,32]", "data.dataset.size=[32,32]", "data.dataset.fixations=1"),
    *("data.dataset.rows=[2,2]", "data.dataset.jitter=0.0", "data.crop=0.1", "data.keep=0.0"),
    *("callbacks.show.images=1", "decoder.width=1", "network.smooth=0.0", "optim.lr=1e-12"),
    *("finetune.lr_scale=0.0", "optim.optimizer.weight_decay=0.0", "trainer.log_every_n_steps=1"),
    *("rf.method=gradient", "rf.units=1", "rf.patches=1", "rf.window=3", "data.cache_gib=0.0"),
    *("claims.units=1", "claims.images=2", "claims.window=3"),
    *("claims.pairs=8", "claims.plantings=2", "claims.built_in=[]"),
]


@pytest.mark.slow
def test_every_option_may_be_at_its_lowest(tmp_path: Path) -> None:
    assert execute(composed(tmp_path, *FUZZED, *LOWEST), tmp_path) is not None
