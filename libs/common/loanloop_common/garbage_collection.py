"""Python's collector of cycles, in a process that makes many records at once and no cycles of them."""

import gc

THRESHOLDS = (50_000, 10, 10)  # objects between collections: several batches of records


def spare_collector() -> None:
    """A batch of thousands of records lives for a second and dies whole; Python would look through it over and over.

    Nor does it look again through what is there by now, the imported modules.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
