"""List prices and what Fargate and S3 are like: a dated file that a person edits."""

import tomllib
from datetime import date
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, ValidationError

from churn.core.errors import ConfigError

BUILT_IN = "prices.toml"
_SECONDS_AN_HOUR = 3600


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TaskPrice(_Frozen):
    """Dollars for one vCPU and one GB of a task, each for an hour."""

    vcpu_hour: NonNegativeFloat
    gb_hour: NonNegativeFloat

    def dollars(self, vcpus: float, gb: float, seconds: float) -> float:
        """Return what a task of this size costs for so long."""
        return (vcpus * self.vcpu_hour + gb * self.gb_hour) * seconds / _SECONDS_AN_HOUR


class FargatePrice(TaskPrice):
    """The same on demand; tasks, Spot ones too, are billed for ``minimum_seconds`` at least."""

    minimum_seconds: NonNegativeFloat


class S3Price(_Frozen):
    """Dollars for requests, a thousand at a time, and for keeping a GB for a month."""

    thousand_writes: NonNegativeFloat
    thousand_reads: NonNegativeFloat
    gb_month: NonNegativeFloat


class Place(_Frozen):
    """What the place is like where workers run."""

    task_start_seconds: NonNegativeFloat  # from asking for a task until its program runs
    vcpu_speed: PositiveFloat = 1.0  # relative to a core of the machine that was measured
    request_seconds: NonNegativeFloat  # until the store answers
    megabytes_a_second: PositiveFloat  # between a worker and the store
    writes_a_second: PositiveFloat  # the store's limit for one prefix
    reads_a_second: PositiveFloat


class Prices(_Frozen):
    """A price file."""

    region: str = Field(min_length=1)
    as_of: date  # when a person last looked at them
    fargate: FargatePrice
    fargate_spot: TaskPrice
    s3: S3Price
    place: Place


def read_prices(path: Path | None = None) -> Prices:
    """Read a price file; None = the one that comes with the program.

    Raises:
        ConfigError: it cannot be read, is not TOML, or lacks or misspells something; the message names the
            file and lists every fault.
    """
    built_in = resources.files("churn.jobs.capacity").joinpath(BUILT_IN)
    name = f"{path}" if path else f"churn/jobs/capacity/{BUILT_IN}"
    try:
        return Prices.model_validate(tomllib.loads((path or built_in).read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"the price file {name} cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the price file {name} is not TOML ({error})") from error
    except ValidationError as error:
        faults = "\n".join(f"  - {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            f"the price file {name} cannot be used; compare it with churn/jobs/capacity/{BUILT_IN}:\n{faults}"
        ) from error
