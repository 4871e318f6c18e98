"""The options that several commands share: paths, dates, and how a log is to be read."""

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import click


class Day(click.ParamType):
    """A date written 2026-06-28."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the date."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a date like 2026-06-28", param, ctx)


class Command(click.Command):
    """A command that refuses an option given twice, where click would take the last one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, or refuse an option given twice."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option in order:
            flag = isinstance(option, click.Option) and option.is_flag
            if not (option.multiple or flag) and order.count(option) > 1:
                name = option.opts[0]
                raise click.UsageError(f"{name} is given {order.count(option)} times: give it once", ctx)
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A program whose commands refuse an option given twice."""

    command_class = Command


class Share(click.ParamType):
    """A percentage such as ``1%``, as a share from 0 to 1."""

    name = "N%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share."""
        if isinstance(value, float):
            return value
        number = value.removesuffix("%")
        try:
            share = float(number) / 100
        except ValueError:
            share = -1.0
        if number == value or not 0 <= share <= 1:
            self.fail(f"{value!r} is not a percentage like 1%", param, ctx)
        return share


class NamedPath(click.Path):
    """A path in UTF-8 and within the length limits of file systems."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or refuse its name."""
        name = os.fsencode(value)
        try:
            name.decode("utf-8")
        except UnicodeDecodeError:
            self.fail(f"{value!r} is not UTF-8: choose another name", param, ctx)
        if len(name) > _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in name.split(b"/")):
            self.fail(f"a name has at most {_LONGEST_NAME} bytes, a path {_LONGEST_PATH}", param, ctx)
        return super().convert(value, param, ctx)


class OutPath(NamedPath):
    """A folder to write databases into: DuckDB and SQLite take what follows a ``?`` for options."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or refuse its name."""
        path = super().convert(value, param, ctx)
        if "?" in f"{Path(path).resolve()}":
            self.fail(
                f"{value!r} is below a folder with a question mark in its name: choose another", param, ctx
            )
        return path


_LONGEST_NAME, _LONGEST_PATH = 255, 4_000  # bytes
PATH, OUT_PATH = NamedPath(path_type=Path), OutPath(path_type=Path)
data_option = click.option(
    "--data", type=PATH, default=Path("demo/data"), show_default=True, help="Data folder."
)
out_option = click.option(
    "--out", type=OUT_PATH, default=Path("demo/out"), show_default=True, help="Folder to write into."
)
product_option = click.option("--product", required=True, help="Product name; `churn products` lists them.")
as_of_option = click.option(
    "--as-of", type=Day(), help="Sunday on which features end (default: last Sunday)."
)
profile_option = click.option(
    "--profile", metavar="NAME", help="Table [profiles.NAME] of churn.toml to use (default: local)."
)
yes_option = click.option("--yes", is_flag=True, help="Do it; without this, only show what would be done.")


READING = (
    click.option(
        "--format",
        metavar="NAME",
        help="Whose export it is: ga4, segment, snowplow, posthog, mixpanel or amplitude.",
    ),
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="NAME=COLUMN",
        help="Which column of the log holds user_id, occurred_at, product, category, item_id, value or "
        "device; COLUMN may lead inside, as in properties.plan.",
    ),
    click.option("--timezone", help="Local time zone for times that carry one, for example Europe/London."),
    click.option(
        "--source-timezone", metavar="ZONE", help="Time zone in which times without one were written."
    ),
    click.option(
        "--time-format", metavar="CODES", help="How times are written, for example '%d/%m/%Y %H:%M'."
    ),
    click.option(
        "--decimal",
        type=click.Choice([".", ","]),
        default=".",
        show_default=True,
        help="Sign before decimals in values.",
    ),
    click.option(
        "--feature",
        "features",
        multiple=True,
        metavar="COLUMN",
        help="A further column that becomes a feature. May be repeated.",
    ),
    click.option(
        "--skip-bad-rows",
        type=Share(),
        default=0.0,
        help="Skip rows that cannot be taken, up to this share, and list them in a file (default: 0%).",
    ),
    click.option(
        "--event", "events", multiple=True, metavar="NAME", help="With --format: only events of this name."
    ),
    click.option(
        "--identity",
        metavar="WHO",
        help="With --format: whose ids count: user, device or either (default).",
    ),
)


READING_NAMES = (
    "format",
    "columns",
    "timezone",
    "source_timezone",
    "time_format",
    "decimal",
    "events",
    "identity",
    "features",
    "skip_bad_rows",
)


def reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say how a log is to be read."""
    for option in reversed(READING):
        command = option(command)
    return command
