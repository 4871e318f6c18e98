"""The Dask cluster: local processes, a scheduler by address, or Fargate tasks."""
