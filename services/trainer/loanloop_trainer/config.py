"""The settings of the trainer; only app.py and torchrun.py read them."""

from loanloop_common.settings import LONGEST_S, ServiceSettings
from pydantic import BaseModel, Field


class TrainerOptions(BaseModel):
    processes: int = Field(
        default=1,
        ge=0,
        le=1024,
        description="That learn together; each has its own threads. 0: runs are left to torchrun",
    )
    threads: int = Field(
        default=0, ge=0, le=1024, description="Of each training process; 0: one for each core they share"
    )
    niceness: int = Field(default=5, ge=0, le=19, description="Of the training process: what serves goes first")
    seed: int = Field(default=0, ge=0, le=4_294_967_295)
    poll_s: float = Field(default=3.0, gt=0, le=LONGEST_S, description="Looks for work this often, wake-ups apart")
    checkpoint_every_s: float = Field(default=5.0, gt=0, le=LONGEST_S)
    stale_after_s: float = Field(
        default=15.0, gt=3, le=LONGEST_S, description="A run without a heartbeat for so long is taken over"
    )
    stalls_after_s: float = Field(
        default=600.0,
        gt=0,
        le=LONGEST_S,
        description="A training without a step for so long is ended; 12 × in a phase without steps",
    )


class TrainerSettings(ServiceSettings):
    trainer: TrainerOptions = TrainerOptions()


class TorchrunSettings(TrainerSettings):
    restarts: int = Field(
        default=0, ge=0, le=1_000_000, validation_alias="TORCHELASTIC_RESTART_COUNT", description="By torchrun"
    )
