"""Where the lake is, and how to reach S3. Keys come from AWS' own chain, never from settings."""

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_NAME = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"  # 3 to 63 characters
_BUCKET = re.compile(_NAME)
S3_ROOT = re.compile(rf"s3://{_NAME}(/[^/?#\0]+)*/?")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(?i:(s3):)")
_WEB_ADDRESS = re.compile(r"https?://[^/@\s]+/?")  # no user and password in it


def fault_of_root(root: str) -> str | None:
    """Return what is wrong with the root of a lake, without quoting it; None if it can be used."""
    if not root or "\0" in root:
        return "must name a folder"
    if "::" in root:  # fsspec would chain file systems
        return "must not hold '::'"
    scheme = _SCHEME.match(root)
    kind = (scheme[1] or scheme[2]).lower() if scheme else "file"
    if kind not in ("s3", "file", "local"):
        return "must be on S3, such as s3://bucket/prefix, or a local folder"
    if kind == "s3" and not S3_ROOT.fullmatch(root):
        bucket = root.removeprefix("s3://").partition("/")[0]
        if bucket and "@" not in bucket and not _BUCKET.fullmatch(bucket):
            return (
                "must name a bucket as S3 does: 3 to 63 small letters, digits, dots and dashes, a letter or "
                "digit at both ends"
            )
        return "must be an address such as s3://bucket/prefix, or a local folder"
    return None


def like_a_bucket(root: str) -> str | None:
    """Return the bucket that a relative path such as ``acme-churn/lake`` may mean; None if it cannot."""
    first = root.partition("/")[0]
    return first if _BUCKET.fullmatch(first) else None


class StoreSettings(BaseModel):
    """Where the lake is, and how to reach S3.

    Attributes:
        lake: root of the lake: ``s3://bucket/prefix`` or a local folder; none = ``OUT/lake``.
        endpoint_url: address of an S3-compatible store or a VPC endpoint; none = AWS.
        region: the bucket's region; none = from AWS' own configuration.
        encryption: server-side encryption of written files; ``none`` = the bucket's default.
        kms_key: key (id, ARN or alias) for ``aws:kms``; none = the account's default key for S3.
        bucket_owner_full_control: whether the owner of the bucket gets full control of written files.
        max_attempts: how often to try one request, with growing pauses.
        retry_mode: ``adaptive`` also slows down when the store throttles.
        connect_timeout: seconds to wait for a connection.
        read_timeout: seconds to wait for a response.
        part_megabytes: size of the parts in which large files are written and read; memory of each open file.
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
        fault = None if self.lake is None else fault_of_root(self.lake)
        if fault:
            raise ValueError(f"lake {fault}")
        if self.endpoint_url is not None and not _WEB_ADDRESS.fullmatch(self.endpoint_url):
            raise ValueError("endpoint_url must be such as https://host:9000, without user, password or path")
        return self
