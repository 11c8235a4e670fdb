"""Trains pytorch-tabular's TabTransformer by its own `fit`; prints rows a second as JSON.

    pytorch_tabular.py LOANS.npz '{"d_model": 32, "n_layers": 6, "n_heads": 4, "batch_size": 256, …}'

Checkpoints, early stopping and progress bars are off; the seconds are those between its training batches.
"""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback
from pytorch_tabular import TabularModel
from pytorch_tabular.config import DataConfig, OptimizerConfig, TrainerConfig
from pytorch_tabular.models import TabTransformerConfig

WARM_UP_STEPS = 10


class Watch(Callback):
    """Ends the training when the time is over."""

    def __init__(self, seconds: float, batch_size: int) -> None:
        self.seconds, self.batch_size = seconds, batch_size
        self.steps, self.started, self.rows_per_s = 0, 0.0, 0.0

    def on_train_batch_end(self, trainer, *_args, **_more) -> None:  # type: ignore[no-untyped-def]
        self.steps += 1
        now = time.perf_counter()
        if self.steps == WARM_UP_STEPS:
            self.started = now
        elif self.steps > WARM_UP_STEPS:
            self.rows_per_s = (self.steps - WARM_UP_STEPS) * self.batch_size / (now - self.started)
            trainer.should_stop = now - self.started > self.seconds


def main() -> None:
    warnings.simplefilter("ignore")
    loans, given = np.load(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(given["threads"])
    columns = {f"c{i}": column.astype(str) for i, column in enumerate(loans["categories"].T)}
    numbers = {f"n{i}": column for i, column in enumerate(loans["numbers"].T)}
    watch = Watch(given["seconds"], given["batch_size"])
    model = TabularModel(
        data_config=DataConfig(target=["y"], categorical_cols=[*columns], continuous_cols=[*numbers], num_workers=0),
        model_config=TabTransformerConfig(
            task="classification",
            input_embed_dim=given["d_model"],
            num_attn_blocks=given["n_layers"],
            num_heads=given["n_heads"],
            transformer_head_dim=given["d_model"] // given["n_heads"],
            ff_hidden_multiplier=given["d_feedforward"] // given["d_model"],
            transformer_activation="ReLU",
            attn_dropout=given["dropout"],
            ff_dropout=given["dropout"],
            add_norm_dropout=given["dropout"],
            learning_rate=given["learning_rate"],
        ),
        optimizer_config=OptimizerConfig(optimizer="AdamW"),
        trainer_config=TrainerConfig(
            batch_size=given["batch_size"],
            max_epochs=1000,
            accelerator="cpu",
            early_stopping=None,
            checkpoints=None,
            load_best=False,
            progress_bar="none",
            trainer_kwargs={"enable_model_summary": False},
            seed=given["seed"],
        ),
        verbose=False,
        suppress_lightning_logger=True,
    )
    frame = pd.DataFrame(columns | numbers | {"y": loans["labels"].astype(int)})
    model.fit(train=frame, validation=frame[: given["batch_size"]], callbacks=[watch])
    print(json.dumps({"rows_per_s": watch.rows_per_s}))


if __name__ == "__main__":
    main()
