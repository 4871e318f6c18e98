"""What a lake on S3 does without renames and locks, against a real S3 API over HTTP."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest
import s3fs
from fsspec.core import url_to_fs

from churn.config.store import StoreSettings
from churn.core.datasets import SCORES as SCORES_DATASET
from churn.core.errors import RunError
from churn.lake import staging_s3
from churn.lake.lake import Lake
from churn.lake.manifest import FileStamp
from churn.scoring.files import PartitionFiles, write_small
from tests.stand_ins.s3 import BUCKET, FAULTS, Faults
from tests.support.fixtures_aws import Bucket
from tests.support.lakes import (
    AS_OF,
    STARTED,
    WEEK,
    S3Place,
    commit,
    manifest,
    own_settings,
    pointed,
    put,
    visible,
)

_settings = pytest.fixture(autouse=True)(own_settings)
SCORES = "runs/product=food/week_start=2026-07-06/run={}/scores/part-00000.parquet"


@pytest.fixture
def place(bucket: Bucket) -> S3Place:
    return S3Place(bucket)


@pytest.fixture
def lake(place: S3Place) -> Lake:
    return Lake(place.root)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Every request made through s3fs from now on."""
    made: list[tuple[str, dict[str, Any]]] = []
    send = s3fs.S3FileSystem._get_s3_method_kwargs

    def noted(self: Any, method: Any, *args: Any, **kwargs: Any) -> Any:
        sent = send(self, method, *args, **kwargs)
        made.append((method.__name__, sent))
        return sent

    monkeypatch.setattr(s3fs.S3FileSystem, "_get_s3_method_kwargs", noted)
    return made


def begun(lake: Lake, run_id: str, week: date = WEEK) -> Any:
    folder = lake.start_run("food", week, run_id)
    put(folder.path("scores", "part-00000.parquet"), b"half")
    return folder


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be another process from now on: no run is this one's any more."""
    monkeypatch.setattr(staging_s3, "_PROCESS", "another")
    monkeypatch.setattr(staging_s3, "_claimed_here", set())


def test_before_every_request_of_a_commit_readers_see_the_old_state_or_the_new(
    lake: Lake, place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(lake, "old", as_of=AS_OF - timedelta(days=7))
    before = tuple(visible(place))
    folder = begun(lake, "new")
    states = []
    send = s3fs.S3FileSystem._get_s3_method_kwargs

    def look(*args: Any, **kwargs: Any) -> Any:
        states.append((tuple(visible(place)), pointed(place)))
        return send(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(s3fs.S3FileSystem, "_get_s3_method_kwargs", look)
        folder.commit(manifest("new"))
    after = tuple(visible(place))

    assert set(states) <= {(before, "old"), (after, "old"), (after, "new")}
    assert {(before, "old"), (after, "old")} <= set(states)
    assert states == sorted(states, key=lambda state: (state[0] == after, state[1] == "new"))
    assert pointed(place) == "new"


def test_only_the_products_own_prefixes_are_listed(
    lake: Lake, bucket: Bucket, requests: list[tuple[str, dict[str, Any]]]
) -> None:
    commit(lake, "a")
    lake.current("food")
    lake.prune("food", 1, dry_run=False)
    prefixes = {sent["Prefix"] for name, sent in requests if name.startswith("list")}
    root = f"{bucket.prefix}/lake"
    assert prefixes
    for prefix in prefixes:
        assert prefix.startswith((f"{root}/runs/", f"{root}/.staging/product=food")), prefix
    assert not {name for name, _ in requests} & {"head_bucket", "create_bucket", "list_buckets"}


def test_everything_is_written_with_the_settings_encryption_and_owner(
    bucket: Bucket, requests: list[tuple[str, dict[str, Any]]]
) -> None:
    settings = StoreSettings(
        encryption="aws:kms", kms_key="alias/churn", bucket_owner_full_control=True, part_megabytes=5
    )
    lake = Lake(f"{bucket.url}/lake", settings)
    with lake.start_run("food", WEEK, "a") as folder:
        fs, path = url_to_fs(folder.path("shap", "part-00000.parquet"))
        with fs.open(path, "wb") as file:  # in parts
            file.write(b"x" * (6 << 20))
            file.write(b"x" * (6 << 20))
        folder.commit(manifest("a"))
    written = [sent for name, sent in requests if name in ("put_object", "create_multipart_upload")]
    assert "create_multipart_upload" in {name for name, _ in requests}
    assert written
    for sent in written:
        assert sent["ServerSideEncryption"] == "aws:kms"
        assert sent["SSEKMSKeyId"] == "alias/churn"
        assert sent["ACL"] == "bucket-owner-full-control"
    for key in bucket.server.keys(bucket.prefix):
        head = bucket.server.client.head_object(Bucket=bucket.name, Key=key)
        assert head["ServerSideEncryption"] == "aws:kms"


def test_files_whose_stamp_is_known_are_measured_and_not_read(
    lake: Lake, requests: list[tuple[str, dict[str, Any]]]
) -> None:
    folder = begun(lake, "a")
    known = {"scores/part-00000.parquet": FileStamp(size=4, sha256="known")}
    del requests[:]
    run = folder.commit(manifest("a", files=known))
    assert run.manifest.files == known
    assert not [sent for name, sent in requests if name == "get_object" and "scores" in sent["Key"]]


@pytest.mark.parametrize("wrong", [{"scores/part-00000.parquet": 5}, {"scores/part-00001.parquet": 4}])
def test_a_file_that_is_not_as_it_was_written_ends_the_commit(lake: Lake, wrong: dict[str, int]) -> None:
    known = {name: FileStamp(size=size, sha256="known") for name, size in wrong.items()}
    with begun(lake, "a") as folder, pytest.raises(RunError, match=r"lost or changed scores/part-0000"):
        folder.commit(manifest("a", files=known))
    assert lake.runs() == []


# --- the pointer ---


def test_a_publisher_that_looked_before_a_newer_commit_does_not_win(
    lake: Lake, place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(lake, "first", as_of=AS_OF - timedelta(days=7))
    slow, looks = Lake(place.root), []
    look = slow.current

    def look_slowly(product: str) -> Any:
        found = look(product)
        looks.append(found.manifest.run_id)
        if len(looks) == 1:
            commit(lake, "newer")  # between the look and the write
        return found

    monkeypatch.setattr(slow, "current", look_slowly)
    commit(slow, "older", as_of=AS_OF - timedelta(days=7), started_at=STARTED + timedelta(hours=1))
    assert looks == ["older", "newer"]
    assert pointed(place) == "newer"


# --- runs that end without a commit ---


def test_a_dead_run_is_never_seen_and_swept_after_48_hours(
    lake: Lake, place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(lake, "dead")
    forget(monkeypatch)
    commit(lake, "before")
    assert SCORES.format("dead") in place.names(), "it may be alive"

    monkeypatch.setattr(staging_s3, "STALE_SECONDS", -1)
    commit(lake, "after", started_at=STARTED + timedelta(hours=1))
    assert not [name for name in place.names() if "run=dead" in name]
    assert [run.manifest.run_id for run in lake.runs()] == ["before", "after"]
    lake.start_run("food", WEEK, "last").discard()
    assert ".staging/product=food/dead.owner" not in place.names(), "long ended"


def test_a_run_that_was_swept_while_it_slept_cannot_commit(
    lake: Lake, place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(lake, "sleeper")
    with monkeypatch.context() as patch:
        forget(patch)
        patch.setattr(staging_s3, "STALE_SECONDS", -1)
        lake.start_run("food", WEEK, "other").discard()
    put(folder.path("scores", "part-00000.parquet"), b"half")
    with pytest.raises(RunError, match="taken for dead"):
        folder.commit(manifest("sleeper"))
    assert lake.runs() == []
    folder.discard()
    lake.start_run("food", WEEK, "next").discard()
    assert not [name for name in place.names() if name.startswith("runs/")], "what it wrote since is swept"


def test_a_run_is_not_swept_while_it_commits(
    lake: Lake, place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(lake, "a")
    sweep, read = lake._staging, staging_s3.read

    def commits_meanwhile(fs: Any, path: str) -> Any:
        found = read(fs, path)
        if path.endswith("/a.owner") and not lake.runs():
            with monkeypatch.context() as patch:
                patch.setattr(staging_s3, "read", read)
                folder.commit(manifest("a"))
        return found

    monkeypatch.setattr(staging_s3, "_claimed_here", set())
    monkeypatch.setattr(staging_s3, "STALE_SECONDS", -1)
    monkeypatch.setattr(staging_s3, "read", commits_meanwhile)
    assert sweep.claim("food", f"{WEEK}", "b") is not None
    lake.runs()[0].verify(checksums=True)


def test_a_commit_that_was_killed_before_it_ended_its_claim_stays(
    lake: Lake, place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(lake, "a")
    owner = place.read(".staging/product=food/a.owner")
    folder.commit(manifest("a"))
    place.write(".staging/product=food/a.owner", owner)
    forget(monkeypatch)
    monkeypatch.setattr(staging_s3, "STALE_SECONDS", -1)
    lake.refresh_pointer("food")
    lake.runs()[0].verify(checksums=True)
    assert ".staging/product=food/a.owner" not in place.names()


def test_what_a_worker_writes_that_outlived_its_run_is_swept(lake: Lake, place: S3Place) -> None:
    with begun(lake, "a") as folder:
        late = folder.path("scores", "part-00001.parquet")
    put(late, b"late")
    lake.start_run("food", WEEK, "b").discard()
    assert not [name for name in place.names() if name.startswith("runs/")]


def test_what_could_not_be_removed_is_swept_by_the_next_run_of_the_process(
    lake: Lake, place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no route to the store")

    with monkeypatch.context() as patch, begun(lake, "a"):
        patch.setattr(staging_s3.S3Staging, "clear", refuse)
        patch.setattr(staging_s3.S3StagedRun, "_renew", refuse)
    # Both were patched until here.
    lake.start_run("food", WEEK, "b").discard()
    assert not [name for name in place.names() if name.startswith("runs/")]


def test_an_upload_that_was_cut_short_is_removed(lake: Lake, bucket: Bucket) -> None:
    folder = lake.start_run("food", WEEK, "a")
    key = folder.path("shap", "part-00000.parquet").removeprefix(f"s3://{BUCKET}/")
    client = bucket.server.client
    client.create_multipart_upload(Bucket=BUCKET, Key=key)
    assert "Uploads" in client.list_multipart_uploads(Bucket=BUCKET, Prefix=key)
    folder.discard()
    assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET, Prefix=key)


def test_runs_are_not_gone_on_with(lake: Lake) -> None:
    folder = begun(lake, "a")
    folder.save_checkpoint(b"what is needed")
    with pytest.raises(ZeroDivisionError), folder:
        _ = 1 / 0
    assert not folder.kept
    assert not lake.resumable
    assert lake.resume_run("food", WEEK) is None


# --- partitions ---

SCHEMA = pa.schema([("user_id", pa.string())])


def partition(folder: Any, text: str = "a") -> PartitionFiles:
    fs, path = url_to_fs(folder.path())
    files = PartitionFiles(fs, path, "part-00007", {SCORES_DATASET: SCHEMA})
    files.write(SCORES_DATASET, pa.table({"user_id": [text]}))
    return files


def test_a_partition_is_seen_when_it_is_whole_and_stamped_as_it_is(lake: Lake, place: S3Place) -> None:
    name = SCORES.format("a").replace("00000", "00007")
    with lake.start_run("food", WEEK, "a") as folder:
        with partition(folder) as files:
            assert name not in place.names()
            stamp = files.close()["scores"]
        assert len(place.read(name)) == stamp.size
        run = folder.commit(manifest("a", files={"scores/part-00007.parquet": stamp}))
        run.verify(checksums=True)


def test_a_partition_that_fails_leaves_nothing(lake: Lake, place: S3Place, bucket: Bucket) -> None:
    with lake.start_run("food", WEEK, "a") as folder:
        with pytest.raises(ZeroDivisionError), partition(folder):
            _ = 1 / 0
        assert not [name for name in place.names() if name.startswith("runs/")]


def test_nothing_is_written_to_a_committed_run_by_a_worker_thought_dead(lake: Lake) -> None:
    with lake.start_run("food", WEEK, "a") as folder:
        with partition(folder) as files:
            files.close()
        late = partition(folder, "another")
        run = folder.commit(manifest("a"))
    with late, pytest.raises(RunError, match="is committed"):
        late.close()
    with pytest.raises(RunError, match="is committed"):
        write_small(run.fs, run.base, f"{run.base}/logs/partitions/part-00007.json", b"{}")
    run.verify(checksums=True)


# --- faults ---


@pytest.fixture
def hasty() -> StoreSettings:
    return StoreSettings(read_timeout=2, connect_timeout=2, max_attempts=10)


@pytest.mark.parametrize("only", ["PUT", "GET", "HEAD", "POST", "DELETE"])
def test_a_request_whose_answer_is_lost_is_repeated_and_not_taken_for_anothers(
    place: S3Place, s3_faults: Callable[[Faults], Faults], hasty: StoreSettings, only: str
) -> None:
    faults = s3_faults(Faults(rate=1.0, budget=0, kinds=["lost"], only=lambda method, path: method == only))
    lake = Lake(place.root, hasty)
    for turn in range(3):
        faults.budget = 2
        commit(lake, f"r{turn}", started_at=STARTED + timedelta(minutes=turn))
    for run in lake.runs():
        run.verify(checksums=True)
    assert len(lake.runs()) == 3
    assert pointed(place) == "r2"
    assert faults.injected or only == "DELETE"  # files are removed by POST


def test_commits_survive_errors_timeouts_and_cut_answers(
    place: S3Place, s3_faults: Callable[[Faults], Faults], hasty: StoreSettings
) -> None:
    faults = s3_faults(Faults(seed=7, rate=0.15, budget=25, kinds=FAULTS, timeout_s=0.2))
    lake = Lake(place.root, hasty)
    with ThreadPoolExecutor(2) as pool:
        list(
            pool.map(
                lambda turn: commit(lake, f"r{turn}", started_at=STARTED + timedelta(minutes=turn)), range(6)
            )
        )
    faults.budget = 0
    assert len(lake.runs()) == 6
    for run in lake.runs():
        run.verify(checksums=True)
    assert pointed(place) == "r5"
    assert faults.injected.total() > 5


def test_a_store_that_is_down_says_so_and_loses_nothing(
    place: S3Place, s3_faults: Callable[[Faults], Faults]
) -> None:
    commit(Lake(place.root), "before")
    seen = visible(place)
    faults = s3_faults(Faults(rate=1.0, budget=0, kinds=["503"]))
    lake = Lake(place.root, StoreSettings(max_attempts=1))
    with lake.start_run("food", WEEK, "a") as folder:
        put(folder.path("scores", "part-00000.parquet"), b"whole")
        faults.budget = 10_000
        with pytest.raises(RunError, match=r"committing the run .* reduce your request rate"):
            folder.commit(manifest("a"))
    faults.budget = 0
    assert visible(place) == seen
    commit(lake, "after", started_at=STARTED + timedelta(hours=1))
    assert pointed(place) == "after"
    assert not [name for name in place.names() if "run=a/" in name]


def test_a_bucket_that_is_not_there_and_a_missing_key_are_told(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake("s3://no-such-bucket-here/lake")
    assert lake.runs() == []
    with pytest.raises(RunError, match=r"writing to the lake .* bucket does not exist"):
        lake.start_run("food", WEEK, "a")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(RunError, match="Unable to locate credentials"):
        Lake(f"{bucket.url}/lake").start_run("food", WEEK, "a")


def test_a_claim_tells_nothing_but_week_and_state(lake: Lake, place: S3Place) -> None:
    folder = lake.start_run("food", WEEK, "a")
    told = json.loads(place.read(".staging/product=food/a.owner"))
    assert told.keys() == {"week", "state", "process", "nonce"}
    folder.discard()
