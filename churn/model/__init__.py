"""The model: training rows, time-aware splits, fitting, metrics with intervals, the artefact on disk."""
