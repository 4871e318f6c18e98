"""Who will stop coming, why, and what that adds up to: the domain library.

Imports neither prefect nor boto3, and dask only in ``fanout`` and ``cluster``.
"""

__version__ = "0.1.0"
