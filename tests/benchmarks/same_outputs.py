"""Compare what two checkouts make of one seed: source tables, features, scores, SHAP values, published rows.

    git worktree add ../before COMMIT
    python -m tests.benchmarks.same_outputs --before ../before --users 3000 --weeks 24

Each checkout simulates a broadcaster and runs the weekly job for every product on two dates: the first builds
all history, the second adds a week to it. A column is equal where its Arrow buffers are, byte for byte. Left
out are the columns that name the run or the program: see ``OF_THE_RUN``. Exits with 1 where anything differs.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
LAST_SUNDAY = date(2026, 6, 28)
# They differ between two runs of one checkout (run, time), or with the version and its words.
OF_THE_RUN = {"run_id", "score_datetime", "published_at", "model_version", "learner_type", "learner_name"}
DATASETS = ("features", "scores", "shap", "reasons", "effects")
PUBLISHED = ("scores", "reasons")


def make(checkout: Path, folder: Path, arguments: argparse.Namespace) -> float:
    """Simulate and run with the program of a checkout; return the CPU seconds of all its processes."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "PREFECT_HOME": str(folder / "prefect"),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
        "CHURN_PUBLISH_REASONS": "true",
    }
    size = ["--users", arguments.users, "--weeks", arguments.weeks, "--seed", arguments.seed]
    commands = [["simulate", "--into", folder / "data", *size, "--end", LAST_SUNDAY]]
    commands += [
        ["run", "--data", folder / "data", "--out", folder / "out", "--as-of", as_of]
        for as_of in (LAST_SUNDAY - timedelta(weeks=1), LAST_SUNDAY)
    ]
    before = os.times()
    for command in commands:
        line = [sys.executable, "-m", "flows.cli", *(str(part) for part in command)]
        ended = subprocess.run(line, cwd=checkout, env=environment, capture_output=True, text=True)
        if ended.returncode:
            raise SystemExit(f"{' '.join(line)} failed in {checkout}:\n{ended.stdout}{ended.stderr}")
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def tables(folder: Path) -> Iterator[tuple[str, pa.Table]]:
    """Yield each table of what a checkout has made, with a name that does not depend on the run."""
    for path in sorted((folder / "data").rglob("*.parquet")):
        yield f"source {path.relative_to(folder / 'data')}", pq.read_table(path, partitioning=None)
    runs = folder / "out" / "lake" / "runs"
    for run in sorted(runs.glob("product=*/week_start=*/run=*")):
        for dataset in DATASETS:
            for path in sorted((run / dataset).rglob("*.parquet")):
                place = f"{run.parent.relative_to(runs)}/{path.relative_to(run)}"
                yield f"{dataset} {place}", pq.read_table(path, partitioning=None)
    with duckdb.connect(str(folder / "out" / "warehouse.duckdb"), read_only=True) as warehouse:
        for name in PUBLISHED:
            found = warehouse.execute(
                "select table_name from information_schema.tables where table_schema = 'churn' and table_name = ?",
                [name],
            ).fetchone()
            if found:
                # `order by all` makes the order of rows a matter of their values.
                columns = ", ".join(
                    f'"{column}"'
                    for (column,) in warehouse.execute(
                        "select column_name from information_schema.columns"
                        " where table_schema = 'churn' and table_name = ? order by ordinal_position",
                        [name],
                    ).fetchall()
                    if column not in OF_THE_RUN
                )
                rows = warehouse.execute(f"select {columns} from churn.{name} order by all")
                yield f"published churn.{name}", rows.to_arrow_table()


def models(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each run's trees, as written."""
    runs = folder / "out" / "lake" / "runs"
    for path in sorted(runs.glob("product=*/week_start=*/run=*/model/*")):
        if "booster" in path.name:
            yield f"model {path.parents[2].relative_to(runs)}/{path.name}", path.read_bytes()


def digest(column: pa.ChunkedArray) -> str:
    """Return a digest of a column's values: of its buffers, as one array without a dictionary."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    whole = pa.table({"values": column.combine_chunks()}).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        writer.write_table(whole)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def digests(folder: Path) -> dict[tuple[str, str], tuple[int, str]]:
    """Return table, column -> rows and digest."""
    made = {
        (name, column): (table.num_rows, digest(table[column]))
        for name, table in tables(folder)
        for column in table.column_names
        if column not in OF_THE_RUN
    }
    return made | {(name, "bytes"): (1, hashlib.sha256(text).hexdigest()) for name, text in models(folder)}


def main() -> None:
    """Run both checkouts, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="checkout to compare with")
    parser.add_argument("--users", type=int, default=3_000)
    parser.add_argument("--weeks", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found, seconds = [], []
        for name, checkout in (("before", arguments.before.resolve()), ("after", ROOT)):
            begun = time.monotonic()
            seconds.append(make(checkout, Path(folder, name), arguments))
            print(
                f"{name}: {seconds[-1]:.0f} CPU s, {time.monotonic() - begun:.0f} s of wall", file=sys.stderr
            )
            found.append(digests(Path(folder, name)))
    before, after = found
    different = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    shown = Table("what", "tables", "columns", "values", "different", title="One seed, two checkouts")
    kinds = list(dict.fromkeys(name.split()[0] for name, _ in before))
    for kind in kinds:
        keys = [key for key in before if key[0].split()[0] == kind]
        shown.add_row(
            kind,
            f"{len({name for name, _ in keys}):,}",
            f"{len(keys):,}",
            f"{sum(before[key][0] for key in keys):,}",
            f"{sum(key[0].split()[0] == kind for key in different):,}",
        )
    Console().print(shown)
    for name, column in different[:20]:
        print(f"different: {name}: {column}: {before.get((name, column))} {after.get((name, column))}")
    sys.exit(1 if different or not before else 0)


if __name__ == "__main__":
    main()
