"""The feature groups, one module each: names, types, units, meanings and the words of their reasons."""
