"""Callbacks that look at a training, and what they write to."""

from deepsal.callbacks.show_predictions import ShowPredictions as ShowPredictions
from deepsal.callbacks.watch_fields import WatchReceptiveFields as WatchReceptiveFields
