"""The lake: runs are written out of sight, committed in one atomic step, and read back."""
