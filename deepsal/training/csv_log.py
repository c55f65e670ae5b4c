"""CSV log of a run, `metrics.csv`, that stays whole when the process is killed."""

import csv
import os
import warnings
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from deepsal.atomic import replace_file


class CsvRowWriter(ExperimentWriter):
    """Writer that appends rows to an existing file; a new column rewrites the file atomically."""

    def read_rows(self) -> list[dict[str, str]]:
        """Return the rows of the file."""
        file = Path(self.metrics_file_path)
        if not file.is_file():
            return []
        with file.open(newline="", encoding="utf-8") as lines:
            return list(csv.DictReader(lines))

    def truncate(self, row_count: int) -> None:
        """Drop all rows after the first `row_count`, such as those of a killed process."""
        self.metrics, self.metrics_keys = [], []
        rows = self.read_rows()[:row_count]
        if rows:
            self.metrics_keys = list(rows[0])
            self._write(rows)
        else:
            Path(self.metrics_file_path).unlink(missing_ok=True)

    def _write(self, rows: list[dict[str, str]]) -> None:
        with (
            replace_file(Path(self.metrics_file_path)) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)

    @override
    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._write(self.read_rows())

    @override
    def _check_log_dir_exists(self) -> None:
        """Read the columns of an existing file, which Lightning's writer would delete."""
        if Path(self.metrics_file_path).is_file():
            with open(self.metrics_file_path, newline="", encoding="utf-8") as lines:
                self.metrics_keys = list(next(csv.reader(lines), []))


class MetricsCsvLogger(CSVLogger):
    """Logger that writes `metrics.csv` in the run folder and continues it in a resumed run.

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

    def flush_and_count_rows(self) -> int:
        """Write all logged rows, and return the number of rows in the file (0 on other ranks)."""
        if rank_zero_only.rank:  # type: ignore[attr-defined]
            return 0
        self.save()
        return len(self.experiment.read_rows())

    @rank_zero_only
    def truncate(self, row_count: int) -> None:
        """Drop all rows of the file after the first `row_count`."""
        self.experiment.truncate(row_count)


def csv_logger(folder: str | Path) -> MetricsCsvLogger:
    """Return the logger that writes `metrics.csv` in the run folder."""
    # the folder is not empty (it holds the run's configuration), see
    # https://github.com/Lightning-AI/pytorch-lightning/pull/19446
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists")
    return MetricsCsvLogger(folder)
