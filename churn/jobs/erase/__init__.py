"""People taken out of everything that is kept."""
