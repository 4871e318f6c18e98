"""The Dask cluster: processes of this machine, a scheduler by address, or Fargate tasks.

Start with ``client.open_client``. ``sweep`` removes what a killed run left in ECS.
"""
