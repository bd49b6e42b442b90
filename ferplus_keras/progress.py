"""Progress bars on standard error."""

import sys
from typing import Any


def progress_bar(**options: Any):
    """Return a tqdm bar that vanishes when done and does not flood a log file.

    Args:
        **options: as for `tqdm.tqdm`.
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    return tqdm(
        leave=False,
        mininterval=0.2 if terminal else 30,
        maxinterval=10 if terminal else 60,
        **options,
    )
