"""All that a process must be told to learn along with the first, which alone has seen the loans themselves."""

from dataclasses import dataclass

import numpy as np
import torch
from loanloop_common.features import EncodedBatch, Encoder
from loanloop_common.portfolio import ModelConfig
from torch import Tensor

from loanloop_trainer.model.loans import EncodedLoans, LabelledLoans
from loanloop_trainer.model.ranks import Ranks


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
            "n_older": self.loans.n_older,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
        }
        ranks.tell(about, [*_tensors_of(self.loans), _bytes_as_tensor(self.checkpoint or b"")])

    @classmethod
    def hear(cls, ranks: Ranks) -> "Lesson":
        about, (*parts, checkpoint) = ranks.hear()
        x = [part.numpy() for part in parts]
        labelled = LabelledLoans(EncodedBatch(*x[:3]), x[3].astype(np.bool_), x[4])
        encoder = Encoder.from_dict(about["encoder"])
        loans = EncodedLoans(encoder, labelled, about["n_older"], EncodedBatch(*x[5:8]))
        config = ModelConfig.model_validate(about["config"])
        kept = checkpoint.numpy().tobytes() or None
        return cls(loans, config, about["seed"], about["fingerprint"], kept)


def _tensors_of(loans: EncodedLoans) -> list[Tensor]:
    labelled = loans.labelled
    parts = (*labelled.inputs, labelled.defaulted.astype(np.uint8), labelled.weights, *loans.unlabelled)
    return [torch.from_numpy(part) for part in parts]


def _bytes_as_tensor(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(bytearray(data), np.uint8))
