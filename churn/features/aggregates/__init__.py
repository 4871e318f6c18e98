"""Tables in the warehouse that grow by a week: sums by user and week, and lifetime totals.

``weekly`` reads each raw row once, ``lifetime`` adds the weeks up, and ``ledger`` records which weeks are
stored.
"""
