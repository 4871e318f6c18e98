"""Warnings for people, in one way: logged when they are known, and kept for the report."""

import logging
from collections.abc import Iterable

logger = logging.getLogger(__name__)


def warn(product: str, sentences: Iterable[str]) -> tuple[str, ...]:
    """Log each sentence about a product as a warning, and return them all, for the report.

    The terminal shows the log, and deployments send it to Prefect. A report's warnings all come through here.

    Example:
        >>> warn("iplayer", ["1 feature is empty in training: age"])
        ('1 feature is empty in training: age',)
    """
    told = tuple(sentences)
    for sentence in told:
        logger.warning("%s: %s", product, sentence)
    return told
