"""All that a process must be told to learn along with the first, which alone has seen the loans themselves."""

from dataclasses import dataclass

import numpy as np
import torch
from loanloop_common.features import EncodedBatch, Encoder
from loanloop_common.portfolio import ModelConfig
from torch import Tensor

from loanloop_trainer.domain.recency import Weights
from loanloop_trainer.domain.split import Mask
from loanloop_trainer.model.ranks import Ranks


@dataclass(frozen=True)
class EncodedLoans:
    """The older loans to learn from and the newer ones held out, by an encoder that saw only the former.

    `older_weights`: (B,) what each counts in the loss, 1 on average. `unlabelled`, perhaps no rows at all, are seen by
    pretraining alone.
    """

    encoder: Encoder
    older: EncodedBatch
    older_defaulted: Mask
    older_weights: Weights
    newer: EncodedBatch
    newer_defaulted: Mask
    unlabelled: EncodedBatch

    @property
    def to_pretrain(self) -> EncodedBatch:
        return self.older.followed_by(self.unlabelled) if len(self.unlabelled.x_cat) else self.older


@dataclass(frozen=True)
class Lesson:
    """`checkpoint` is the one to go on from; it is used if it has this `fingerprint`."""

    loans: EncodedLoans
    config: ModelConfig
    seed: int
    fingerprint: str
    checkpoint: bytes | None

    def tell(self, ranks: Ranks) -> None:
        """In the first process. The loans go once; each process keeps them."""
        about = {
            "config": self.config.model_dump(mode="json"),
            "encoder": self.loans.encoder.to_dict(),
            "seed": self.seed,
            "fingerprint": self.fingerprint,
        }
        ranks.tell(about, [*_tensors_of(self.loans), _bytes_as_tensor(self.checkpoint or b"")])

    @classmethod
    def hear(cls, ranks: Ranks) -> "Lesson":
        about, (*parts, checkpoint) = ranks.hear()
        x = [part.numpy() for part in parts]
        loans = EncodedLoans(
            Encoder.from_dict(about["encoder"]),
            EncodedBatch(*x[:3]),
            x[3].astype(np.bool_),
            x[4],
            EncodedBatch(*x[5:8]),
            x[8].astype(np.bool_),
            EncodedBatch(*x[9:12]),
        )
        config = ModelConfig.model_validate(about["config"])
        kept = checkpoint.numpy().tobytes() or None
        return cls(loans, config, about["seed"], about["fingerprint"], kept)


def _tensors_of(loans: EncodedLoans) -> list[Tensor]:
    older = (*loans.older, loans.older_defaulted.astype(np.uint8), loans.older_weights)
    newer = (*loans.newer, loans.newer_defaulted.astype(np.uint8))
    return [torch.from_numpy(part) for part in (*older, *newer, *loans.unlabelled)]


def _bytes_as_tensor(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(bytearray(data), np.uint8))
