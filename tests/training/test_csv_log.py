from pathlib import Path

from deepsal.training.csv_log import csv_logger


def write(folder: Path, steps: range, **more: float) -> None:
    logger = csv_logger(folder)
    for step in steps:
        logger.log_metrics({"loss": step / 2, **more}, step)
    logger.save()


def test_a_second_process_goes_on_where_a_checkpoint_stood(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    write(whole, range(4))
    write(whole, range(4, 6), nss=1.0)
    write(cut, range(5))
    with (cut / "metrics.csv").open("a") as file:
        file.write("7,")  # killed while it wrote
    logger = csv_logger(cut)
    logger.truncate(4)
    assert logger.flush_and_count_rows() == 4
    write(cut, range(4, 6), nss=1.0)
    assert (whole / "metrics.csv").read_bytes() == (cut / "metrics.csv").read_bytes()


def test_keeping_nothing_starts_a_new_file(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    logger = csv_logger(tmp_path)
    logger.truncate(0)
    assert logger.flush_and_count_rows() == 0
    assert not (tmp_path / "metrics.csv").exists()
