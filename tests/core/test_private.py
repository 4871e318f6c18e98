"""Files that only their owner can read."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

import churn
from churn.core.private import private_files
from tests.support.command_line import exit_code


@pytest.fixture
def usual_umask():
    before = os.umask(0o022)
    yield
    assert os.umask(before) == 0o022, "the umask was not restored"


def modes(folder):
    """Modes of all files and folders below a folder."""
    return {path.relative_to(folder): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}


def test_files_and_folders_are_private_inside_the_block_only(tmp_path, usual_umask):
    with private_files():
        (tmp_path / "inside").mkdir()
        (tmp_path / "inside" / "file").touch()
    (tmp_path / "outside").touch()
    assert sorted(modes(tmp_path).values()) == [0o600, 0o644, 0o700]


def test_blocks_of_several_threads_overlap(tmp_path, usual_umask):
    def write(index):
        with private_files():
            (tmp_path / str(index)).touch()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert set(modes(tmp_path).values()) == {0o600}


def test_a_library_call_that_writes_people_keeps_the_folder_above_as_it_is(tmp_path, usual_umask):
    churn.simulate(tmp_path / "new" / "data", users=60, weeks=16)
    assert {mode & 0o077 for mode in modes(tmp_path).values()} == {0}
    assert stat.S_IMODE(tmp_path.stat().st_mode) & 0o700 == 0o700


def test_a_command_writes_private_files_into_a_folder_that_others_can_enter(tmp_path, usual_umask):
    tmp_path.chmod(0o755)
    assert exit_code(["simulate", "--users", "60", "--weeks", "16", "--into", str(tmp_path / "data")]) == 0
    assert {mode & 0o077 for mode in modes(tmp_path).values()} == {0}
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
