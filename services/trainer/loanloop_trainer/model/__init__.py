"""All that learns, and the only place that imports torch: `train`, then `export` into a bundle."""

import os

# OpenMP's threads spin while they wait, and so take the cores from the services beside a training: with both cores
# busy, two spinning threads learn nine times fewer rows per second of processor time. Read once, when torch is loaded.
os.putenv("OMP_WAIT_POLICY", "passive")

from loanloop_trainer.model.data import TrainingData
from loanloop_trainer.model.exporting import export
from loanloop_trainer.model.progress import Progress
from loanloop_trainer.model.training import TrainedModel, train

__all__ = ["Progress", "TrainedModel", "TrainingData", "export", "train"]
