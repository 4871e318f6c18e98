"""Where scoring runs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ClusterSettings(BaseModel):
    """A local cluster sized from the machine, or a running scheduler by address."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["local", "address"] = "local"
    workers: int | None = Field(default=None, ge=1)
    threads_per_worker: int = Field(default=1, ge=1)
    memory_limit: str = "auto"
    address: str | None = None
