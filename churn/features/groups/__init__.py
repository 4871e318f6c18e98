"""The feature groups: one module each with names, types, units, meanings and words."""
