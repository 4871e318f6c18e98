"""One product and as-of date: the SQL plan, eligibility and label, checks, and the unload to Parquet."""
