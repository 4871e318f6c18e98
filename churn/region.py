"""Which region AWS is asked in where the settings name none."""

import os


def region_of(settings: str | None) -> str | None:
    """Return the settings' region, or AWS_REGION where boto would find none; None: what boto finds.

    AWS' own tools and containers say AWS_REGION; boto looks at AWS_DEFAULT_REGION alone, which goes first
    here so that all of a process agrees.
    """
    if settings or os.environ.get("AWS_DEFAULT_REGION"):
        return settings
    return os.environ.get("AWS_REGION") or None
