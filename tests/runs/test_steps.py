import logging
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from deepsal.runs import steps
from deepsal.training.csv_log import csv_logger


def test_an_unknown_step_lists_the_choices_before_anything_is_seeded() -> None:
    torch.manual_seed(1)
    with pytest.raises(ValueError, match=r"\[train\]: no such step; the choices are fit, test"):
        steps.prepare_run(["fit", "train"], 0)
    assert torch.initial_seed() == 1


def test_rows_of_two_ranks_come_in_the_order_of_the_images_each_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b, c = ({"name": name} for name in "abc")

    def gather(parts: list[object], mine: object) -> None:
        parts[:] = [mine, [b, a]]  # three images for two ranks: the first comes again

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    assert steps.gather_rows([a, c], 3, 2) == [a, b, c]
    assert steps.gather_rows([a, c], 2, 1) == [a, c]


def test_a_gpu_without_enough_memory_says_which_options_need_less() -> None:
    options = r"data\.batch_size or data\.size, or trainer\.precision=bf16-mixed"
    with pytest.raises(MemoryError, match=options), steps.plain_fit_errors():
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_begin_silences_lightnings_notes_but_not_its_warnings() -> None:
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    logging.getLogger("pytorch_lightning").setLevel(logging.INFO)
    steps.prepare_run([], 0)
    assert logger.getEffectiveLevel() == logging.WARNING


def test_a_callback_or_logger_that_is_left_out_is_not_passed_on(tmp_path: Path) -> None:
    csv = csv_logger(tmp_path)
    objects = {"callbacks": {"show": None}, "logger": {"csv": csv, "wandb": None}}
    build = partial(pl.Trainer, accelerator="cpu", enable_checkpointing=False)
    trainer = steps.with_trainer({**objects, "trainer": build})["trainer"]
    assert trainer.loggers == [csv]
