"""Which warehouse runs the SQL, and how to reach it. No field holds a secret."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

USER_VARIABLE, PASSWORD_VARIABLE = "CHURN_REDSHIFT_USER", "CHURN_REDSHIFT_PASSWORD"
# Redshift takes a chain of roles with commas between them; each role assumes the next.
_ONE_ROLE = r"arn:aws(?:-cn|-us-gov)?:iam::\d{12}:role/[\w+=.@/-]+"
ROLE = re.compile(rf"default|{_ONE_ROLE}(?:,{_ONE_ROLE})*", re.ASCII)
KMS_KEY = re.compile(
    r"(?:arn:aws(?:-cn|-us-gov)?:kms:[a-z0-9-]+:\d{12}:(?:key|alias)/)?[\w/-]{1,256}", re.ASCII
)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$|^::1$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.@+$-]{0,126}$")]
AwsName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


class WarehouseSettings(BaseModel):
    """The embedded warehouse, or Redshift.

    Attributes:
        kind: ``duckdb``, embedded, over the data folder's files; or ``redshift``.
        driver: the client library for Redshift.
        host: the cluster's or workgroup's endpoint.
        port: its port.
        database: the database.
        auth: where user and password come from. ``iam``: AWS makes a password for each connection;
            ``secret``: Secrets Manager; ``environment``: CHURN_REDSHIFT_USER and CHURN_REDSHIFT_PASSWORD.
        cluster_identifier: with ``iam``: the provisioned cluster.
        workgroup: with ``iam``: the serverless workgroup.
        db_user: with ``iam`` and a cluster: the database user.
        secret: with ``secret``: name or ARN of a secret that holds ``username`` and ``password``.
        region: AWS region; none = from AWS' own configuration.
        iam_role: ARN of the role with which Redshift reads and writes S3, or ``default``.
        kms_key: key that encrypts unloaded files; none = the bucket's default.
        group: database group that may read the published tables.
        ssl: how to verify the server; ``prefer`` (no verification) only for a server on this machine.
        connect_timeout: seconds to wait for a connection.
        keepalive: seconds of silence after which TCP probes the connection. Must be shorter than the idle
            timeout of firewalls on the way: AWS drops connections after 350 s.
        statement_timeout: seconds; 0 = the server's limit.
        retries: how often to connect again, and to repeat statements that are known to have had no effect.
        backoff: seconds before the first retry; doubled before each further one, up to 60.
        unload_grace: seconds that an UNLOAD may go on after its connection was lost.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["duckdb", "redshift"] = "duckdb"
    driver: Literal["psycopg2", "redshift_connector"] = "psycopg2"
    host: Host | None = Field(default=None, examples=["churn.example.eu-west-1.redshift.amazonaws.com"])
    port: int = Field(default=5439, ge=1, le=65535)
    database: Name | None = Field(default=None, examples=["audience"])
    auth: Literal["iam", "secret", "environment"] = "iam"
    cluster_identifier: AwsName | None = Field(default=None, examples=["churn-cluster"])
    workgroup: AwsName | None = Field(default=None, examples=["churn"])
    db_user: Name | None = Field(default=None, examples=["churn_weekly"])
    secret: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9/_+=.@:!-]{1,2048}$", examples=["churn/redshift"]
    )
    region: str | None = Field(default=None, pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", examples=["eu-west-1"])
    iam_role: str | None = None
    kms_key: str | None = None
    group: str | None = Field(default=None, pattern=r"^[a-z_][a-z0-9_]{0,62}$", examples=["analysts"])
    ssl: Literal["verify-full", "verify-ca", "prefer"] = "verify-full"
    connect_timeout: int = Field(default=10, ge=1, le=300)
    keepalive: int = Field(default=30, ge=1, le=300)
    statement_timeout: int = Field(default=0, ge=0, le=7 * 86_400)
    retries: int = Field(default=5, ge=0, le=20)
    backoff: float = Field(default=1.0, ge=0, le=60, allow_inf_nan=False)
    unload_grace: float = Field(default=3600.0, ge=0, allow_inf_nan=False)

    @property
    def embedded(self) -> bool:
        """Whether the warehouse is a file of the output folder: no host, no login, no S3."""
        return self.kind == "duckdb"

    @model_validator(mode="after")
    def _whole(self) -> "WarehouseSettings":
        faults = [f"{fault} (the value is not shown)" for fault in self._unsafe()]
        if not self.embedded:
            faults += self._missing()
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _unsafe(self) -> list[str]:
        faults = []
        if self.iam_role is not None and not ROLE.fullmatch(self.iam_role):
            faults.append("iam_role must be 'default' or the ARN of an IAM role")
        if self.kms_key is not None and not KMS_KEY.fullmatch(self.kms_key):
            faults.append("kms_key must be the id or the ARN of a KMS key")
        if self.ssl == "prefer" and self.host not in LOOPBACK:
            faults.append(
                "ssl = 'prefer' does not verify the server: use it only for a server on this machine"
            )
        return faults

    def _missing(self) -> list[str]:
        required = {"host": self.host, "database": self.database, "iam_role": self.iam_role}
        if self.auth == "iam":
            required["cluster_identifier (or workgroup)"] = self.cluster_identifier or self.workgroup
            if self.cluster_identifier:
                required["db_user"] = self.db_user
        if self.auth == "secret":
            required["secret"] = self.secret
        faults = [f"{name} is needed for redshift" for name, value in required.items() if not value]
        if self.cluster_identifier and self.workgroup:
            faults.append("give cluster_identifier or workgroup, not both")
        return faults
