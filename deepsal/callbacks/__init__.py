"""Lightning callbacks that record receptive fields and predictions through training."""

from deepsal.callbacks.show_predictions import ShowPredictions as ShowPredictions
from deepsal.callbacks.watch_fields import WatchReceptiveFields as WatchReceptiveFields
