"""Where the lake lies, and how S3 is spoken to. Keys come from AWS' own chain, never from here."""

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

S3_ROOT = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/?#\0]+)*/?")
_WEB_ADDRESS = re.compile(r"https?://[^/@\s]+/?")  # no user and password in it


class StoreSettings(BaseModel):
    """Where the lake lies, and how S3 is spoken to.

    Attributes:
        lake: root of the lake: ``s3://bucket/prefix`` or a local folder; none = ``OUT/lake``.
        endpoint_url: address of a store that speaks S3 but is not AWS', or of a VPC endpoint; none = AWS'.
        region: the bucket's region; none = as AWS' own configuration says.
        encryption: server-side encryption of what is written; ``none`` = as the bucket's default says.
        kms_key: key (id, ARN or alias) for ``aws:kms``; none = the account's default key for S3.
        bucket_owner_full_control: whether a bucket of another account gets full control of what is written.
        max_attempts: how often one request is tried, with growing pauses, when the store is busy or broken.
        retry_mode: ``adaptive`` also slows down where the store asks for it.
        connect_timeout: seconds to wait for a connection.
        read_timeout: seconds to wait for an answer.
        part_megabytes: size of the parts that large files are written and read in; memory for each open file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lake: str | None = Field(default=None, min_length=1)
    endpoint_url: str | None = None
    region: str | None = Field(default=None, pattern=r"^[a-z0-9-]{1,40}$", examples=["eu-west-1"])
    encryption: Literal["none", "AES256", "aws:kms"] = "none"
    kms_key: str | None = Field(default=None, min_length=1)
    bucket_owner_full_control: bool = False
    max_attempts: int = Field(default=8, ge=1, le=20)
    retry_mode: Literal["standard", "adaptive"] = "standard"
    connect_timeout: float = Field(default=10.0, gt=0, le=300)
    read_timeout: float = Field(default=60.0, gt=0, le=900)
    part_megabytes: int = Field(default=8, ge=5, le=512)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.kms_key is not None and self.encryption != "aws:kms":
            raise ValueError("kms_key goes with encryption 'aws:kms'")
        if self.lake is not None and self.lake.startswith("s3:") and not S3_ROOT.fullmatch(self.lake):
            raise ValueError("lake must be an address such as s3://bucket/prefix, or a local folder")
        if self.endpoint_url is not None and not _WEB_ADDRESS.fullmatch(self.endpoint_url):
            raise ValueError("endpoint_url must be such as https://host:9000, without user, password or path")
        return self
