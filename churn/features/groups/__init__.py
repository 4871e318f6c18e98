"""Feature groups: each module yields features with their units, ranges and phrases."""
