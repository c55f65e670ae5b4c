"""Callbacks that look at a training, and what they write to."""

from deepsal.callbacks.keep import Checkpoints as Checkpoints
from deepsal.callbacks.keep import Last as Last
from deepsal.callbacks.keep import best as best
from deepsal.callbacks.keep import newest as newest
from deepsal.callbacks.log import WeightsAndBiases as WeightsAndBiases
from deepsal.callbacks.progress import progress as progress
from deepsal.callbacks.record import csv_logger as csv_logger
from deepsal.callbacks.requeue import Preempted as Preempted
from deepsal.callbacks.requeue import Requeue as Requeue
from deepsal.callbacks.show_predictions import ShowPredictions as ShowPredictions
from deepsal.callbacks.watch_fields import WatchReceptiveFields as WatchReceptiveFields
from deepsal.runs.claims import Judge as Judge
from deepsal.runs.export import Export as Export
