"""The command line reads its arguments: right ones are understood, wrong ones get one clear sentence."""

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
import sqlglot

import flows.cli
import flows.commands.run
from churn.config.load import builtin_products
from tests.support.command_line import exit_code
from tests.support.data_folders import AS_OF, files_below, weekly_events, write_table

Called = tuple[int, str, str]
Call = Callable[..., Called]

COMMANDS = sorted(flows.cli.cli.commands)
# What takes seconds to import, and is needed only once a command has understood its arguments.
HEAVY = ("dask", "distributed", "duckdb", "mlflow", "pandas", "prefect", "pyarrow", "sklearn", "xgboost")


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the program in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call_(*arguments: str) -> Called:
        return exit_code(arguments), *capsys.readouterr()

    return call_


def refusal(called: Called, code: int) -> str:
    """The sentence that a refused command ends with; nothing else may have been said."""
    assert called[0] == code
    assert called[1] == ""
    assert "Traceback" not in called[2]
    *usage, sentence = called[2].strip().splitlines()
    assert all(re.match(r"Usage: |Try |$", line) for line in usage), called[2]
    assert re.match(r"(churn|Error): .", sentence)
    return sentence.partition(": ")[2]


# --- wrong usage ---


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["frobnicate"], r"No such command 'frobnicate'"),
        (["run", "--fast"], r"No such option: --fast|No such option '--fast'"),
        (["run", "--as-of", "29.6.2026"], r"'29.6.2026' is not a date like 2026-06-28"),
        (["run", "--as-of", "2026-02-30"], r"'2026-02-30' is not a date like"),
        (["run", "--as-of"], r"--as-of' requires an argument"),
        (["demo", "--users", "2000", "--users", "3000"], r"--users is given 2 times: give it once"),
        (["run", "--out", "a", "--out", "a"], r"--out is given 2 times"),
        (
            ["ingest", "log.csv", "--into", "here", "--column", "user_id=a", "--column", "user_id=b"],
            r"--column names user_id twice \(a and b\)",
        ),
        (["demo", "--users", "many"], r"'many' is not a valid integer"),
        (["demo", "--users", "100"], r"100 is not in the range x>=1500"),
        (["demo", "--weeks", "12"], r"12 is not in the range x>=20"),
        (["simulate", "--users", "0"], r"0 is not in the range x>=1"),
        (["simulate", "--end", "2026-06-29"], r"2026-06-29 is a Monday.*2026-06-28 and 2026-07-05"),
        (["simulate", "--seed", "-1"], r"seed is -1"),
        (["ingest", "log.csv"], r"Missing option '--into'"),
        (["ingest", "--into", "here"], r"Missing argument 'SOURCE'"),
        (["ingest", "log.csv", "--into", "here", "--column", "user_id"], r"user_id=customer: NAME=COLUMN"),
        (["ingest", "log.csv", "--into", "here", "--column", "=uid"], r"user_id=customer: NAME=COLUMN"),
        (["ingest", "grocery", "--into", "here", "--column", "user_id=uid"], r"--column"),
        (["backtest", "--product", "iplayer", "--json", "f.json"], r"Missing option '--as-of'"),
        (["backtest", "--product", "iplayer", "--as-of", "2026-06-14"], r"Missing option '--json'"),
        (["backtest", "--as-of", "2026-06-14", "--json", "f.json"], r"Missing option '--product'"),
        (["render"], r"Missing option '--product'"),
        (["render", "--product", "tv"], r"unknown product 'tv'.*iplayer, pan, sounds"),
        (["render", "--product", "iplayer", "--dialect", "oracle"], r"'oracle' is not one of"),
        (["render", "--product", "iplayer", "--as-of", "2026-06-29"], r"2026-06-29 is a Monday"),
        (["render", "--product", "iplayer", "--step", "magic"], r"unknown step 'magic'.*user_week"),
        (["explain", "--product", "iplayer"], r"Missing option '--user'"),
        (["explain", "--user", "u1"], r"Missing option '--product'"),
        (
            ["explain", "--product", "iplayer", "--user", "u1"],
            r"no committed run of 'iplayer', nor of any other product; .*churn run",
        ),
        (["explain", "--product", "../up", "--user", "u1"], r"'\.\./up' cannot name a folder"),
        (["prune"], r"Missing option '--keep-weeks'"),
        (["prune", "--keep-weeks", "0"], r"0 is not in the range 1<=x<=5200"),
        (["prune", "--keep-weeks", "200000"], r"200000 is not in the range 1<=x<=5200"),
        (["run", "--rebuild-weeks", "200000"], r"200000 is not in the range 0<=x<=5200"),
        (["prune", "--keep-weeks", "1", "--product", "../up"], r"'\.\./up' cannot name a folder"),
        (["erase"], r"Missing option '--user-file'"),
        (["alerts"], r"Missing option '--url-file'"),
        (["alerts", "--url-file", "url.txt", "--silent-after", "10"], r"10 is not in the range x>=45"),
        (["products", "--profile"], r"'--profile' requires an argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_in_one_sentence(
    call: Call, tmp_path: Path, arguments: list[str], told: str
) -> None:
    assert re.search(told, refusal(call(*arguments), 2))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_of_any_command_is_dropped_when_it_is_given_twice(call: Call, name: str) -> None:
    options = [option for option in flows.cli.cli.commands[name].params if isinstance(option, click.Option)]
    once = [option.opts[0] for option in options if not (option.multiple or option.is_flag)]
    assert once
    for option in once:
        assert refusal(call(name, option, "1", option, "2"), 2) == f"{option} is given 2 times: give it once"


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A data folder in the working folder that knows two products, and holds no table yet."""
    (tmp_path / "data").mkdir()
    products = '[products.tv]\ntitle = "TV"\n[products.radio]\ntitle = "Radio"\nmatch = ["radio"]\n'
    (tmp_path / "data" / "churn.toml").write_text(f'source = "events"\n{products}', "utf-8")
    return "data"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--product", "film"], r"unknown product 'film'.*radio, tv"),
        (["run", "--product", "tv", "--product", "'; drop table"], r"unknown product \"'; drop table\""),
        (["run", "--as-of", "2026-06-29"], r"2026-06-29 is a Monday.*2026-06-28 and 2026-07-05"),
    ],
)
def test_run_refuses_before_prefect_is_imported(
    call: Call, data: str, tmp_path: Path, arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flows.weekly", None)  # importing it now fails
    before = files_below(tmp_path)
    assert re.search(told, refusal(call(*arguments, "--data", data, "--out", "out"), 2))
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("chosen", [[], ["--as-of", "2026-11-15"], ["--product", "tv"]], ids=str)
def test_run_refuses_a_date_that_the_data_do_not_reach_before_prefect_is_imported(
    call: Call, data: str, chosen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flows.weekly", None)  # importing it now fails
    monkeypatch.setattr(flows.commands.run, "start_server", pytest.fail)
    write_table(Path(data), "events.activity", weekly_events(["a"], 3, AS_OF))
    code, out, err = call("run", *chosen, "--data", data, "--out", "out")
    *before, told = err.splitlines()
    assert (code, out) == (1, "")
    assert before == (
        [] if "--product" in chosen else ["  all products: tv, radio (--product NAME runs one)"]
    )
    assert told.startswith(
        f"churn: the data end on {AS_OF - timedelta(days=4)}, and have nothing in the week"
    )
    assert "add --as-of 2024-06-23, " in told


@pytest.mark.parametrize(
    ("product", "day", "told"),
    [("film", "2026-06-14", "unknown product 'film'"), ("tv", "2026-06-15", "2026-06-15 is a Monday")],
)
def test_backtest_refuses_before_it_opens_the_data(
    call: Call, data: str, product: str, day: str, told: str
) -> None:
    dates = ["--as-of", "2026-06-14", "--as-of", day]
    line = ["backtest", "--data", data, "--product", product, *dates, "--json", "f.json"]
    assert told in refusal(call(*line), 2)


def test_a_file_without_users_is_refused_before_the_warehouse_is_opened(
    call: Call, data: str, tmp_path: Path
) -> None:
    Path("users.txt").write_text("\n")
    line = ["erase", "--data", data, "--out", "out", "--user-file"]
    assert "users.txt holds no user id" in refusal(call(*line, "users.txt"), 2)
    assert "none.txt cannot be read (No such file" in refusal(call(*line, "none.txt"), 2)
    assert not Path("out").exists()


# --- failures ---


def test_a_missing_data_folder_fails_and_says_how_to_make_one(call: Call) -> None:
    told = refusal(call("run", "--data", "nowhere"), 1)
    assert "nowhere/churn.toml does not exist" in told
    assert "churn ingest" in told


def test_wrong_settings_fail_with_every_fault(call: Call, data: str) -> None:
    Path(data, "churn.toml").write_text('sead = 1\nsource = "csv"\n', "utf-8")
    code, out, err = call("products", "--data", data)
    assert (code, out) == (1, "")
    assert "sead" in err
    assert "source" in err
    assert "Built in" not in err
    assert "Traceback" not in err


def test_built_in_products_are_told_where_products_are_wrong(call: Call, data: str) -> None:
    Path(data, "churn.toml").write_text("[products.iplayr]\n", "utf-8")
    assert "Built in: iplayer, pan, sounds" in call("products", "--data", data)[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["render", "--product", "tv"],
        ["backtest", "--product", "tv", "--as-of", "2026-06-14", "--json", "f.json"],
        ["explain", "--product", "tv", "--user", "u1"],
        ["products"],
        ["check"],
        ["migrate"],
        ["prune", "--keep-weeks", "2"],
        ["erase", "--user-file", "users.txt"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_command_with_settings_takes_a_profile_and_refuses_an_unknown_one(
    call: Call, data: str, arguments: list[str]
) -> None:
    code, out, err = call(*arguments, "--data", data, "--profile", "prod")
    assert (code, out) == (1, "")
    assert "profile (given by hand): 'prod' is unknown; the file has: local" in err


def test_a_data_folder_without_tables_fails(call: Call, data: str) -> None:
    line = ["backtest", "--data", data, "--product", "tv", "--as-of", "2026-06-14", "--json", "f.json"]
    code, _, err = call(*line)
    assert code == 1
    assert "data/tables holds no tables" in err
    assert "Traceback" not in err


def test_stopping_is_a_failure_without_a_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(flows.commands.run, "run_products", stopped)
    assert refusal(call("products"), 130) == "stopped; nothing half-written is to be seen"


def test_a_bug_keeps_its_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(flows.commands.run, "run_products", broken)
    with pytest.raises(ZeroDivisionError):
        call("products")


# --- help ---


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_each_command_has_help_for_itself_and_each_option(call: Call, name: str, flag: str) -> None:
    code, out, err = call(name, flag)
    assert (code, err) == (0, "")
    command = flows.cli.cli.commands[name]
    assert " ".join(command.help.split()) in " ".join(out.split())
    for parameter in command.params:
        assert parameter.opts[0] in out or parameter.human_readable_name in out
        assert isinstance(parameter, click.Argument) or parameter.help, parameter.name


def test_help_and_version_of_the_program(call: Call) -> None:
    code, out, _ = call("--help")
    assert code == 0
    assert all(f"  {name} " in out for name in COMMANDS)
    code, out, _ = call("--version")
    assert code == 0
    assert re.fullmatch(r"churn, version \d+\.\d+\.\d+\n", out)


def test_no_command_at_all_shows_the_help_as_wrong_usage(call: Call) -> None:
    code, out, err = call()
    assert code == 2
    assert "Commands:" in out + err


@pytest.mark.process
def test_help_imports_nothing_that_is_slow() -> None:
    program = f"""
import sys
import flows.cli
for name in {COMMANDS!r}:
    flows.cli.main([name, "--help"])
print("SLOW:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("SLOW: []\n")


@pytest.mark.process
def test_products_and_explain_load_no_model_no_cluster_and_no_orchestrator() -> None:
    program = """
import sys
import flows.cli
flows.cli.main(["products", "--data", "no-such-folder"])
flows.cli.main(["explain", "--product", "iplayer", "--user", "u1", "--out", "no-such-folder"])
"""
    watched = """
import atexit, sys
names = (
    "xgboost", "sklearn", "scipy", "numba", "prefect", "mlflow", "dask", "distributed", "duckdb", "sqlalchemy"
)
atexit.register(lambda: print("SLOW:", [name for name in names if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", watched + program], capture_output=True, text=True)
    assert done.stdout.endswith("SLOW: []\n"), done.stdout + done.stderr


def test_churn_is_the_name_of_the_program() -> None:
    (found,) = entry_points(group="console_scripts", name="churn")
    assert found.value == "flows.cli:main"


# --- what needs neither data nor a flow ---


def test_products_are_those_built_in_where_there_is_no_data_folder(call: Call) -> None:
    code, out, err = call("products")
    assert (code, err) == (0, "")
    rows = [line.split()[0] for line in out.splitlines() if line.strip() and line.split()[0].isalpha()]
    assert rows == ["product", *builtin_products()]


def test_products_are_those_of_the_data_folder(call: Call, data: str) -> None:
    code, out, _ = call("products", "--data", data)
    assert code == 0
    assert re.search(r"^ *tv +TV +any +- +cohort *$", out, flags=re.M)
    assert re.search(r"^ *radio +Radio +radio +- +cohort *$", out, flags=re.M)
    assert "iplayer" not in out


@pytest.mark.parametrize("dialect", ["redshift", "duckdb", "postgres"])
@pytest.mark.parametrize("product", list(builtin_products()))
def test_render_prints_whole_statements_in_each_dialect(call: Call, dialect: str, product: str) -> None:
    code, out, err = call("render", "--product", product, "--as-of", "2026-06-28", "--dialect", dialect)
    assert (code, err) == (0, "")
    made = [statement.find(sqlglot.exp.Table) for statement in sqlglot.parse(out, dialect=dialect)]
    names = [table.name for table in made if table is not None]
    assert {"activity", "user_week", "snapshots", "features_content", "feature_set"} <= set(names)
    assert names[-1] == "feature_set"
    assert {table.db for table in made if table is not None} == {f"churn_{product}"}
    assert not re.search(r"\{\{|\{%|[$:%]\(?[a-z_]+\b(?<!::date)", re.sub(r"'[^']*'|--.*|::\w+", "", out))
    assert "2026-06-28" in out


def test_render_of_one_step_is_a_part_of_the_whole(call: Call) -> None:
    line = ["render", "--product", "iplayer", "--as-of", "2026-06-28"]
    whole = call(*line)[1]
    part = call(*line, "--step", "snapshots")[1]
    assert part
    assert part in whole
    assert len(sqlglot.parse(part, dialect="redshift")) == 1


@pytest.mark.process
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "flows.cli", "render", "--product", "iplayer"]
    root = Path(flows.cli.__file__).parents[1]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.readline()
        run.stdout.close()
        assert "Traceback" not in run.stderr.read()
