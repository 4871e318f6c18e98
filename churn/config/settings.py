"""Settings and product definitions: frozen models, unknown keys refused, all faults reported at once.

Settings come, in rising order of precedence, from the defaults below, ``DATA/churn.toml``, the table of the
chosen profile in it (``[profiles.aws]``), environment variables (``CHURN_SEED=2``,
``CHURN_CLUSTER__WORKERS=4``) and the command line.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from churn.config.cluster import ClusterSettings
from churn.config.explain import ExplainSettings
from churn.config.own_features import OwnFeatures
from churn.config.prefect import PrefectSettings
from churn.config.store import StoreSettings, like_a_bucket
from churn.config.training import TrainingSettings
from churn.config.warehouse import WarehouseSettings
from churn.core.calendar import LEAD_WEEKS, LONGEST_LEAD, LONGEST_TARGET, TARGET_WEEKS, Windows, monday_of
from churn.core.datasets import PUBLISHED, USER_ID
from churn.core.errors import ConfigError, UsageError
from churn.core.names import _LONGEST_PRODUCT, identifier, slug
from churn.core.values import DEFAULT_DECIMALS, MOST_DECIMALS

_REDSHIFT_RUNS = 4  # at once, if the settings do not say how many
_LARGEST_SEED = 2**32 - 1  # XGBoost's generator takes 32 bits: larger seeds would repeat
# A SQLite file, a server or a database: MLflow no longer supports a folder of files.
_TRACKING = (
    r"^(sqlite:///\S.*|https?://[^/\s]+\S*|(postgresql|mysql|mssql)(\+\w+)?://[^/\s]+\S*"
    r"|databricks(-uc)?(://\S+)?)$"
)


CONFIG_FILE = "churn.toml"
DEFAULT_PROFILE = "local"


def _identifier_field(name: str) -> str:
    try:
        return identifier(name)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _product_name(name: str) -> str:
    if len(name) > _LONGEST_PRODUCT:
        raise ValueError(
            f"{name[:80]!r} is too long for a product name: use {_LONGEST_PRODUCT} characters at most"
        )
    return name


def _id_column(name: str) -> str:
    columns = {column for dataset in PUBLISHED for column in dataset.column_names}
    if name in columns - {USER_ID}:
        raise ValueError(f"{name!r} is the name of another column of the published scores")
    return name


def _monday(day: date) -> date:
    if day.weekday():
        raise ValueError(f"{day} is a {day:%A}, but a week starts on its Monday: {monday_of(day)}")
    return day


Monday = Annotated[date, AfterValidator(_monday)]
Identifier = Annotated[str, AfterValidator(_identifier_field)]
ProductName = Annotated[Identifier, AfterValidator(_product_name)]
IdColumn = Annotated[Identifier, AfterValidator(_id_column)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Product(_Frozen):
    """Something a user can leave.

    Attributes:
        title: name shown in reports.
        verb: what users do with it, in the past tense, for the report and the reasons: ``used``, ``bought``.
        match: values of ``activity.product`` that count as this product; none = any.
        value_unit: what ``activity.value`` measures: ``seconds`` of playback, ``dollars``, ``units``.
        minimum_value: eligible users have more than this value in the observation window; none = no rule.
        lead_weeks: weeks between the as-of date and the target: the time to act.
        target_weeks: weeks that are predicted; a user who is not active in any of them has churned.
        quiet_weeks: Mondays of weeks whose figures are right although they look as if data were missing.
        minimum_account_age_days: younger accounts are neither trained on, nor scored, nor counted; accounts
            whose date is unknown are old enough. 0 = no rule.
        categories: categories that get a share feature each.
        devices: devices that get a share feature each.
        factors: number of item factors that a recommender gives the product's content.
        follows: values of ``follows.kind`` that the product offers.
        listening: whether users listen to it; adds features of radio, podcasts and music mixes.
        own_features: from files in the data folder's ``features/`` (docs/own-features.md); not set here.
        training: how the product's model is fitted.
    """

    title: str
    verb: str = "used"
    match: tuple[str, ...] = ()
    value_unit: str = "units"
    minimum_value: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    lead_weeks: int = Field(default=LEAD_WEEKS, ge=1, le=LONGEST_LEAD)
    target_weeks: int = Field(default=TARGET_WEEKS, ge=1, le=LONGEST_TARGET)
    quiet_weeks: tuple[Monday, ...] = ()
    minimum_account_age_days: int = Field(default=0, ge=0)
    categories: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    factors: int = Field(default=0, ge=0, le=20)
    follows: tuple[Literal["follow", "subscribe", "bookmark"], ...] = ()
    listening: bool = False
    own_features: tuple[OwnFeatures, ...] = ()
    training: TrainingSettings = TrainingSettings()

    def windows(self, as_of: date) -> Windows:
        """Return the windows of an as-of date.

        Raises:
            UsageError: ``as_of`` is not a Sunday.
        """
        return Windows(as_of, self.lead_weeks, self.target_weeks)

    @model_validator(mode="after")
    def _distinct_feature_names(self) -> "Product":
        listed = {"categories": self.categories, "devices": self.devices, "follows": self.follows}
        for field, values in listed.items():
            names = [slug(value) for value in values]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{field} that give the same feature name: {', '.join(twice)}")
        return self


class Settings(_Frozen):
    """All settings of a run, except the product and the date.

    Attributes:
        data: folder of the source tables, which the embedded warehouse reads.
        out: folder that runs write into.
        profile: name of the table ``[profiles.<name>]`` that was merged over the rest of ``churn.toml``.
        source: folder ``sql/sources/<source>`` that maps the raw tables onto the source contract.
        products: product definitions by name.
        seed: seed of all random numbers.
        id_column: name of the user id column in published tables.
        kept_schema: warehouse schema of the weekly aggregates.
        value_decimals: decimals with which ``activity.value`` is kept and added up.
        publish_reasons: whether to publish the reasons beside the scores.
        max_conflicting: greatest share of keys of a source table, such as accounts, whose rows may contradict
            each other.
        products_at_once: products that a run of several drives at the same time; none = 1 with the embedded
            warehouse, whose SQL uses all cores already, and 4 on Redshift.
        partition_rows: most users in a scoring partition; none = from users, features and workers.
        sql_memory: memory limit of the embedded warehouse, for example ``4GB``.
        mlflow_tracking_uri: where runs are tracked; default: a SQLite file in ``out``.
        explain: which contributions are written.
        cluster: where scoring runs.
        store: where the lake is.
        warehouse: which warehouse runs the SQL.
        prefect: Prefect blocks that hold credentials.
    """

    data: Path
    out: Path
    profile: str = DEFAULT_PROFILE
    source: Literal["bbc", "events"] = "bbc"
    products: Mapping[ProductName, Product] = Field(default_factory=dict)
    seed: int = Field(default=1, ge=0, le=_LARGEST_SEED)
    id_column: IdColumn = "user_id"
    kept_schema: Identifier = "churn_kept"
    value_decimals: int = Field(default=DEFAULT_DECIMALS, ge=0, le=MOST_DECIMALS)
    publish_reasons: bool = False
    max_conflicting: float = Field(default=0.1, ge=0, le=1, allow_inf_nan=False)
    partition_rows: int | None = Field(default=None, ge=1)
    products_at_once: int | None = Field(default=None, ge=1, le=64)
    sql_memory: str = Field(
        default="4GB", pattern=r"^\d+(\.\d+)?\s?(KB|MB|GB|TB|KiB|MiB|GiB|TiB)$", examples=["4GB"]
    )
    mlflow_tracking_uri: str | None = Field(
        default=None, pattern=_TRACKING, examples=["https://mlflow.example.org", "sqlite:////data/mlflow.db"]
    )
    explain: ExplainSettings = ExplainSettings()
    cluster: ClusterSettings = ClusterSettings()
    store: StoreSettings = StoreSettings()
    warehouse: WarehouseSettings = WarehouseSettings()
    prefect: PrefectSettings = PrefectSettings()

    @model_validator(mode="after")
    def _login_is_used(self) -> "Settings":
        warehouse = self.warehouse
        if self.prefect.redshift_login and not warehouse.embedded and warehouse.auth != "environment":
            raise ValueError("prefect.redshift_login goes with warehouse.auth 'environment'")
        return self

    @property
    def runs_at_once(self) -> int:
        """How many products a run of several drives at the same time."""
        return self.products_at_once or (1 if self.warehouse.embedded else _REDSHIFT_RUNS)

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI.

        Raises:
            ConfigError: it would be a file below a folder whose name holds ``?``, which ends a path in a URI.
        """
        if self.mlflow_tracking_uri is None and "?" in f"{self.out.resolve()}":
            raise ConfigError(
                f"{self.out} is below a folder with a question mark in its name: choose another --out"
            )
        return self.mlflow_tracking_uri or f"sqlite:///{self.out.resolve() / 'mlflow.db'}"

    def product(self, name: str) -> Product:
        """Return a product's definition.

        Raises:
            UsageError: the name is unknown; the message lists the known ones.
        """
        if name not in self.products:
            known = ", ".join(sorted(self.products)) or "none"
            raise UsageError(f"unknown product {name[:80]!r}; {self.data / CONFIG_FILE} knows: {known}")
        return self.products[name]

    @model_validator(mode="after")
    def _scheduler_is_named(self) -> "Settings":
        if self.cluster.kind == "address" and not self.cluster.address:
            raise ValueError("cluster.kind 'address' needs cluster.address, such as tcp://10.0.0.7:8786")
        return self

    @model_validator(mode="after")
    def _workers_reach_the_lake(self) -> "Settings":
        lake = self.store.lake or ""
        if self.cluster.kind == "fargate" and not lake.startswith("s3://"):
            suggestion = f" (did you mean s3://{lake}?)" if like_a_bucket(lake) else ""
            raise ValueError(
                "cluster.kind 'fargate' needs a lake on S3, which its workers can reach: store.lake"
                f"{suggestion}"
            )
        return self
