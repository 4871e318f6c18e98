"""A committed run: its manifest, files and rows, and a check that they are unchanged."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import file_digest
from typing import TYPE_CHECKING, Any

from churn.core.errors import RunError
from churn.core.io_errors import storage_errors
from churn.lake.filesystem import address
from churn.lake.manifest import Manifest
from churn.lake.paths import MANIFEST, path_inside

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MANIFEST", "REMAKE", "Run", "path_inside"]

REMAKE = "Restore it from a backup, or remove the run's folder and make the run again"


@dataclass(frozen=True)
class Run:
    """A committed run.

    ``scores``, ``contributions``, ``reasons`` and ``features`` return Arrow tables; add ``.to_pandas()`` for
    pandas. They read only the columns and row groups asked for, from a disk or from S3. Their arguments:

    - ``users``: ids; None = everybody. An id that was not scored has no row.
    - ``columns`` or ``features``: which columns beside ``user_id``, in this order; None = all.

    They raise RunError if files are missing or damaged, and UsageError, which lists all columns, for a column
    that does not exist.

    Example:
        >>> run = churn.open_lake(settings).current("iplayer")
        >>> run.scores(columns=["predicted_probability"]).to_pandas()
        >>> run.manifest.metrics["log_loss"]

    Attributes:
        manifest: the run's description of itself.
        fs: the fsspec file system that holds it.
        base: the run's folder in that file system.
    """

    manifest: Manifest
    fs: Any
    base: str

    def path(self, *parts: str) -> str:
        """Return the path, or the S3 address, of a file or folder of the run.

        Such as ``path("scores", "part-00000.parquet")``; without parts, the run's folder.
        """
        return address(self.fs, path_inside(self.base, parts))

    def scores(self, users: Sequence[str] | None = None, columns: Sequence[str] | None = None) -> "pa.Table":
        """Return one row a user: probability, log-odds, threshold, first reasons, ids and dates.

        Arguments and errors: see ``Run``.

        Example:
            >>> run.scores(["u00000007"], ["predicted_probability", "reason_1"])
        """
        return self._read("scores", users, columns)

    def contributions(
        self, users: Sequence[str] | None = None, features: Sequence[str] | None = None
    ) -> "pa.Table":
        """Return SHAP contributions in log-odds: ``user_id`` and one float32 column a feature.

        A user's contributions and the bias add up to the user's margin. The bias is in the schema's metadata.
        Arguments and errors: see ``Run``.

        Example:
            >>> table = run.contributions(["u00000007"], ["days_w2"])
            >>> float(table.schema.metadata[b"bias"])

        Raises:
            RunError: also if the run was made with explain.contributions = 'none'.
        """
        return self._read("shap", users, features)

    def reasons(self, users: Sequence[str] | None = None) -> "pa.Table":
        """Return the largest contributions of each user: user_id, rank, feature, value, contribution.

        Arguments and errors: see ``Run``.

        Example:
            >>> run.reasons(["u00000007"]).to_pandas()
        """
        return self._read("reasons", users, None)

    def features(
        self, users: Sequence[str] | None = None, columns: Sequence[str] | None = None
    ) -> "pa.Table":
        """Return one row a user: the feature values that the scores were computed from.

        Arguments and errors: see ``Run``.

        Example:
            >>> run.features(columns=["days_w2", "tenure_days"])
        """
        return self._read("features", users, columns)

    def _read(self, dataset: str, users: Sequence[str] | None, columns: Sequence[str] | None) -> "pa.Table":
        from churn.lake.readers import read_rows  # pyarrow's datasets are slow to import

        return read_rows(self.path(), dataset, users, columns)

    def verify(self, *, checksums: bool = False) -> None:
        """Check that names and sizes of the files, and bytes on request, are as committed.

        Raises:
            RunError: naming what is missing, changed or unexpected, or that an erasure was cut short.
        """
        if self.manifest.erasing:
            raise RunError(
                f"users are being erased from run {self.manifest.run_id} at {self.base}: wait for it or, if "
                "`churn erase` was stopped, run it again with the same file"
            )
        stamps = self.manifest.files
        faults = []
        with storage_errors("reading the run", self.base):
            listing = self.fs.find(self.base, detail=True)
            sizes = {path[len(self.base) + 1 :]: info["size"] for path, info in listing.items()}
            for name in sorted((stamps.keys() | sizes.keys()) - {MANIFEST}):
                if name not in sizes:
                    faults.append(f"{name} is missing")
                elif name not in stamps:
                    faults.append(f"{name} does not belong to it")
                elif sizes[name] != stamps[name].size:
                    faults.append(f"{name} has {sizes[name]} bytes instead of {stamps[name].size}")
                elif checksums and self._sha256(name) != stamps[name].sha256:
                    faults.append(f"{name} has other bytes than those committed")
        if faults:
            listed = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
            raise RunError(f"run {self.manifest.run_id} at {self.base} is damaged: {listed}. {REMAKE}")

    def _sha256(self, name: str) -> str:
        with self.fs.open(f"{self.base}/{name}", "rb") as file:
            return file_digest(file, "sha256").hexdigest()
