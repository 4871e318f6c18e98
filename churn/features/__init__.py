"""From raw activity to feature rows: the catalogue, weekly aggregates, lifetime totals, the feature store.

In: source tables. Out: one row a user and as-of date in the warehouse, and a catalogue that describes its
columns.
Start with ``catalogue`` (which features a product has), then ``groups/`` (one module a group: columns,
units, words).
``aggregates/`` keeps sums by week, so that each raw row is read once.
Import ``catalogue.catalogue``, ``feature.Feature`` and ``store``.
"""
