"""People taken out of everything that is kept.

Start with ``erase``; ``inventory`` lists where user ids are, ``run_files`` rewrites one run's files.
"""
