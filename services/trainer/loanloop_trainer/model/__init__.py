"""All that learns, and the only place that imports torch: `train`, then `export` into a bundle."""

from loanloop_trainer.model.data import TrainingData
from loanloop_trainer.model.exporting import export
from loanloop_trainer.model.progress import Progress
from loanloop_trainer.model.ranks import ALONE, Ranks
from loanloop_trainer.model.trained import TrainedModel
from loanloop_trainer.model.training import Hooks, follow, learn_alone, train

__all__ = [
    "ALONE",
    "Hooks",
    "Progress",
    "Ranks",
    "TrainedModel",
    "TrainingData",
    "export",
    "follow",
    "learn_alone",
    "train",
]
