"""Split training rows into holdout, development and validation: by date, or by user if dates are too few.

A label is known one label delay (14 days by default) after its as-of date. As in a weekly run, evaluation
rows are at least that much later than fitted rows. No split is random.
"""

import hashlib
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from churn.config.training import TrainingSettings
from churn.model.rows import Mask, TrainingRows

Role = Literal["training", "validation", "gap", "holdout"]
Judged = Literal["later_dates", "other_users"]
# Users are divided into this many parts if dates are too few.
PARTS = 5
_FEWEST_OF_A_CLASS = 5


@dataclass(frozen=True)
class Fold:
    """One validation fold: rows to fit and rows to validate on."""

    fit: Mask
    validate: Mask


@dataclass(frozen=True)
class Split:
    """How each row is used before the final refit on all rows.

    Attributes:
        holdout: rows that evaluate the model.
        development: rows that the evaluated model is fitted on.
        folds: validation folds within development; they choose the number of trees.
        judged_on: whether the holdout is later dates, or other users because there are too few dates.
        roles: how each date is used; ``gap`` dates lie less than the label delay before the holdout.
        notes: sentences on differences from the usual scheme.
    """

    holdout: Mask
    development: Mask
    folds: tuple[Fold, ...]
    judged_on: Judged
    roles: dict[date, Role]
    notes: tuple[str, ...]


def split(rows: TrainingRows, settings: TrainingSettings) -> Split:
    """Split training rows into holdout, development and validation folds within development.

    The holdout is the latest ``holdout_dates`` dates (fewer if nothing else would be left). Development is
    all rows at least one label delay older than the holdout's first date. Folds go back from the end of
    development in blocks of ``validation_dates`` dates, each predicted from rows at least one label delay
    older, until they have ``validation_rows`` rows together. All folds after the first must leave half of
    development to fit on.

    If there are too few dates for a holdout, a fifth of the users (by a hash of the id) is held out at all
    dates. If there are too few for a fold, each fold is a fifth of development's users.
    """
    notes = []
    dates = np.unique(rows.dates)
    by_date = _holdout_by_date(rows, dates, settings)
    if by_date is None:
        parts = _parts(rows, "holdout")
        holdout, development = parts == 0, parts != 0
        notes.append(
            f"With {len(dates)} as-of date(s), none is at least {rows.label_delay.days} days later than "
            "enough others: a fifth of the users was held out instead, and the figures do not show how "
            "the model does on a later week."
        )
    else:
        holdout, development = by_date
        count = len(np.unique(rows.dates[holdout]))
        if count < settings.holdout_dates:
            notes.append(f"The holdout is {count} as-of date(s), as there are only {len(dates)} in all.")
    judged_on: Judged = "other_users" if by_date is None else "later_dates"
    folds = _folds_by_date(rows, development, settings)
    if not folds:
        folds = _folds_by_user(rows, development, settings)
        notes.append(
            "The number of trees was chosen on other users, as there are too few as-of dates for later ones."
        )
    roles = _roles(dates, rows, holdout, development, folds, judged_on)
    return Split(holdout, development, folds, judged_on, roles, tuple(notes))


def _holdout_by_date(
    rows: TrainingRows, dates: NDArray[np.datetime64], settings: TrainingSettings
) -> tuple[Mask, Mask] | None:
    """Return holdout and development; the holdout is shortened to leave a fold by date."""
    candidates = []
    for count in range(min(settings.holdout_dates, len(dates)), 0, -1):
        first = dates[-count]
        development = rows.dates <= first - rows.label_delay
        if _both_classes(rows, development):
            candidates.append((rows.dates >= first, development))
            if _folds_by_date(rows, development, settings):
                return candidates[-1]
    return candidates[0] if candidates else None


def _folds_by_date(rows: TrainingRows, development: Mask, settings: TrainingSettings) -> tuple[Fold, ...]:
    dates = np.unique(rows.dates[development])
    for size in range(settings.validation_dates, 0, -1):
        folds: list[Fold] = []
        for end in range(len(dates), size - 1, -size):
            validate = development & (rows.dates >= dates[end - size]) & (rows.dates <= dates[end - 1])
            fit = development & (rows.dates <= rows.dates[validate][0] - rows.label_delay)
            too_short = bool(folds) and 2 * fit.sum() < development.sum()
            if too_short or not (_both_classes(rows, fit) and _both_classes(rows, validate, 1)):
                break
            folds.append(Fold(fit, validate))
            if _enough(folds, settings):
                break
        if folds:
            return tuple(folds)
    return ()


def _folds_by_user(rows: TrainingRows, development: Mask, settings: TrainingSettings) -> tuple[Fold, ...]:
    parts = _parts(rows, "validation")
    folds: list[Fold] = []
    for part in range(PARTS):
        validate = development & (parts == part)
        if validate.any():
            folds.append(Fold(development & (parts != part), validate))
        if folds and _enough(folds, settings):
            break
    return tuple(folds)


def _enough(folds: list[Fold], settings: TrainingSettings) -> bool:
    rows = sum(int(fold.validate.sum()) for fold in folds)
    return rows >= settings.validation_rows or len(folds) >= settings.validation_folds


def _both_classes(rows: TrainingRows, which: Mask, fewest: int = _FEWEST_OF_A_CLASS) -> bool:
    churners = int(rows.churned[which].sum())
    return min(churners, int(which.sum()) - churners) >= fewest


def _parts(rows: TrainingRows, purpose: str) -> NDArray[np.int64]:
    """Return the part of each row's user, from a hash of purpose and user id."""
    first_rows = np.unique(rows.users, return_index=True)[1]
    ids = rows.keys["user_id"].take(first_rows).to_pylist()
    parts = [
        int.from_bytes(hashlib.blake2b(f"{purpose}:{user}".encode(), digest_size=8).digest()) % PARTS
        for user in ids
    ]
    return np.array(parts, dtype=np.int64)[rows.users]


def _roles(
    dates: NDArray[np.datetime64],
    rows: TrainingRows,
    holdout: Mask,
    development: Mask,
    folds: tuple[Fold, ...],
    judged_on: Judged,
) -> dict[date, Role]:
    if judged_on == "other_users":
        return dict.fromkeys(dates.tolist(), "training")

    def dates_of(which: Mask) -> list[date]:
        days: list[date] = np.unique(rows.dates[which]).tolist()
        return days

    roles: dict[date, Role] = dict.fromkeys(dates.tolist(), "gap")
    roles |= dict.fromkeys(dates_of(development), "training")
    validation = {day for fold in folds for day in dates_of(fold.validate)}
    # Folds by user validate on every date, so no date has that role.
    if validation != set(dates_of(development)):
        roles |= dict.fromkeys(validation, "validation")
    return roles | dict.fromkeys(dates_of(holdout), "holdout")
