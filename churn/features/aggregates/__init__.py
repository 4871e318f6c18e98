"""Tables in the warehouse that grow by a week: sums by user and week, and lifetime totals.

``weekly`` reads each raw row once, ``lifetime`` adds it up over a user's life, ``ledger`` says which weeks
are there.
"""
