"""The datasets of a run: one entry here, and the code that writes it, make a new one.

A dataset is a folder of the run. This table gives the lake its folders, scoring and publishing their columns,
erasure the places where user ids are, and the report its list of files.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pyarrow as pa

USER_ID = "user_id"
SCORE_REASONS = 3  # reasons in the scores; the dataset `reasons` may hold more


@dataclass(frozen=True)
class Column:
    """A column of a dataset.

    Attributes:
        name: its name.
        type: its Arrow type: a name that ``pyarrow.type_for_alias`` knows, or ``list<...>`` of one.
        required: whether a null is refused.
        dictionary: whether Parquet writes it with a dictionary, which pays for few distinct values.
    """

    name: str
    type: str
    required: bool = True
    dictionary: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class RunDataset:
    """One dataset of a run.

    Attributes:
        name: its folder in the run.
        description: what it holds, for the report.
        writer: the part of a run that writes it. Unload and scoring write one Parquet file per partition.
        user_column: the column with the user id; None: the dataset holds no user.
        columns: its columns, in order; empty: they depend on product or model, or it is no table.
        published_as: the warehouse table it is published to; empty: it is not published.
        rows_column: the column of ``churn.published`` that counts its rows.
        optional: whether it is written on request only.
        compressible: False: values hardly compress, and Snappy takes a third of zstd's time.
    """

    name: str
    description: str
    writer: Literal["unload", "training", "scoring", "report"]
    user_column: str | None
    columns: tuple[Column, ...] = ()
    published_as: str = ""
    rows_column: str = ""
    compressible: bool = True
    optional: bool = False

    def __post_init__(self) -> None:
        """Refuse a dataset with a user id that erasure would not know of.

        Raises:
            ValueError: ``user_column`` does not name the column with the user id.
        """
        if self.user_column is None and (USER_ID in self.column_names or self.published_as):
            raise ValueError(f"dataset {self.name} holds users: name the column with the user id")

    @property
    def partitioned(self) -> bool:
        """Whether it has one Parquet file per partition."""
        return self.writer in ("unload", "scoring")

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of its columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Names of the columns without nulls, in order."""
        return tuple(column.name for column in self.columns if column.required)

    @property
    def dictionary_columns(self) -> list[str]:
        """Names of the columns that Parquet writes with a dictionary."""
        return [column.name for column in self.columns if column.dictionary]

    @cached_property
    def schema(self) -> "pa.Schema":
        """Its Arrow schema, from ``columns``."""
        import pyarrow as pa  # here: settings read the names of columns, and start without Arrow

        def arrow_type(name: str) -> pa.DataType:
            if name.startswith("list<"):
                return pa.list_(pa.type_for_alias(name.removeprefix("list<").removesuffix(">")))
            return pa.type_for_alias(name)

        return pa.schema(
            [
                pa.field(column.name, arrow_type(column.type), nullable=not column.required)
                for column in self.columns
            ]
        )


SCORES = RunDataset(
    name="scores",
    description="one probability a user, and the first three reasons",
    writer="scoring",
    user_column=USER_ID,
    published_as="churn.scores",
    rows_column="score_rows",
    columns=(
        # COPY goes by this order. Readers of the old table know the first columns. The product is only in
        # the path: readers that take columns from folder names refuse files that have it too.
        Column(USER_ID, "string"),
        Column("target_week_start_date", "date32", dictionary=True),
        Column("learner_type", "string", dictionary=True),
        Column("learner_name", "string", dictionary=True),
        Column("predicted_probability", "float64"),
        Column("optimal_threshold", "float64", dictionary=True),
        Column("optimal_classification", "int32"),
        Column("score_datetime", "timestamp[us]", dictionary=True),
        Column("as_of", "date32", dictionary=True),
        Column("run_id", "string", dictionary=True),
        Column("model_version", "string", dictionary=True),
        Column("margin", "float64"),
        *(
            Column(f"reason_{rank}", "string", required=False, dictionary=True)
            for rank in range(1, SCORE_REASONS + 1)
        ),
    ),
)
LEARNER_SCORES = RunDataset(
    name="learner_scores",
    description="one probability for each user and learner of the stack",
    writer="scoring",
    user_column=USER_ID,
    columns=SCORES.columns,
    optional=True,
)
THEMES = RunDataset(
    name="themes",
    description="the sum of each user's contributions for each feature group",
    writer="scoring",
    user_column=USER_ID,
    compressible=False,
    optional=True,
)
SHAP = RunDataset(
    name="shap",
    description="one contribution for each user and feature, with the bias in the metadata",
    writer="scoring",
    user_column=USER_ID,
    compressible=False,
)
REASONS = RunDataset(
    name="reasons",
    description="the largest contributions of each user",
    writer="scoring",
    user_column=USER_ID,
    published_as="churn.reasons",
    rows_column="reason_rows",
    columns=(
        Column(USER_ID, "string"),
        Column("rank", "int16"),  # SMALLINT, which a warehouse loads as it is
        Column("feature", "string", dictionary=True),
        Column("value", "string", required=False),
        Column("contribution", "float32"),
        Column("sentence", "string", required=False),
    ),
)
EFFECTS = RunDataset(
    name="effects",
    description="what moves the predictions as a whole, by feature and value",
    writer="scoring",
    user_column=None,
    columns=(
        Column("feature", "string"),
        Column("cuts", "list<float32>"),
        Column("middle", "float32", required=False),
        Column("rows", "int64"),
        Column("total_abs", "float64"),
        Column("bin_rows", "list<int64>"),
        Column("bin_totals", "list<float64>"),
        Column("buckets", "list<int64>"),
    ),
)
FEATURES = RunDataset(
    name="features",
    description="what the scores were computed from",
    writer="unload",
    user_column=USER_ID,
)
MODEL = RunDataset(name="model", description="the booster and its card", writer="training", user_column=None)
CHARTS = RunDataset(name="charts", description="this report and its data", writer="report", user_column=None)
LOGS = RunDataset(
    name="logs", description="features, partitions and stages", writer="report", user_column=None
)

# In the order of the report's list of files.
DATASETS = (SCORES, LEARNER_SCORES, SHAP, THEMES, REASONS, EFFECTS, FEATURES, MODEL, CHARTS, LOGS)

PUBLISHED = tuple(dataset for dataset in DATASETS if dataset.published_as)
