"""An environment is built once, whole or not at all, and is used only while it is what was built."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from falaj.core.errors import Conflict, Damaged, NotFound
from falaj.environments import interpreters
from falaj.environments.errors import BuildFailed
from falaj.environments.lock import parse
from falaj.environments.place import Environment, Place, built
from tests.parts.environments import WORKER_LOCK

LOCK = WORKER_LOCK.read_text(encoding="utf-8")
BUILDER = (
    "import sys; from pathlib import Path; from falaj.environments.place import built; "
    "print(built(Path(sys.argv[1]).read_text(), Path(sys.argv[2]), lambda words: print(words, flush=True)).digest)"
)


def builder(place: Path) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", BUILDER, str(WORKER_LOCK), str(place)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def copy(worker_environment: Environment, environments: Place, tmp_path: Path) -> Environment:
    """A copy of the shared one, to damage; where programs of it lie is of no account here."""
    name = worker_environment.digest.removeprefix("sha256:")
    shutil.copytree(environments.folder / name, tmp_path / name, symlinks=True)
    found = Place(tmp_path).find(worker_environment.digest)
    assert found is not None
    return found


def test_it_holds_what_the_lock_names_and_nothing_of_ours(worker_environment: Environment) -> None:
    ask = "import sys, msgspec, yaml, importlib.util as u; print(u.find_spec('pip'), u.find_spec('falaj'), sys.prefix)"
    done = subprocess.run([worker_environment.python, "-I", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "None", str(worker_environment.python.parent.parent)]
    lock = parse(LOCK)
    assert worker_environment.pins == lock.pins
    ours = interpreters.ours()
    assert worker_environment.digest == lock.digest(ours.python, ours.platform)


def test_one_that_is_there_is_not_built_again(worker_environment: Environment, environments: Place) -> None:
    said: list[str] = []
    again = built("# another comment\n" + LOCK, environments.folder, said.append)
    assert (again.digest, again.built_at, said) == (worker_environment.digest, worker_environment.built_at, [])
    assert [one.digest for one in environments.all()] == [worker_environment.digest]


def test_a_builder_that_is_killed_leaves_nothing_that_is_used_and_of_two_at_once_one_builds(tmp_path: Path) -> None:
    place = Place(tmp_path / "environments")
    first = builder(place.folder)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("1 of 2"):
            break
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert place.all() == []
    both = [builder(place.folder), builder(place.folder)]
    said = [one.communicate()[0].splitlines() for one in both]
    assert said[0][-1] == said[1][-1]
    assert sorted("checking" in lines for lines in said) == [False, True]
    (only,) = place.all()
    assert place.find(only.digest, whole=True) == only


def test_whoever_waits_can_give_it_up(tmp_path: Path) -> None:
    def say(words: str) -> None:
        if words.startswith("1 of 2"):
            raise Conflict(words)

    with pytest.raises(Conflict, match="1 of 2"):
        built(LOCK, tmp_path, say)
    assert Place(tmp_path).digests() == []


def test_a_file_of_another_hash_is_not_installed(tmp_path: Path) -> None:
    lock = parse(LOCK)
    wrong = "".join(f"{pin.name}=={pin.version} --hash=sha256:{'0' * 64}\n" for pin in lock.pins)
    with pytest.raises(BuildFailed, match="hash") as failed:
        built(wrong, tmp_path)
    assert "://" not in failed.value.message
    assert [folder.name for folder in tmp_path.iterdir()] == ["locks"]


@pytest.mark.parametrize("change", ["bytes", "more", "less", "version"])
def test_one_that_was_changed_is_refused(copy: Environment, tmp_path: Path, change: str) -> None:
    libraries = next(copy.python.parent.parent.glob("lib/python3*/site-packages"))
    target = libraries / "yaml" / "loader.py"
    if change == "bytes":
        target.write_text(target.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    elif change == "more":
        (libraries / "sitecustomize.py").write_text("import os\n", encoding="utf-8")
    elif change == "less":
        target.unlink()
    else:
        about = next(libraries.glob("msgspec-*.dist-info")) / "METADATA"
        about.write_text(about.read_text(encoding="utf-8").replace("Version: ", "Version: 9"), encoding="utf-8")
    with pytest.raises(Damaged, match=r"loader\.py|sitecustomize|METADATA"):
        Place(tmp_path).find(copy.digest)


def test_one_that_was_changed_with_care_is_found_by_reading_it_whole(copy: Environment, tmp_path: Path) -> None:
    target = next(copy.python.parent.parent.glob("lib/python3*/site-packages/yaml/loader.py"))
    about, data = target.stat(), target.read_bytes()
    target.write_bytes(data[:-1] + b"#")
    os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert Place(tmp_path).find(copy.digest) is not None
    with pytest.raises(Damaged, match=r"loader\.py changed"):
        Place(tmp_path).find(copy.digest, whole=True)


def test_it_is_removed_by_hand_and_never_under_a_user(copy: Environment, tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.used(copy.digest), place.used(copy.digest), pytest.raises(Conflict, match="in use"):
        place.remove(copy.digest)
    assert place.remove(copy.digest) >= copy.size_bytes
    assert place.find(copy.digest) is None
    for gone in (place.remove, lambda digest: place.used(digest).__enter__()):
        with pytest.raises(NotFound):
            gone(copy.digest)
