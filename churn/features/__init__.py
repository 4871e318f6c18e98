"""From raw activity to feature rows: catalogue, weekly aggregates, lifetime statistics, feature store."""
