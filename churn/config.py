"""Settings and product definitions: frozen models, unknown keys refused, all faults reported at once.

Settings come, in rising order of precedence, from the defaults below, ``DATA/churn.toml``, the table of the
chosen profile in it (``[profiles.aws]``), environment variables (``CHURN_SEED=2``,
``CHURN_CLUSTER__WORKERS=4``) and the command line.
"""

import os
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from zlib import crc32

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from churn.config_blocks import PrefectSettings
from churn.config_cluster import ClusterSettings
from churn.config_explain import ExplainSettings
from churn.config_faults import in_sentences, where
from churn.config_store import StoreSettings, like_a_bucket
from churn.config_training import TrainingSettings
from churn.config_warehouse import WarehouseSettings
from churn.errors import ConfigError, UsageError

_LARGEST_SEED = 2**32 - 1  # of the generator in XGBoost; beyond it, seeds repeat
# What MLflow keeps runs in: a file, a server or a database. It no longer takes a folder of files.
_TRACKING = (
    r"^(sqlite:///\S.*|https?://[^/\s]+\S*|(postgresql|mysql|mssql)(\+\w+)?://[^/\s]+\S*"
    r"|databricks(-uc)?(://\S+)?)$"
)
IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*\Z")
CONFIG_FILE = "churn.toml"
ENVIRONMENT_PREFIX = "CHURN_"
# A login is no setting: settings are shown, compared and written down.
LOGIN_VARIABLES = frozenset({"CHURN_REDSHIFT_USER", "CHURN_REDSHIFT_PASSWORD"})
DEFAULT_PROFILE = "local"
_LONGEST_IDENTIFIER = 63  # PostgreSQL's limit; Redshift allows 127
_LONGEST_PRODUCT = 32  # schemas of runs and back-tests add up to 28 characters to a product's name
_LOST = frozenset("LMNS")  # kinds of Unicode that tell texts apart: letters, marks, numbers, symbols
# The other columns of the published scores, which the id column's name must differ from.
_SCORE_COLUMNS = frozenset(
    {
        "target_week_start_date", "learner_type", "learner_name", "predicted_probability",
        "optimal_threshold", "optimal_classification", "score_datetime", "product", "as_of", "run_id",
        "model_version", "margin", "reason_1", "reason_2", "reason_3",
        "rank", "feature", "value", "contribution",
    }
)  # fmt: skip


def identifier(name: str) -> str:
    """Return ``name`` if it is safe as an SQL identifier and as a path segment.

    Raises:
        UsageError: it does not match ``^[a-z_][a-z0-9_]*$`` or is longer than 63 characters.
    """
    if not IDENTIFIER.match(name) or len(name) > _LONGEST_IDENTIFIER:
        raise UsageError(
            f"{name[:80]!r} cannot be used as a name in SQL and paths: use lower-case letters, digits and "
            f"underscores, a letter or underscore first, {_LONGEST_IDENTIFIER} characters at most"
        )
    return name


def _identifier_field(name: str) -> str:
    try:
        return identifier(name)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _product_name(name: str) -> str:
    if len(name) > _LONGEST_PRODUCT:
        raise ValueError(
            f"{name[:80]!r} is too long for a product: use {_LONGEST_PRODUCT} characters at most"
        )
    return name


def _id_column(name: str) -> str:
    if name in _SCORE_COLUMNS:
        raise ValueError(f"{name!r} is the name of another column of the published scores")
    return name


Identifier = Annotated[str, AfterValidator(_identifier_field)]
ProductName = Annotated[Identifier, AfterValidator(_product_name)]
IdColumn = Annotated[Identifier, AfterValidator(_id_column)]


def slug(value: str) -> str:
    """Return an identifier made from any text: ``Religion & Ethics`` becomes ``religion_ethics``.

    Where letters other than a to z are lost, or there are none at all, a checksum tells texts apart, whatever
    their case: ``Кино`` becomes ``_9380692f``.
    """
    text = re.sub(r"[^a-z0-9]+", "_", value.lower()).strip("_")
    ending = ""
    if not text or any(unicodedata.category(char)[0] in _LOST and not char.isascii() for char in value):
        ending = f"_{crc32(value.lower().encode(errors='backslashreplace')):08x}"
    text = text[: _LONGEST_PRODUCT - len(ending) - 1].rstrip("_") + ending if ending else text
    return (f"_{text}" if text[0].isdigit() else text)[:_LONGEST_PRODUCT].rstrip("_")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Product(_Frozen):
    """Something a user can leave.

    Attributes:
        title: its name for people.
        verb: what people did with it, for the report and the reasons: ``used``, ``bought``.
        match: values of ``activity.product`` that count as this product; none = any.
        value_unit: what ``activity.value`` measures: ``seconds`` of playback, ``dollars``, ``units``.
        minimum_value: eligible users have more than this value in the observation window; none = no rule.
        minimum_account_age_days: younger accounts are not trained on, where account dates are known.
        categories: categories that get a share feature each.
        devices: devices that get a share feature each.
        factors: how many item factors a recommender has for the product's content.
        follows: what users can do to come back to something: kinds of ``follows.kind``.
        listening: whether people listen to it, so that radio, podcasts and music mixes are told apart.
        training: how the product's model is fitted.
    """

    title: str
    verb: str = "used"
    match: tuple[str, ...] = ()
    value_unit: str = "units"
    minimum_value: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    minimum_account_age_days: int = Field(default=14, ge=0)
    categories: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    factors: int = Field(default=0, ge=0, le=20)
    follows: tuple[Literal["follow", "subscribe", "bookmark"], ...] = ()
    listening: bool = False
    training: TrainingSettings = TrainingSettings()

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
    """Everything that a run needs to know besides the product and the date.

    Attributes:
        data: folder of the source tables (the local warehouse's input).
        out: folder of everything that a run writes.
        profile: which ``[profiles.<name>]`` of ``churn.toml`` was merged over the rest of it.
        source: which ``sql/sources/<source>`` maps the raw tables onto the source contract.
        products: product definitions by name.
        seed: seed of everything that draws numbers.
        id_column: name of the user id column in published tables.
        kept_schema: schema of the warehouse that weekly aggregates are kept in.
        publish_reasons: whether the reasons are published beside the scores.
        partition_rows: users in one scoring partition, at most; none = by users, features and workers.
        sql_memory: memory that the embedded warehouse may use, for example ``4GB``.
        mlflow_tracking_uri: where runs are tracked; default: a SQLite file in ``out``.
        explain: what is kept of the contributions.
        cluster: where scoring runs.
        store: where the lake lies.
        warehouse: which warehouse runs the SQL.
        prefect: blocks of Prefect that hold credentials.
    """

    data: Path
    out: Path
    profile: str = DEFAULT_PROFILE
    source: Literal["bbc", "events"] = "bbc"
    products: Mapping[ProductName, Product] = Field(default_factory=dict)
    seed: int = Field(default=1, ge=0, le=_LARGEST_SEED)
    id_column: IdColumn = "user_id"
    kept_schema: Identifier = "churn_kept"
    publish_reasons: bool = False
    partition_rows: int | None = Field(default=None, ge=1)
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
        if self.prefect.redshift_login and warehouse.kind == "redshift" and warehouse.auth != "environment":
            raise ValueError("prefect.redshift_login goes with warehouse.auth 'environment'")
        return self

    @property
    def tracking_uri(self) -> str:
        """MLflow's tracking URI."""
        return self.mlflow_tracking_uri or f"sqlite:///{self.out.resolve() / 'mlflow.db'}"

    def product(self, name: str) -> Product:
        """Return a product's definition.

        Raises:
            UsageError: it is unknown; the message lists the known ones.
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
            meant = f" (did you mean s3://{lake}?)" if like_a_bucket(lake) else ""
            raise ValueError(
                f"cluster.kind 'fargate' needs a lake on S3, which its workers can reach: store.lake{meant}"
            )
        return self


@cache
def builtin_products() -> dict[str, dict[str, Any]]:
    """Return the product definitions that come with the package, as read from TOML."""
    folder = files("churn") / "products"
    return {
        entry.name.removesuffix(".toml"): tomllib.loads(entry.read_text("utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }


def load_settings(
    data: Path, out: Path, overrides: Mapping[str, Any] | None = None, *, optional: bool = False
) -> Settings:
    """Read the settings that go with a data folder.

    Args:
        data: folder with ``churn.toml`` and ``tables/``.
        out: folder that runs write into.
        overrides: settings given by hand, which win over file and environment.
        optional: whether to go on with the built-in products where there is no data folder.

    Raises:
        ConfigError: the folder or file is missing, is not TOML, or has wrong or unknown keys (all listed).
    """
    path = data / CONFIG_FILE
    missing = not path.is_file()
    if missing and not optional:
        raise ConfigError(
            f"{path} does not exist: name a data folder made by `churn simulate` or `churn ingest` "
            "with --data"
        )
    try:
        read = {} if missing else tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    environment = _environment()
    over = _merge(environment, dict(overrides or {}))
    said = {"given by hand": dict(overrides or {}), f"{ENVIRONMENT_PREFIX}*": environment}
    chosen, faults = _with_profile(read, over, where(["profile"], ENVIRONMENT_PREFIX, said))
    merged = _merge(chosen, over)
    own = merged.get("products", {})
    if merged.get("source", "bbc") == "bbc" and isinstance(own, Mapping):
        merged["products"] = _merge(builtin_products(), own)
    faults += [
        f"{key}: it is given with --{key}, not as a setting" for key in ("data", "out") if key in merged
    ]
    try:
        settings = Settings(**{**merged, "data": data, "out": out})
    except ValidationError as error:
        named = f"[profiles.{merged.get('profile', DEFAULT_PROFILE)}]"
        sources = {**said, named: _profile_table(read, merged)}
        faults += in_sentences(error, Settings, prefix=ENVIRONMENT_PREFIX, sources=sources)
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        name = str(merged.get("profile", DEFAULT_PROFILE))[:80]
        also = [] if name == DEFAULT_PROFILE else [f"profile {name}"]
        also += [f"{ENVIRONMENT_PREFIX}* variables"] if environment else []
        beside = f" (with {' and '.join(also)})" if also else ""
        raise ConfigError(f"{path}{beside} is wrong:\n{listed}")
    return settings


def _with_profile(
    read: Mapping[str, Any], over: Mapping[str, Any], origin: str
) -> tuple[dict[str, Any], list[str]]:
    """Return what a file says with the profile that ``over`` or the file itself chooses; and faults.

    ``origin`` tells where ``over`` has the choice from.
    """
    rest = dict(read)
    profiles = rest.pop("profiles", {})
    if not (isinstance(profiles, Mapping) and all(isinstance(table, Mapping) for table in profiles.values())):
        return rest, ["profiles: must be tables, such as [profiles.aws]"]
    chosen = over.get("profile", rest.get("profile", DEFAULT_PROFILE))
    known = sorted({DEFAULT_PROFILE, *profiles})
    if chosen not in known:
        return rest, [f"profile{origin}: {str(chosen)[:80]!r} is unknown; the file has: {', '.join(known)}"]
    table = profiles.get(chosen, {})
    nested = sorted({"profile", "profiles"} & table.keys())
    return _merge(rest, table), [f"profiles.{chosen}.{key}: a profile cannot hold this" for key in nested]


def _profile_table(read: Mapping[str, Any], merged: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the chosen profile says, where it can be found."""
    profiles = read.get("profiles")
    table = profiles.get(merged.get("profile", DEFAULT_PROFILE)) if isinstance(profiles, Mapping) else None
    return table if isinstance(table, Mapping) else {}


def _environment() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in sorted(os.environ.items()):  # CHURN_CLUSTER comes before CHURN_CLUSTER__WORKERS
        if name.startswith(ENVIRONMENT_PREFIX) and name not in LOGIN_VARIABLES:
            *parents, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            level = found
            for parent in parents:
                level = level.setdefault(parent, {})
                if not isinstance(level, dict):
                    raise ConfigError(
                        f"{name} sets a part of {parent!r}, which another variable sets as a whole: unset one"
                    )
            level[key] = value
    return found


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged
