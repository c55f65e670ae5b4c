"""Callbacks that look at a training, and what they write to."""

from deepsal.callbacks.show_predictions import ShowPredictions as ShowPredictions
from deepsal.callbacks.watch_fields import WatchReceptiveFields as WatchReceptiveFields
from deepsal.runs.claims import Judge as Judge
from deepsal.runs.export import Export as Export
from deepsal.training.checkpoints import Checkpoints as Checkpoints
from deepsal.training.checkpoints import Last as Last
from deepsal.training.checkpoints import best as best
from deepsal.training.checkpoints import newest as newest
from deepsal.training.csv_log import csv_logger as csv_logger
from deepsal.training.preemption import Preempted as Preempted
from deepsal.training.preemption import Requeue as Requeue
from deepsal.training.progress import progress as progress
from deepsal.training.wandb_log import WeightsAndBiases as WeightsAndBiases
