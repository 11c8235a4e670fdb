"""Trains tab-transformer-pytorch's TabTransformer in the plain loop of its README; prints rows a second as JSON.

    tab_transformer_pytorch.py LOANS.npz '{"d_model": 32, "n_layers": 6, "n_heads": 4, "batch_size": 256, …}'

Its feed-forward is fixed at four times the width, gated. Plain residuals (its hyper-connections off) are the nearest to
the network that it is compared with, and the quicker form.
"""

import json
import sys
import time

import numpy as np
import torch
from tab_transformer_pytorch import TabTransformer
from torch.nn import functional

WARM_UP_STEPS = 10


def main() -> None:
    loans, given = np.load(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(given["threads"])
    torch.manual_seed(given["seed"])
    categories, numbers = torch.from_numpy(loans["categories"]), torch.from_numpy(loans["numbers"])
    labels = torch.from_numpy(loans["labels"]).float()
    network = TabTransformer(
        categories=tuple(loans["n_ids"].tolist()),
        num_continuous=numbers.shape[1],
        dim=given["d_model"],
        depth=given["n_layers"],
        heads=given["n_heads"],
        dim_head=given["d_model"] // given["n_heads"],
        dim_out=1,
        attn_dropout=given["dropout"],
        ff_dropout=given["dropout"],
        mlp_act=torch.nn.ReLU(),
        num_residual_streams=1,
    ).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=given["learning_rate"])
    step, n_rows, started = 0, 0, time.perf_counter()
    while True:
        for rows in torch.randperm(len(labels)).split(given["batch_size"]):
            if step == WARM_UP_STEPS:
                n_rows, started = 0, time.perf_counter()
            optimizer.zero_grad()
            logits = network(categories[rows], numbers[rows])[:, 0]
            loss = functional.binary_cross_entropy_with_logits(logits, labels[rows])
            loss.backward()
            optimizer.step()
            loss.item()
            step, n_rows = step + 1, n_rows + len(rows)
            if step > WARM_UP_STEPS and time.perf_counter() - started > given["seconds"]:
                print(json.dumps({"rows_per_s": n_rows / (time.perf_counter() - started)}))
                return


if __name__ == "__main__":
    main()
