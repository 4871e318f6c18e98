"""Which blocks of Prefect hold credentials. Only their names are settings; what is in them is not."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

BlockName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-z0-9][a-z0-9-]*$")]


class PrefectSettings(BaseModel):
    """Names of blocks that Prefect's server keeps.

    Attributes:
        aws_credentials: an ``AwsCredentials`` block of prefect-aws: who this process is to AWS; none = as
            AWS' own chain says.
        redshift_login: a ``Secret`` block with the user and password of a warehouse whose ``auth`` is
            ``environment``; none = the environment's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    aws_credentials: BlockName | None = Field(default=None, examples=["churn-aws"])
    redshift_login: BlockName | None = Field(default=None, examples=["churn-redshift"])
