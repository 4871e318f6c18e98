"""Prefect's temporary server: an API of this process alone, with its database in PREFECT_HOME.

``start.py`` starts and ends it, ``app.py`` is the process that serves, ``database.py`` makes the database.
"""
