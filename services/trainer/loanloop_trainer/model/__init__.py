"""All that learns, and the only place that imports torch: `train`, then `export` into a bundle."""

import os

# A training shares its cores with broker, database and predictor. OpenMP's threads wait for each other by spinning,
# which then takes the cores from whoever holds up the others: 50 times slower beside two other busy processes.
# Read when torch is loaded, hence above every import.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # noqa: TID251  # not a setting of loanloop

from loanloop_trainer.model.data import TrainingData
from loanloop_trainer.model.export import export
from loanloop_trainer.model.progress import Progress
from loanloop_trainer.model.training import TrainedModel, train

__all__ = ["Progress", "TrainedModel", "TrainingData", "export", "train"]
