"""Run the steps of the Dockerfile in a clean folder without Docker, and report the result.

    python deployments/check_image.py FOLDER [--python python3.12]

As in Docker: the build context, the installation from hashed lock files, byte code, machine code, variables
and the entry point. Unlike in Docker: the base image is this machine's Python and libraries, no user accounts
are created, and there are no layers. `make image-check` then starts a Dask scheduler and a worker from the
folder and scores with them.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

REPOSITORY = Path(__file__).resolve().parents[1]
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ACCOUNTS = ("groupadd", "useradd")
_IMAGE_PATHS = re.compile(r"(?<![\w./-])/(?=(?:src|opt|var|home|etc)(?:/|\b))")


@dataclass
class Image:
    """The state of the latest build stage.

    Attributes:
        root: folder that serves as its ``/``.
        variables: its environment variables.
        folder: its working directory.
        entrypoint: words put before every command.
        labels: its labels.
        skipped: steps that were not run.
    """

    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def path(self, inside: str) -> Path:
        """Return the local path of an absolute path in the image."""
        return self.root / inside.lstrip("/")

    def rewritten(self, text: str) -> str:
        """Replace the image's absolute paths in a text by local ones."""
        return _IMAGE_PATHS.sub(f"{self.root}/", text)

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process in the image; of this process only pip's settings remain."""
        inherited = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        home = self.path("/home/churn")
        home.mkdir(parents=True, exist_ok=True)
        return inherited | {"HOME": str(home), "LANG": "C.UTF-8"} | self.variables | (more or {})

    def command(self, *words: str) -> list[str]:
        """Return a command behind the entry point."""
        return [*self.entrypoint, *words]


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return a Dockerfile's instructions as (name, arguments), with continued lines joined."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.strip().split(None, 1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]  # each line has two words; unpacking fails otherwise


def copy_context(target: Path) -> None:
    """Copy the build context; .dockerignore must start with ``*`` and list exceptions."""
    rules = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] not in "#"]
    if rules[0] != "*" or any(not rule.startswith(("!", "**/")) for rule in rules[1:]):
        raise ValueError(".dockerignore must be `*`, then `!path` for each exception, then `**/pattern`")
    unwanted = shutil.ignore_patterns(*(rule[3:] for rule in rules if rule.startswith("**/")))
    for rule in rules[1:]:
        if rule.startswith("!"):
            source, copy = REPOSITORY / rule[1:], target / rule[1:]
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=unwanted)
            else:
                shutil.copy2(source, copy)


def build(folder: Path, python: str = sys.executable, only: str | None = None) -> Image:
    """Run the Dockerfile's steps.

    Args:
        folder: a folder that does not exist yet.
        python: the Python used instead of the base image's.
        only: run only RUN steps that contain this text.

    Raises:
        subprocess.CalledProcessError: a step failed.
        ValueError: an instruction is not supported.
    """
    folder = folder.resolve()
    base = _base(folder / "base", python)
    copy_context(folder / "context")
    image, stages, names = Image(folder / "image"), [], []
    for name, rest in instructions(REPOSITORY / "deployments" / "Dockerfile"):
        match name:
            case "FROM":
                if names:
                    stages.append(image.root.rename(folder / names[-1]))
                names.append(rest.partition(" AS ")[2] or "last")
                image = Image(folder / "image", {"PATH": f"{base}:{SYSTEM_PATH}"})
                image.root.mkdir()
            case "ENV":
                for setting in shlex.split(image.rewritten(rest)):
                    variable, _, value = setting.partition("=")
                    image.variables[variable] = Template(value).substitute(image.variables)
            case "WORKDIR":
                image.folder = rest
                image.path(rest).mkdir(parents=True, exist_ok=True)
            case "COPY":
                _copy(image, rest, folder)
            case "RUN":
                _run(image, rest, only)
            case "ENTRYPOINT":
                image.entrypoint = [image.rewritten(word) for word in _words(rest)]
            case "LABEL":
                image.labels |= dict(setting.split("=", 1) for setting in shlex.split(rest))
            case "ARG" | "USER" | "CMD":
                pass
            case _:
                raise ValueError(f"{name} is not supported: extend deployments/check_image.py")
    return image


def _base(folder: Path, python: str) -> Path:
    """Create a folder that holds only a link to a Python, for PATH."""
    executable = shutil.which(python)
    if executable is None:
        raise ValueError(f"{python} was not found on PATH")
    command = [executable, "-c", "import sys; print(sys._base_executable)"]
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    )
    return folder


def _words(array: str) -> list[str]:
    return shlex.split(array.strip("[]").replace(",", " "))


def _copy(image: Image, rest: str, folder: Path) -> None:
    words = shlex.split(rest)
    flags = dict(word.removeprefix("--").split("=", 1) for word in words if word.startswith("--"))
    *sources, target = [word for word in words if not word.startswith("--")]
    if "from" in flags:
        place = image.path(target)
        place.parent.mkdir(parents=True, exist_ok=True)
        (folder / flags["from"] / sources[0].lstrip("/")).rename(
            place
        )  # the earlier stage no longer needs it
        return
    destination = image.path(target if target.startswith("/") else f"{image.folder}/{target}")
    for name in sources:
        source = folder / "context" / name
        if source.is_dir():
            shutil.copytree(source, destination, dirs_exist_ok=True)
        else:
            (destination if target.endswith("/") else destination.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, destination)


def _run(image: Image, script: str, only: str | None) -> None:
    if script.startswith(ACCOUNTS) or (only is not None and only not in script):
        image.skipped.append(script)
        return
    subprocess.run(
        ["/bin/sh", "-c", image.rewritten(script)],
        cwd=image.path(image.folder), env=image.environment(), check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def main() -> None:
    """Build into a folder, then print its version and sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--python", default=sys.executable, help="used instead of the base image's (default: this one)"
    )
    arguments = parser.parse_args()
    image = build(arguments.folder, arguments.python)
    subprocess.run(
        image.command("churn", "--version"), env=image.environment(), cwd=image.path(image.folder), check=True
    )
    for step in image.skipped:
        print(f"skipped: {step}")
    for name in ("/opt/churn", "/var/cache/churn"):
        size = sum(file.lstat().st_size for file in image.path(name).rglob("*"))
        print(f"{size / 1e6:8.1f} MB  {name}")


if __name__ == "__main__":
    main()
