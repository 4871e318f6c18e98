"""The model artefact: fitted members, their weights, and a card with features, categories and figures.

On disk a model is a folder without pickle: ``model.json`` (the card, and weight and checksum of every other
file) and one file a member, such as ``xgboost.ubj`` (XGBoost's universal binary JSON) and ``logistic.npz``.
"""

import hashlib
import posixpath
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

import fsspec
import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from churn.config.training import LearnerKind, ParamValue
from churn.core.errors import RunError
from churn.model.encoding import FeatureSchema, Matrix, sigmoid, some
from churn.model.learners import LearnerError, Member, member_suffix, read_member

CARD_FILE = "model.json"
FORMAT = 2


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class DateSummary(_Frozen):
    """One as-of date's snapshots, and their role before the final refit on all rows.

    ``gap`` dates lie within the label delay before the holdout: their labels were not known on its as-of
    date.
    """

    as_of: date
    rows: int
    churn_rate: float
    role: Literal["training", "validation", "gap", "holdout"]


class LearnerSummary(_Frozen):
    """How one learner did, whether or not it is in the shipped model.

    Attributes:
        name: its name in the settings.
        kind: what it is.
        weight: its weight in the shipped model, on its log-odds; 0 = not in it.
        size: trees, epochs or clusters.
        fold_log_loss: on later rows of the folds; None if it could not be fitted.
        holdout_log_loss: on the holdout.
        threshold: lowest probability that it would classify as churn: best F1 on the holdout.
        failure: why it could not be fitted; empty if it was.
    """

    name: str
    kind: LearnerKind
    weight: float = Field(ge=0)
    size: int
    fold_log_loss: float | None
    holdout_log_loss: float | None
    threshold: float | None
    failure: str = ""


class StackSummary(_Frozen):
    """The stack against the single best learner, on rows that neither members nor weights were fitted on.

    Attributes:
        shipped: whether the stack is the shipped model.
        best: the single best learner.
        difference: log loss of the stack minus that of the single best; below 0, the stack is better.
        low: lower end of its 95 % interval.
        high: upper end.
        rows: rows compared.
    """

    shipped: bool
    best: str
    difference: float
    low: float | None
    high: float | None
    rows: int


class ModelCard(_Frozen):
    """A model's features, training data, parameters and figures.

    Attributes:
        as_of: as-of date of the run that trained it; all labels were known by then.
        model_version: product, date and a hash of members, data and code; equal versions are equal models.
        features: feature columns in the order of the model's matrix.
        categories: category feature -> values in the order of their codes.
        params: what its members were fitted with; with several members, names begin with the member's.
        trees: number of trees of all members.
        training_dates: as-of dates that the shipped model was fitted on (holdout included).
        rows: snapshots that the shipped model was fitted on.
        judged_on: ``later_dates``: the holdout is later than the rows of the evaluated model.
            ``other_users``: there were too few dates, so users were held out by a hash of their id.
        metrics: the holdout evaluation (``Evaluation.to_dict``) of a model fitted without the holdout and
            without rows whose label was not known on the holdout's as-of date.
        threshold: lowest probability that is classified as churn: best F1 on the holdout.
        data_fingerprint: hash of the training snapshots; it does not depend on their order.
        learners: how each learner did.
        stack: the stack against the single best learner; None with one learner.
        notes: sentences on differences from the usual scheme.
    """

    product: str
    as_of: date
    model_version: str
    features: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    params: dict[str, ParamValue]
    trees: int
    training_dates: tuple[date, ...]
    dates: tuple[DateSummary, ...]
    rows: int
    churn_rate: float
    judged_on: Literal["later_dates", "other_users"]
    metrics: dict[str, Any]
    threshold: float = Field(ge=0, le=1)
    seed: int
    data_fingerprint: str
    code_version: str
    created_at: AwareDatetime
    learners: tuple[LearnerSummary, ...] = ()
    stack: StackSummary | None = None
    notes: tuple[str, ...] = ()


class _MemberFile(_Frozen):
    name: str
    kind: LearnerKind
    weight: float = Field(gt=0)
    features: tuple[str, ...]  # of the card, in order
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.name}.{member_suffix(self.kind)}"


class _File(_Frozen):
    format: Literal[2]
    members: tuple[_MemberFile, ...] = Field(min_length=1)
    card: ModelCard


@dataclass(frozen=True, eq=False)
class ModelMember:
    """A fitted learner within a model.

    Attributes:
        name: the learner's name in the settings.
        kind: what it is.
        member: what was fitted.
        weight: of its log-odds in the model's.
        columns: which columns of the model's matrix it reads, in order; None = all.
    """

    name: str
    kind: LearnerKind
    member: Member
    weight: float = 1.0
    columns: tuple[int, ...] | None = None

    def matrix(self, X: Matrix) -> Matrix:
        """Return its columns of the model's matrix, (rows, its features), column-major."""
        return X if self.columns is None else X.T[list(self.columns)].T


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted model: its log-odds are the weighted sum of its members'."""

    members: tuple[ModelMember, ...]
    card: ModelCard

    @classmethod
    def of(cls, member: Member, card: ModelCard, kind: LearnerKind = "xgboost") -> Self:
        """Return a model of one member."""
        return cls((ModelMember(kind, kind, member),), card)

    @property
    def schema(self) -> FeatureSchema:
        """The schema that encodes tables as matrices."""
        return FeatureSchema(self.card.features, self.card.categories)

    @property
    def learner(self) -> str:
        """``stack``, or the name of the only member."""
        return "stack" if len(self.members) > 1 else self.members[0].name

    def margin(self, matrix: Matrix) -> NDArray[np.float64]:
        """Return the log-odds of churn, (rows,), of a (rows, features) matrix made by ``encode``."""
        total = np.zeros(len(matrix))
        for each in self.members:
            total += each.weight * each.member.margin(each.matrix(matrix))
        return total

    def probability(self, matrix: Matrix) -> NDArray[np.float64]:
        """Return the probability of churn, (rows,) float64, of a matrix made by ``encode``."""
        return sigmoid(self.margin(matrix))

    def save(self, folder: str | Path) -> None:
        """Write the model's files into a folder (path or fsspec URL), which is created if missing.

        Raises:
            RunError: the folder cannot be written.
        """
        contents = {each.name: each.member.to_bytes() for each in self.members}
        names = self.card.features
        described = tuple(
            _MemberFile(
                name=each.name,
                kind=each.kind,
                weight=each.weight,
                features=names if each.columns is None else tuple(names[column] for column in each.columns),
                sha256=hashlib.sha256(contents[each.name]).hexdigest(),
            )
            for each in self.members
        )
        document = _File(format=FORMAT, members=described, card=self.card)
        files, root = fsspec.core.url_to_fs(str(folder))
        try:
            files.makedirs(root, exist_ok=True)
            for entry in described:
                files.pipe_file(posixpath.join(root, entry.file), contents[entry.name])
            # Written last, so that a folder with a card also has its members.
            text = document.model_dump_json(indent=1) + "\n"
            files.pipe_file(posixpath.join(root, CARD_FILE), text.encode())
        except OSError as error:
            raise RunError(f"the model cannot be written to {folder}: {error}") from error

    @classmethod
    def load(cls, folder: str | Path, *, threads: int = 0) -> "Model":
        """Read a model that ``save`` wrote.

        Example:
            >>> model = Model.load("model")
            >>> model.probability(model.schema.encode(table))

        Args:
            folder: local path or fsspec URL.
            threads: number of threads for predictions; 0 = all.

        Raises:
            RunError: a file is missing or damaged, files do not belong together, another version of churn
                wrote them, or a member's library is missing.
        """
        files, root = fsspec.core.url_to_fs(str(folder))
        try:
            document = _File.model_validate_json(files.cat_file(posixpath.join(root, CARD_FILE)))
        except OSError as error:
            raise RunError(f"{folder} holds no complete model ({CARD_FILE}): {error}; train again") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise RunError(
                f"{folder}/{CARD_FILE} is damaged or of another version: {where}: {first['msg']}; train again"
            ) from error
        position = {name: index for index, name in enumerate(document.card.features)}
        members = []
        for entry in document.members:
            unknown = [name for name in entry.features if name not in position]
            if unknown:
                raise RunError(
                    f"{folder}: the member {entry.name} reads features that the card lacks: {some(unknown)}; "
                    "train again"
                )
            try:
                raw = files.cat_file(posixpath.join(root, entry.file))
            except OSError as error:
                raise RunError(
                    f"{folder} holds no complete model ({entry.file}): {error}; train again"
                ) from error
            columns = tuple(position[name] for name in entry.features)
            whole = columns == tuple(range(len(position)))
            member = _read(entry, raw, f"{folder}/{entry.file}", threads)
            members.append(
                ModelMember(entry.name, entry.kind, member, entry.weight, None if whole else columns)
            )
        return cls(tuple(members), document.card)


def _read(entry: _MemberFile, raw: bytes, path: str, threads: int) -> Member:
    if hashlib.sha256(raw).hexdigest() != entry.sha256:
        raise RunError(
            f"{path} is damaged or belongs to another model: its checksum is not the one in {CARD_FILE}; "
            "train again"
        )
    try:
        return read_member(entry.kind, raw, threads)
    except ValueError as error:
        raise RunError(f"{path} cannot be read: {error}; train again") from error
    except LearnerError as error:
        raise RunError(f"{path} cannot be read: {error}") from error
