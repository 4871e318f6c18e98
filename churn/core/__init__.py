"""What every other package stands on. Imports nothing else of churn.

In: nothing. Out: errors, weeks and windows, safe names, files, timings.
Start with ``errors`` (one family of errors) and ``calendar`` (every window is defined there).
Import from the modules: ``errors.ChurnError``, ``calendar.Windows``, ``names.identifier``,
``timing.StageTimer``.
"""
