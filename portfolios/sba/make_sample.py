"""Draws the sample in this folder out of the full file: `make_sample.py FULL.parquet [--seed N --out FILE]`.

Seed 0 is the sample that is shipped: loans approved 2001–2009 whose sha256(loan_id) is a multiple of four.
Other seeds put the seed before the loan_id, and so give other quarters, which go to a file of their own.
"""

import argparse
import hashlib
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SHIPPED = Path(__file__).with_name("loans.parquet")
SHARE = 4
FIRST_DAY, LAST_DAY = date(2001, 1, 1), date(2009, 12, 31)


def is_drawn(loan_id: str, seed: int) -> bool:
    salted = loan_id if seed == 0 else f"{seed}:{loan_id}"
    return int.from_bytes(hashlib.sha256(salted.encode()).digest()) % SHARE == 0


def sample_of(loans: pa.Table, seed: int) -> pa.Table:
    in_years = pc.and_(
        pc.greater_equal(loans["approved_at"], pa.scalar(FIRST_DAY)),
        pc.less_equal(loans["approved_at"], pa.scalar(LAST_DAY)),
    )
    recent = loans.filter(in_years)
    return recent.filter(pa.array([is_drawn(loan_id, seed) for loan_id in recent["loan_id"].to_pylist()]))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("full", type=Path)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--out", type=Path, help="the sample in this folder, if the seed is 0")
    given = arguments.parse_args()
    if given.seed != 0 and given.out is None:
        arguments.error(f"seed {given.seed} draws other loans than those that are shipped: say by --out where they go")
    out = given.out or SHIPPED
    sample = sample_of(pq.read_table(given.full), given.seed)
    pq.write_table(sample, out, compression="zstd", compression_level=19)
    print(f"{sample.num_rows} loans -> {out} ({out.stat().st_size / 1e6:.1f} MB)")  # noqa: T201 - a script


if __name__ == "__main__":
    main()
