"""Which Prefect blocks hold credentials. Only the names of the blocks are settings."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

BlockName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-z0-9][a-z0-9-]*$")]


class PrefectSettings(BaseModel):
    """Names of blocks on the Prefect server.

    Attributes:
        aws_credentials: an ``AwsCredentials`` block of prefect-aws; none = AWS' own chain.
        redshift_login: a ``Secret`` block with user and password, for ``warehouse.auth`` ``environment``;
            none = the environment variables.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    aws_credentials: BlockName | None = Field(default=None, examples=["churn-aws"])
    redshift_login: BlockName | None = Field(default=None, examples=["churn-redshift"])
