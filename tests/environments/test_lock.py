"""A lock says exactly what is installed; what could mean something else tomorrow is refused, with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.environments.errors import LockInvalid
from falaj.environments.lock import parse, version_key
from tests.parts.environments import WORKER_LOCK

A, B = "a" * 64, "b" * 64
INDEX, LINKS = "--index" + "-url", "--find" + "-links"
GOOD = f"numpy==2.3.4 --hash=sha256:{A}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("numpy\n", "line 1: 'numpy' is not NAME==VERSION"),
        (f"numpy>=2 --hash=sha256:{A}\n", "is not NAME==VERSION"),
        (f"numpy==2.* --hash=sha256:{A}\n", "is not NAME==VERSION"),
        (f"numpy===2.3 --hash=sha256:{A}\n", "is not NAME==VERSION"),
        (f"numpy==2.3,<3 --hash=sha256:{A}\n", "is not NAME==VERSION"),
        ("\n# about\nnumpy==2.3.4\n", "line 3: numpy==2.3.4 has no hash"),
        (GOOD + "msgspec==0.20 \\\n    --hash=md5:aa\n", "line 2: '--hash=md5:aa' is not --hash=sha256"),
        ("numpy==2.3.4 --hash=sha256:abc\n", "is not --hash=sha256"),
        (f"numpy==2.3.4 --hash=sha256:{A} --config-settings=x\n", "is not --hash=sha256"),
        (INDEX + " https://user:secret@example.test/simple\n" + GOOD, f"line 1: {INDEX} is not for a lock"),
        (LINKS + "=/opt\n" + GOOD, f"{LINKS} is not for a lock"),
        ("-e .\n", "-e is not for a lock"),
        ("-r other.txt\n", "-r is not for a lock"),
        ("--require-hashes\n" + GOOD, "--require-hashes is not for a lock"),
        (f"numpy @ https://example.test/numpy.whl --hash=sha256:{A}\n", "is an address or a path"),
        ("https://example.test/numpy.whl\n", "is an address or a path"),
        ("./numpy.whl\n", "is an address or a path"),
        (f"numpy==2.3.4 ; python_version < '3.12' --hash=sha256:{A}\n", "has a marker"),
        (GOOD + f"numpy==2.3.5 --hash=sha256:{A}\n", "line 2: numpy is also on line 1, and differs"),
        (GOOD + f"NumPy==2.3.4 --hash=sha256:{B}\n", "line 2: numpy is also on line 1"),
        ("# nothing\n\n", "no distribution is named"),
    ],
)
def test_whatever_is_not_exact_is_refused_with_its_line_and_the_way_to_make_one(text: str, words: str) -> None:
    with pytest.raises(LockInvalid) as refused:
        parse(text, "train.txt")
    assert refused.value.message.startswith("train.txt")
    assert words in refused.value.message
    assert "secret" not in refused.value.message
    assert "--generate-hashes" in refused.value.next_step


def test_comments_order_layout_and_spelling_are_no_part_of_the_digest() -> None:
    plain = parse(f"numpy==2.3.4 --hash=sha256:{A} --hash=sha256:{B}\nruamel-yaml==1.0 --hash=sha512:{'c' * 128}\n")
    other = parse(
        f"# made by a tool\nRuamel.Yaml[jinja2]==1.0 \\\n  --hash=sha512:{'C' * 128}\n  # via -r in.txt\n\n"
        f"numpy==2.3.4 \\\n    --hash=sha256:{B} \\\n    --hash=sha256:{A}  # twice\n"
    )
    assert plain == other
    assert plain.digest("3.11", "linux-x86_64") == other.digest("3.11", "linux-x86_64")


def test_version_hash_python_and_platform_are() -> None:
    lock = parse(GOOD)
    others = [parse(GOOD.replace("2.3.4", "2.3.5")), parse(GOOD.replace(A, B))]
    digests = {one.digest("3.11", "linux-x86_64") for one in (lock, *others)}
    digests |= {lock.digest("3.12", "linux-x86_64"), lock.digest("3.11", "linux-aarch64")}
    assert len(digests) == 5


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)


@given(st.dictionaries(NAMES, st.lists(st.integers(0, 16**64 - 1), min_size=1, max_size=3), min_size=1), st.randoms())
def test_the_text_of_a_lock_is_the_lock(pins: dict[str, list[int]], chance) -> None:
    lines = [f"{name}==1.{len(name)} " + " ".join(f"--hash=sha256:{one:064x}" for one in pins[name]) for name in pins]
    lock = parse("\n".join(lines))
    chance.shuffle(lines)
    assert parse("\n".join(lines)) == lock == parse(lock.text)
    assert parse(lock.text).text == lock.text


def test_what_a_tool_wrote_is_taken() -> None:
    lock = parse(WORKER_LOCK.read_text(encoding="utf-8"))
    assert [pin.name for pin in lock.pins] == ["msgspec", "pyyaml"]
    assert lock.missing(("msgspec", "pyarrow")) == ["pyarrow"]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2024.01", "2024.1.0", True),
        ("1.0-alpha1", "1a1", True),
        ("1.0.0rc1", "1.0rc1", True),
        ("2.1+cpu", "2.1.0+cpu", True),
        ("2.1+cpu", "2.1", False),
        ("1.0", "1.0.1", False),
        ("1.0.post1", "1.0", False),
        ("10", "1", False),
    ],
)
def test_two_spellings_of_a_version_are_one(first: str, second: str, same: bool) -> None:
    assert (version_key(first) == version_key(second)) is same
