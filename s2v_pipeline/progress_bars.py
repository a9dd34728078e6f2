"""Progress bars of the terminal, drawn from the progress logger's records.

Belongs here: a logging handler that owns tqdm bars. Does not belong here: who reports progress (defs.running).
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

from tqdm import tqdm

PROGRESS_LOGGER = "s2v_pipeline.progress"
"""Records of this logger carry `stage`, `n_done` and `n_total`."""


class _Bars(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._bars: dict[str, tqdm[NoReturn]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        stage, n_done, n_total = record.__dict__["stage"], record.__dict__["n_done"], record.__dict__["n_total"]
        bar = self._bars.get(stage)
        if bar is None:
            bar = self._bars[stage] = tqdm(total=n_total, desc=f"{stage:20}", unit="")
        bar.update(n_done - bar.n)
        if n_done >= n_total:
            bar.close()

    def close(self) -> None:
        for bar in self._bars.values():
            bar.close()
        super().close()


@contextmanager
def progress_bars() -> Generator[None, None, None]:
    """Draw a bar a stage on standard error while the block runs."""
    logger = logging.getLogger(PROGRESS_LOGGER)
    handler = _Bars()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        handler.close()
