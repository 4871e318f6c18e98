import os
import re
import stat
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from churn.config.load import builtin_products, load_settings
from churn.config.settings import ClusterSettings, Product, Settings
from churn.config.warehouse import PASSWORD_VARIABLE, USER_VARIABLE
from churn.core import datasets
from churn.core.errors import ConfigError, UsageError
from churn.core.names import identifier, slug

UNSAFE = [
    "",
    "Food",
    "1food",
    "food-fresh",
    "food fresh",
    "food;drop table x",
    "food'",
    'food"',
    "../food",
    "/food",
    "food/..",
    ".",
    "fööd",
    "food\n",
    "food\x00",
    "食品",
    "\uff46ood",  # a full-width letter: `str.isidentifier` would take it
    "f" * 64,
]


def folder(path: Path, text: str) -> Path:
    (path / "churn.toml").write_text(text, "utf-8")
    return path


def load(data: Path, overrides: Mapping[str, Any] | None = None) -> Settings:
    return load_settings(data, data / "out", overrides)


def refusal(data: Path, overrides: Mapping[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as refused:
        load(data, overrides)
    return str(refused.value)


def test_a_folder_without_settings_is_refused_and_says_how_to_make_one(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"{tmp_path / 'churn.toml'} does not exist: name a data folder made by `churn simulate` or "
        "`churn ingest` with --data"
    )


def test_built_in_products_serve_where_no_folder_is_needed(tmp_path: Path) -> None:
    settings = load_settings(tmp_path / "none", tmp_path, optional=True)
    assert sorted(settings.products) == ["iplayer", "pan", "sounds"]


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    data = folder(
        tmp_path,
        'source = "other"\n'
        "sed = 1\n"
        "partition_rows = 0\n"
        'sql_memory = "lots"\n'
        "[cluster]\nworkers = -1\n"
        '[products.food]\ntitle = "food"\nminimum = 3\nminimum_value = -1\n'
        '[products."../x"]\ntitle = "x"\n'
        '[products.drink]\nmatch = ["d"]\n',
    )
    lines = refusal(data).splitlines()
    assert lines[0] == f"{data / 'churn.toml'} is wrong:"
    for place in (
        "source",
        "sed",
        "partition_rows",
        "sql_memory",
        "cluster.workers",
        "products.food.minimum",
        "products.food.minimum_value",
        "products.../x",
        "products.drink.title",
    ):
        assert len([line for line in lines if line.startswith(f"  - {place}: ")]) == 1, place
    assert len(lines) == 10


def test_quiet_weeks_are_mondays(tmp_path: Path) -> None:
    product = '[products.food]\ntitle = "food"\nquiet_weeks = [{}]\n'
    data = folder(tmp_path, product.format('2025-12-22, "2025-12-29"'))
    weeks = load(data).product("food").quiet_weeks
    assert weeks == (date(2025, 12, 22), date(2025, 12, 29))
    fault = refusal(folder(tmp_path, product.format('"2025-12-24"')))
    assert "products.food.quiet_weeks.0: " in fault
    assert "2025-12-24 is a Wednesday, but a week starts on its Monday: 2025-12-22" in fault


@pytest.mark.parametrize("text", ["source = ", "[products", "source = 'a\n"])
def test_what_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    assert "is not valid TOML" in refusal(folder(tmp_path, text))


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "churn.toml").write_bytes(b'title = "\xff"')
    assert "is not valid TOML" in refusal(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    data = folder(tmp_path, "")
    (data / "churn.toml").chmod(stat.S_IWUSR)
    assert "cannot be read: Permission denied" in refusal(data)


@pytest.mark.parametrize("products", ["3", '"food"', "[1]", '[{title = "food"}]'])
@pytest.mark.parametrize("source", ["bbc", "events"])
def test_products_that_are_no_table_are_refused(tmp_path: Path, products: str, source: str) -> None:
    data = folder(tmp_path, f'source = "{source}"\nproducts = {products}\n')
    assert "  - products: " in refusal(data)


def test_environment_wins_over_the_file_and_hand_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder(tmp_path, "seed = 2\npartition_rows = 20\n[cluster]\nworkers = 2\nthreads_per_worker = 2\n")
    assert load_settings(data, data).seed == 2
    monkeypatch.setenv("CHURN_SEED", "3")
    monkeypatch.setenv("CHURN_PARTITION_ROWS", "30")
    monkeypatch.setenv("CHURN_CLUSTER__WORKERS", "4")
    settings = load(data, {"seed": 5})
    assert (settings.seed, settings.partition_rows) == (5, 30)
    assert settings.cluster == ClusterSettings(workers=4, threads_per_worker=2)
    assert load(data, {"cluster": {"workers": 6}}).cluster == ClusterSettings(workers=6, threads_per_worker=2)


def test_defaults_hold_where_nothing_is_said(tmp_path: Path) -> None:
    settings = load(folder(tmp_path, ""))
    assert (settings.source, settings.seed, settings.id_column) == ("bbc", 1, "user_id")
    assert settings.tracking_uri == f"sqlite:///{tmp_path / 'out' / 'mlflow.db'}"
    assert load(tmp_path, {"mlflow_tracking_uri": "http://x"}).tracking_uri == "http://x"


def test_a_variable_reaches_into_a_product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = folder(tmp_path, "")
    monkeypatch.setenv("CHURN_PRODUCTS__SOUNDS__MINIMUM_VALUE", "60")
    product = load(data).product("sounds")
    assert (product.minimum_value, product.title) == (60, "BBC Sounds")


def test_a_variable_that_is_no_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_SEEED", "1")
    assert "  - seeed (CHURN_SEEED): is not a setting; did you mean seed?" in refusal(folder(tmp_path, ""))


def test_a_variable_and_a_part_of_it_contradict_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_CLUSTER__WORKERS", "1")
    monkeypatch.setenv("CHURN_CLUSTER", "local")
    message = refusal(folder(tmp_path, ""))
    assert message.startswith("CHURN_CLUSTER__WORKERS sets a part of 'cluster'")


@pytest.mark.parametrize("variable", ["CHURN_PRODUCTS", "CHURN_CLUSTER"])
def test_a_variable_that_is_a_whole_section_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "local")
    name = variable.removeprefix("CHURN_").lower()
    assert f"  - {name} ({variable}): must be a table [{name}]" in refusal(folder(tmp_path, ""))


def test_folders_are_arguments_not_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = folder(tmp_path, 'out = "elsewhere"\nseed = "x"\n')
    monkeypatch.setenv("CHURN_DATA", "/somewhere")
    message = refusal(data)
    for fault in ("  - data: set it with --data", "  - out: set it with --out", "  - seed: "):
        assert fault in message


def test_built_in_products_merge_with_the_folders_own(tmp_path: Path) -> None:
    data = folder(
        tmp_path,
        "[products.iplayer]\nminimum_value = 60\n[products.iplayer.training]\nmax_dates = 8\n"
        '[products.bitesize]\ntitle = "Bitesize"\nmatch = ["bitesize"]\n',
    )
    settings = load(data)
    assert sorted(settings.products) == ["bitesize", "iplayer", "pan", "sounds"]
    iplayer, built_in = settings.product("iplayer"), builtin_products()["iplayer"]
    assert (iplayer.minimum_value, iplayer.training.max_dates) == (60, 8)
    assert iplayer.categories == tuple(built_in["categories"])
    assert settings.product("sounds").minimum_value == 180
    assert "minimum_value" in built_in
    assert built_in["minimum_value"] == 180  # what is built in stays what it is


def test_a_log_of_ones_own_has_only_its_own_products(tmp_path: Path) -> None:
    data = folder(tmp_path, 'source = "events"\n[products.food]\ntitle = "food"\n')
    assert list(load(data).products) == ["food"]


def test_an_unknown_product_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    settings = load(folder(tmp_path, ""))
    with pytest.raises(UsageError, match=r"unknown product 'itv'; .*churn.toml knows: iplayer, pan, sounds"):
        settings.product("itv")


def test_an_unknown_product_says_so_where_there_is_none(tmp_path: Path) -> None:
    settings = load(folder(tmp_path, 'source = "events"'))
    with pytest.raises(UsageError, match="knows: none"):
        settings.product("itv")


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_product_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be used as a name in SQL and paths|is too long"):
        load(folder(tmp_path, ""), {"products": {name: {"title": "x"}}})


def test_an_unsafe_product_name_in_the_file_is_refused(tmp_path: Path) -> None:
    data = folder(tmp_path, '[products."x; drop table scores --"]\ntitle = "x"\n')
    assert "'x; drop table scores --' cannot be used as a name in SQL and paths" in refusal(data)


def test_a_product_name_leaves_room_for_the_names_made_from_it(tmp_path: Path) -> None:
    data = folder(tmp_path, "")
    longest = "p" * 32
    assert load(data, {"products": {longest: {"title": "x"}}}).product(longest).title == "x"
    identifier(f"run_{longest}_20260629t180000z_3fa1c2")
    identifier(f"backtest_{longest}_20260628_outcomes")
    with pytest.raises(ConfigError, match="is too long for a product name: use 32 characters at most"):
        load(data, {"products": {"p" * 33: {"title": "x"}}})


@given(st.text())
@example("a\n")
@example("٣")  # a digit, but not one of 0 to 9
@example("ﬁ")
def test_identifiers_are_safe_or_refused(name: str) -> None:
    safe = bool(name) and len(name) <= 63 and not name[0].isdigit() and set(name) <= set(SAFE)
    if safe:
        assert identifier(name) == name
    else:
        with pytest.raises(UsageError, match="cannot be used as a name"):
            identifier(name)


SAFE = "abcdefghijklmnopqrstuvwxyz0123456789_"


@given(st.text(SAFE, max_size=70))
def test_identifiers_take_every_safe_name(name: str) -> None:
    if name and len(name) <= 63 and not name[0].isdigit():
        assert identifier(name) == name
    else:
        with pytest.raises(UsageError):
            identifier(name)


@given(st.text())
@example("")
@example("2024")
@example("日本")
@example("İstanbul")
@example("a" * 31 + " b")
def test_a_slug_of_anything_is_a_safe_name_with_room_for_a_prefix(value: str) -> None:
    made = slug(value)
    assert identifier(made) == made
    assert len(made) <= 32
    assert identifier(f"share_category_{made}")


def test_slugs_are_readable() -> None:
    assert slug("Religion & Ethics") == "religion_ethics"
    assert slug("Children's") == "children_s"
    assert slug("2024 Olympics") == "_2024_olympics"
    assert slug("Médiathèque ☕") == "mediatheque"
    assert slug("Straßenbahn Łódź") == "strassenbahn_lodz"
    assert slug("İstanbul") == "istanbul"


def test_slugs_tell_texts_apart_whose_letters_are_lost() -> None:
    texts = [
        "映画",
        "音楽",
        "Кино",
        "Новости",
        "BBC Радио",
        "BBC Кино",
        "Pâté",
        "Pêtê",
        "2024 映画",
        "!!!",
        "??",
    ]
    assert len({slug(text) for text in texts}) == len(texts)
    assert re.fullmatch(r"bbc_[0-9a-f]{8}", slug("BBC Радио"))
    assert slug("Кино") == slug("КИНО") == "_9380692f"
    assert slug("x" * 40) == "x" * 32
    assert slug("News \u2013 Sport") == "news_sport"


@pytest.mark.parametrize("field", ["categories", "devices"])
def test_values_that_would_share_a_feature_are_refused(tmp_path: Path, field: str) -> None:
    data = folder(
        tmp_path,
        f'source = "events"\n[products.food]\ntitle = "food"\n{field} = ["Tea & cake", "tea, cake", "x"]\n',
    )
    assert f"{field} that give the same feature name: tea_cake" in refusal(data)


def test_a_category_and_a_device_may_share_a_name() -> None:
    product = Product(title="x", categories=("tv",), devices=("tv",))
    assert (product.categories, product.devices) == (("tv",), ("tv",))


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_a_minimum_that_is_no_amount_is_refused(tmp_path: Path, value: str) -> None:
    data = folder(tmp_path, f'source = "events"\n[products.food]\ntitle = "food"\nminimum_value = {value}\n')
    assert "products.food.minimum_value: " in refusal(data)


@pytest.mark.parametrize("name", [*datasets.SCORES.column_names[1:], "user id", 'x"; drop table scores; --'])
def test_an_id_column_that_the_scores_table_cannot_have_is_refused(tmp_path: Path, name: str) -> None:
    assert "  - id_column (given by hand): " in refusal(folder(tmp_path, ""), {"id_column": name})


@pytest.mark.parametrize("name", ["user_id", "bbc_hid3", "order"])
def test_any_other_safe_name_may_be_the_id_column(tmp_path: Path, name: str) -> None:
    assert load(folder(tmp_path, ""), {"id_column": name}).id_column == name


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load(folder(tmp_path, ""))
    with pytest.raises(ValidationError, match="frozen"):
        settings.seed = 2  # type: ignore[misc]  # they are frozen
    with pytest.raises(ValidationError, match="frozen"):
        settings.product("pan").title = "x"  # type: ignore[misc]  # so are products


@pytest.mark.parametrize("name", sorted(builtin_products()))
def test_built_in_products_are_whole(name: str) -> None:
    product = Product.model_validate(builtin_products()[name])
    assert product.title
    assert len(product.categories) <= 12
    assert product.value_unit == "seconds"
    assert product.minimum_value == 180


# --- profiles ---

PROFILES = """
seed = 2
sql_memory = "1GB"
[cluster]
workers = 2
[profiles.aws]
seed = 3
[profiles.aws.cluster]
threads_per_worker = 4
[profiles.aws.store]
lake = "s3://some-bucket/lake"
[profiles.local.cluster]
workers = 1
"""


def test_a_profile_is_merged_over_the_rest_of_the_file(tmp_path: Path) -> None:
    settings = load(folder(tmp_path, PROFILES), {"profile": "aws"})
    assert (settings.profile, settings.seed, settings.sql_memory) == ("aws", 3, "1GB")
    assert settings.cluster == ClusterSettings(workers=2, threads_per_worker=4)
    assert settings.store.lake == "s3://some-bucket/lake"


def test_without_a_choice_the_profile_is_local(tmp_path: Path) -> None:
    settings = load(folder(tmp_path, PROFILES))
    assert (settings.profile, settings.seed, settings.cluster.workers) == ("local", 2, 1)
    assert settings.store.lake is None
    assert load(folder(tmp_path, "")).profile == "local"


def test_the_command_line_chooses_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder(
        tmp_path, 'profile = "a"\n[profiles.a]\nseed = 5\n[profiles.b]\nseed = 6\n[profiles.c]\nseed = 7\n'
    )
    assert load(data).seed == 5
    monkeypatch.setenv("CHURN_PROFILE", "b")
    assert load(data).seed == 6
    assert load(data, {"profile": "c"}).seed == 7


def test_the_environment_wins_over_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHURN_PROFILE", "aws")
    monkeypatch.setenv("CHURN_SEED", "9")
    assert load(folder(tmp_path, PROFILES)).seed == 9


def test_an_unknown_profile_is_refused_with_the_known_ones_and_every_other_fault(tmp_path: Path) -> None:
    message = refusal(folder(tmp_path, PROFILES + "[explain]\nreason = 3\n"), {"profile": "prod"})
    assert "  - profile (given by hand): 'prod' is unknown; the file has: aws, local" in message
    assert "  - explain.reason: " in message


def test_faults_of_a_profile_are_told_with_its_name(tmp_path: Path) -> None:
    data = folder(tmp_path, 'seed = "x"\n[profiles.aws]\nsead = 1\npartition_rows = 0\n')
    lines = refusal(data, {"profile": "aws"}).splitlines()
    assert lines[0] == f"{data / 'churn.toml'} (with profile aws) is wrong:"
    assert [line.split(":")[0] for line in lines[1:]] == [
        "  - seed",
        "  - partition_rows ([profiles.aws])",
        "  - sead ([profiles.aws])",
    ]


@pytest.mark.parametrize("key", ["profile = 'local'", "[profiles.aws.profiles.local]\nseed = 1"])
def test_a_profile_cannot_hold_profiles(tmp_path: Path, key: str) -> None:
    assert "a profile cannot hold this" in refusal(
        folder(tmp_path, f"[profiles.aws]\n{key}\n"), {"profile": "aws"}
    )


@pytest.mark.parametrize("profiles", ["profiles = 3", 'profiles = ["aws"]', "[profiles]\naws = 1"])
def test_profiles_that_are_no_tables_are_refused(tmp_path: Path, profiles: str) -> None:
    assert "  - profiles: must be tables, such as [profiles.aws]" in refusal(
        folder(tmp_path, f"sead = 1\n{profiles}\n")
    )


def test_a_login_in_the_environment_is_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (USER_VARIABLE, PASSWORD_VARIABLE):
        monkeypatch.setenv(name, "canary-secret")
    assert "canary-secret" not in str(load(folder(tmp_path, "")))
    assert "canary-secret" not in refusal(folder(tmp_path, "sead = 1"))


def test_faults_of_store_and_warehouse_do_not_show_what_was_given(tmp_path: Path) -> None:
    secret = "canary-secret"
    data = folder(
        tmp_path,
        f'[store]\nendpoint_url = "https://user:{secret}@host"\n'
        f'[warehouse]\nkind = "redshift"\nhost = "{secret}@x"\niam_role = "{secret}"\npassword = "{secret}"\n',
    )
    message = refusal(data)
    assert secret not in message
    for place in ("store", "warehouse.host", "warehouse.password"):
        assert f"  - {place}: " in message


# --- what is wrong is told in sentences ---


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sed = 1", "sed: is not a setting; did you mean seed?"),
        ("workers = 4", "workers: is not a setting; did you mean cluster.workers?"),
        ("frobnicate = 4", "frobnicate: is not a setting; known here: profile, source, products, seed"),
        ("outt = 4", "outt: is not a setting; known here: profile"),  # not `out`, which is given elsewhere
        ("[explain]\nreason = 4", "explain.reason: is not a setting; did you mean explain.reasons?"),
        (
            '[products.food]\ntitle = "x"\ntrainin = 1',
            "products.food.trainin: is not a setting; did you mean products.food.training?",
        ),
        (
            '[products.food]\ntitle = "x"\n[products.food.training]\nmax_date = 1',
            "products.food.training.max_date: is not a setting; did you mean products.food.training.max_dates?",
        ),
        ("[products.food]", "products.food.title: is required"),
        ("seed = -1", "seed: must be at least 0 and at most 4,294,967,295"),
        (f"seed = {2**32}", "seed: must be at least 0 and at most 4,294,967,295"),
        (
            '[cluster]\nmemory_limit = "lots"',
            'cluster.memory_limit: must look like "auto" or "2GB" or "0.5"',
        ),
        ('[cluster]\nkind = "address"', "cluster.kind 'address' needs cluster.address"),
        ('[cluster]\nkind = "fargate"', "kind 'fargate' needs a table [cluster.fargate]"),
        (
            'mlflow_tracking_uri = "nonsense"',
            'mlflow_tracking_uri: must look like "https://mlflow.example.org" or "sqlite:////data/mlflow.db"',
        ),
        ('mlflow_tracking_uri = "file:///mlruns"', "mlflow_tracking_uri: must look like"),
        ('mlflow_tracking_uri = ""', "mlflow_tracking_uri: must look like"),
        ('[store]\nlake = "gs://x/y"', "store: lake must be on S3, such as s3://bucket/prefix, or a local"),
        ('[store]\nlake = "a::b"', "store: lake must not hold '::'"),
        ('[store]\nlake = "s3://b/y"', "store: lake must name a bucket as S3 does: 3 to 63 small letters"),
        ('[store]\nlake = "s3://bucket//y"', "store: lake must be an address such as s3://bucket/prefix"),
        ('seed = "x"', "seed: must be a whole number"),
        ("seed = 1.5", "seed: must be a whole number"),
        ('publish_reasons = "perhaps"', "publish_reasons: must be true or false"),
        ("id_column = 3", "id_column: must be text"),
        ('[products.food]\ntitle = "x"\nmatch = "food"', "products.food.match: must be a list"),
        ("cluster = 3", "cluster: must be a table [cluster]"),
        ('source = "csv"', "source: must be 'bbc' or 'events'"),
        ("[explain]\nreasons = 99", "explain.reasons: must be at least 3 and at most 20"),
        ('[explain]\nreasons = "all"', "explain.reasons: must be a whole number, at least 3 and at most 20"),
        ("[store]\nread_timeout = 0", "store.read_timeout: must be more than 0 and at most 900"),
        ('[store]\nlake = ""', "store.lake: must not be empty"),
        ('sql_memory = "lots"', 'sql_memory: must look like "4GB"'),
        ('[warehouse]\nhost = "a b"', 'warehouse.host: must look like "churn.'),
        ('[store]\nkms_key = "x"', "store: kms_key goes with encryption 'aws:kms'"),
        ('[prefect]\naws_credentials = "My Block"', 'prefect.aws_credentials: must look like "churn-aws"'),
        ('[prefect]\naws_credential = "x"', "did you mean prefect.aws_credentials?"),
    ],
)
def test_a_fault_is_told_in_a_sentence_with_what_is_allowed(tmp_path: Path, text: str, told: str) -> None:
    (fault,) = refusal(folder(tmp_path, text)).splitlines()[1:]
    assert told in fault
    assert fault.startswith("  - ")
    assert not re.search(r"Input should|Value error|permitted|Field required|pydantic", fault)


def test_a_fault_names_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = folder(tmp_path, "partition_rows = 0\n[profiles.aws.cluster]\nworkers = 0\n")
    monkeypatch.setenv("CHURN_EXPLAIN__REASONS", "many")
    message = refusal(data, {"profile": "aws", "seed": "x"})
    for place in (
        "partition_rows:",
        "cluster.workers ([profiles.aws]):",
        "explain.reasons (CHURN_EXPLAIN__REASONS):",
        "seed (given by hand):",
    ):
        assert f"  - {place} must be " in message


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////data/ml flow.db", "sqlite:///mlflow.db", "https://me:word@mlflow.example.org/x",
        "http://x", "postgresql://db/mlflow", "mysql+pymysql://db/mlflow",
    ],
)  # fmt: skip
def test_what_mlflow_takes_is_taken(tmp_path: Path, uri: str) -> None:
    assert load(folder(tmp_path, f'mlflow_tracking_uri = "{uri}"')).tracking_uri == uri


def test_a_variable_with_too_few_underscores_is_told_which_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_CLUSTER_WORKERS", "4")
    monkeypatch.setenv("CHURN_CLUSTER__FARGATE_WORKER_CPU", "4")
    message = refusal(folder(tmp_path, ""))
    assert message.splitlines()[0] == f"{tmp_path / 'churn.toml'} (with CHURN_* variables) is wrong:"
    assert (
        "cluster_workers (CHURN_CLUSTER_WORKERS): is not a setting; did you mean CHURN_CLUSTER__WORKERS?"
        in message
    )
    assert "did you mean CHURN_CLUSTER__FARGATE__WORKER_CPU?" in message


def test_an_unknown_profile_is_told_with_where_it_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder(tmp_path, "")
    assert "profile (given by hand): 'prod' is unknown" in refusal(data, {"profile": "prod"})
    monkeypatch.setenv("CHURN_PROFILE", "aws")
    assert "profile (CHURN_PROFILE): 'aws' is unknown; the file has: local" in refusal(data)


def test_a_fault_never_shows_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "canary-secret"
    monkeypatch.setenv("CHURN_PARTITION_ROWS", secret)
    monkeypatch.setenv("CHURN_PREFECT__REDSHIFT_LOGIN", f"{secret}!")
    text = f'password = "{secret}"\nsource = "{secret}"\nsql_memory = "{secret}"\n[store]\nlake = "s3://key:{secret}@x"\n'
    message = refusal(folder(tmp_path, text))
    assert len(message.splitlines()) == 7
    assert secret not in message


def test_a_block_for_the_login_goes_with_a_login(tmp_path: Path) -> None:
    warehouse = {
        "kind": "redshift",
        "host": "h",
        "database": "d",
        "workgroup": "w",
        "iam_role": "default",
    }
    chosen = {"prefect": {"redshift_login": "churn-redshift"}, "warehouse": warehouse}
    message = "settings: prefect.redshift_login goes with warehouse.auth 'environment'"
    assert message in refusal(folder(tmp_path, ""), chosen)
    settings = load(folder(tmp_path, ""), {**chosen, "warehouse": {**warehouse, "auth": "environment"}})
    assert settings.prefect.redshift_login == "churn-redshift"
    local = load(folder(tmp_path, ""), {"prefect": chosen["prefect"]})  # of use to another profile
    assert local.warehouse.kind == "duckdb"
