"""Settings of the store, and what is opened with them: here, and in other processes."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.core import url_to_fs
from pydantic import ValidationError

from churn.config.store import StoreSettings
from churn.core.errors import UsageError
from churn.lake.filesystem import (
    ConfiguredTask,
    address,
    configure,
    local_copy,
    open_root,
    s3_options,
    staged_folder,
)
from tests.support.fixtures_aws import Bucket
from tests.support.lakes import own_settings

_settings = pytest.fixture(autouse=True)(own_settings)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"encryption": "AES128"}, "encryption"),
        ({"kms_key": "alias/churn"}, "kms_key goes with"),
        ({"lake": ""}, "lake"),
        ({"lake": "s3://"}, "an address such as"),
        ({"lake": "s3://Bucket/x"}, "3 to 63 small letters"),
        ({"lake": "s3://user:key@bucket/x"}, "an address such as"),
        ({"lake": "s3://bucket//x"}, "an address such as"),
        ({"lake": "s3://b/y"}, "3 to 63 small letters"),
        ({"lake": "gs://bucket/x"}, "must be on S3"),
        ({"lake": "memory://x"}, "must be on S3"),
        ({"endpoint_url": "https://user:password@store.example"}, "endpoint_url must be"),
        ({"endpoint_url": "store.example"}, "endpoint_url must be"),
        ({"region": "EU West"}, "region"),
        ({"part_megabytes": 4}, "part_megabytes"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"secret_access_key": "x"}, "secret_access_key"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        StoreSettings.model_validate(given)


@pytest.mark.parametrize(
    "lake", [None, "out/lake", "/data/lake", "s3://bucket", "s3://bucket/a/b", "s3://b.c-d/a"]
)
def test_settings_that_fit_are_taken(lake: str | None) -> None:
    StoreSettings(lake=lake, encryption="aws:kms", kms_key="arn:aws:kms:eu-west-1:1:key/2")


def test_every_setting_reaches_the_file_system() -> None:
    options = s3_options(
        StoreSettings(
            endpoint_url="https://store.example:9000",
            region="eu-west-2",
            encryption="aws:kms",
            kms_key="alias/churn",
            bucket_owner_full_control=True,
            max_attempts=3,
            retry_mode="adaptive",
            connect_timeout=4,
            read_timeout=5,
            part_megabytes=6,
        )
    )
    assert options["endpoint_url"] == "https://store.example:9000"
    assert options["client_kwargs"] == {"region_name": "eu-west-2"}
    assert options["default_block_size"] == 6 << 20
    assert options["s3_additional_kwargs"] == {
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "alias/churn",
        "ACL": "bucket-owner-full-control",
    }
    config = options["config_kwargs"]
    assert config["retries"] == {"total_max_attempts": 3, "mode": "adaptive"}
    assert (config["connect_timeout"], config["read_timeout"]) == (4, 5)
    assert options["use_listings_cache"] is False


def test_no_option_holds_a_key() -> None:
    assert (
        not {"key", "secret", "token", "username", "password", "profile"} & s3_options(StoreSettings()).keys()
    )


def test_what_is_opened_by_its_address_alone_is_opened_with_the_settings() -> None:
    fs, base = open_root("s3://bucket/lake", StoreSettings(part_megabytes=7, region="eu-west-2"))
    again, path = url_to_fs("s3://bucket/lake/x")
    assert again is fs
    assert (base, path) == ("bucket/lake", "bucket/lake/x")
    assert again.default_block_size == 7 << 20
    assert address(fs, path) == "s3://bucket/lake/x"


def test_a_root_without_settings_keeps_those_of_the_process() -> None:
    configure(StoreSettings(part_megabytes=9))
    assert open_root("s3://bucket/lake")[0].default_block_size == 9 << 20
    fsspec.config.conf.pop("s3")
    assert open_root("s3://bucket/lake")[0].default_block_size == StoreSettings().part_megabytes << 20


def test_another_store_is_refused_without_advice_to_install_anything() -> None:
    with pytest.raises(UsageError, match="must be on S3") as refused:
        open_root("gs://bucket/x")
    assert "gcsfs" not in str(refused.value)


@pytest.mark.parametrize("root", ["", "memory://lake", "nonsense://x", "a\0b", "s3://", "s3:///x"])
def test_other_roots_are_refused(root: str) -> None:
    with pytest.raises(UsageError, match="the lake's root"):
        open_root(root)


def test_a_local_path_is_its_own_address(tmp_path: Path) -> None:
    fs, base = open_root(f"{tmp_path}/lake")
    assert address(fs, f"{base}/x") == f"{tmp_path}/lake/x"


@dataclass(frozen=True)
class Answer:
    rows: int


def block_size(task: str) -> Answer:
    return Answer(url_to_fs(task)[0].default_block_size)


def test_a_function_takes_the_settings_along_to_another_process() -> None:
    function = pickle.loads(pickle.dumps(ConfiguredTask(StoreSettings(part_megabytes=11), block_size)))  # noqa: S301 - ours
    fsspec.config.conf.pop("s3", None)
    assert function("s3://bucket/x").rows == 11 << 20
    assert function.__name__ == "block_size"


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "disk":
        (tmp_path / "model").mkdir()
        return f"{tmp_path}/model"
    return f"{request.getfixturevalue('bucket').url}/model"


def test_a_draft_is_put_in_its_place_and_comes_back_as_a_copy_of_the_same_name(folder: str) -> None:
    with staged_folder(folder) as draft:
        (draft / "card.json").write_text("{}")
        (draft / "below").mkdir()
        (draft / "below" / "x").write_bytes(b"x")
    with local_copy(folder) as copy:
        assert copy.name == "model"
        found = {str(path.relative_to(copy)): path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert found == {"card.json": b"{}", "below/x": b"x"}
    assert copy.exists() == folder.startswith("/")


def test_a_draft_that_fails_is_put_nowhere_on_s3(bucket: Bucket) -> None:
    with pytest.raises(ZeroDivisionError), staged_folder(f"{bucket.url}/model") as draft:  # noqa: PT012 - a block
        (draft / "card.json").write_text("{}")
        _ = 1 / 0
    assert bucket.keys() == []


def test_columns_read_side_by_side_fetch_no_block_twice(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(StoreSettings(part_megabytes=5))
    columns = {f"c{number}": pa.array(range(number, number + 60_000), pa.int64()) for number in range(40)}
    fs, path = url_to_fs(f"{bucket.url}/wide.parquet")
    pq.write_table(pa.table(columns), path, filesystem=fs, compression="none", use_dictionary=False)
    fetched = []
    fetch = type(fs)._get_s3_method_kwargs

    def noted(self: object, method: object, *args: object, **kwargs: object) -> object:
        fetched.append(kwargs.get("Range"))
        return fetch(self, method, *args, **kwargs)

    monkeypatch.setattr(type(fs), "_get_s3_method_kwargs", noted)
    file = pq.ParquetFile(path, filesystem=fs, pre_buffer=False, buffer_size=1 << 18)
    assert sum(batch.num_rows for batch in file.iter_batches(10_000)) == 60_000
    ranges = [span for span in fetched if span]
    assert len(ranges) == len(set(ranges)) == -(-fs.size(path) // (5 << 20))
