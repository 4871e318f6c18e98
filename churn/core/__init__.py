"""What every package stands on: errors, calendar, names, files, timing. Imports nothing of churn."""
