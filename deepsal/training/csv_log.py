"""The record of every run: `metrics.csv`, whole whatever happens to the process."""

import csv
import os
import warnings
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override


class CsvRowWriter(ExperimentWriter):
    """Appends rows to a file that may exist already; a new column rewrites it atomically."""

    def rows(self) -> list[dict[str, str]]:
        """Return the rows written so far."""
        file = Path(self.metrics_file_path)
        if not file.is_file():
            return []
        with file.open(newline="") as lines:
            return list(csv.DictReader(lines))

    def keep(self, count: int) -> None:
        """Drop all rows but the first so many, such as those of a killed process."""
        self.metrics, self.metrics_keys = [], []
        file = Path(self.metrics_file_path)
        rows = self.rows()[:count]
        if rows:
            self.metrics_keys = list(rows[0])
            self._write(rows)
        elif file.is_file():
            file.unlink()

    def _write(self, rows: list[dict[str, str]]) -> None:
        partial = f"{self.metrics_file_path}.partial"
        with open(partial, "w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(partial, self.metrics_file_path)

    @override
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._write(self.rows())

    @override
    def _check_log_dir_exists(self) -> None:
        """Lightning's writer deletes what is there; this one goes on."""
        if Path(self.metrics_file_path).is_file():
            with open(self.metrics_file_path, newline="") as lines:
                self.metrics_keys = list(next(csv.reader(lines), []))


class MetricsCsvLogger(CSVLogger):
    """`metrics.csv` in the run folder; a checkpoint knows how many of its rows it stands for.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, name="", version="")

    @property
    @override
    def experiment(self) -> CsvRowWriter:
        if self._experiment is None:
            os.makedirs(self.root_dir, exist_ok=True)
            self._experiment = CsvRowWriter(log_dir=self.log_dir)
        assert isinstance(self._experiment, CsvRowWriter)
        return self._experiment

    def count(self) -> int:
        """Write what is held back, and return how many rows the file has."""
        if rank_zero_only.rank:  # type: ignore[attr-defined]
            return 0
        self.save()
        return len(self.experiment.rows())

    @rank_zero_only
    def keep(self, count: int) -> None:
        """Drop all rows but the first so many."""
        self.experiment.keep(count)


def csv_logger(folder: str | Path) -> MetricsCsvLogger:
    """Return the record of a run: `metrics.csv` in its folder."""
    # the folder is not empty (it holds the run's configuration), see
    # https://github.com/Lightning-AI/pytorch-lightning/pull/19446
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists")
    return MetricsCsvLogger(folder)
