"""Laws of uploads and trees: what goes in comes out, equal trees are equal, little changes cost little."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.core.errors import Invalid
from falaj.store.objects import Chunking, FileEntry, MemoryLocation, differences
from falaj.store.objects.errors import ChunkMissing, ContentUnknown, FileMissing, TreeDamaged, UploadClosed
from falaj.store.objects.nodes import FORMAT, Root, chunks_between, store_chunks, store_root
from falaj.store.objects.pack import NODE, TARGET_SIZE, name_of
from falaj.store.objects.tree import reached

from .memory_parts import FINE, Memory, domain_keys

ROOT = Path(__file__).parents[3]
NAMES = st.sampled_from(["a", "b", "c.csv", "é", "2013-01", "Z"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
CONTENTS = st.builds(
    lambda seed, size, repeat: random.Random(seed).randbytes(size) * repeat,
    st.integers(0, 5),
    st.sampled_from([0, 1, 255, 256, 5000, 20_000]),
    st.integers(1, 3),
)


def nests(paths: list[str]) -> bool:
    """Whether one path is a folder of another."""
    return any(other.startswith(path + "/") for path in paths for other in paths)


TREES = st.dictionaries(PATHS, CONTENTS, max_size=8).filter(lambda files: not nests(list(files)))


@given(TREES)
def test_what_goes_in_comes_out(files: dict[str, bytes]) -> None:
    memory = Memory()
    staged = memory.store(files, FINE)
    assert memory.read_all(staged.root) == files
    assert (staged.files, staged.size_bytes) == (len(files), sum(map(len, files.values())))
    assert staged.stored_bytes == sum(found.size for found in memory.location.list("packs/"))
    tree = memory.tree(staged.root)
    for entry in tree.files():
        assert tree.find(entry.path) == entry
        assert entry.size == len(files[entry.path])


@given(TREES, st.randoms())
def test_equal_trees_have_equal_roots_whatever_came_before_and_in_whatever_order(
    files: dict[str, bytes], rng: random.Random
) -> None:
    shuffled = rng.sample(list(files.items()), len(files))
    fresh, used = Memory(), Memory()
    used.store({"other": b"x" * 9000, **dict(shuffled[: len(shuffled) // 2])}, FINE)
    assert used.store(dict(shuffled), FINE).root == fresh.store(files, FINE).root


@given(TREES, st.sampled_from(["", "a", "b/c.csv"]), st.binary(max_size=3))
def test_unequal_trees_have_unequal_roots(files: dict[str, bytes], path: str, data: bytes) -> None:
    other = {**files, path or "a": data}
    memory = Memory()
    if not nests(list(other)) and other != files:
        assert memory.store(files, FINE).root != memory.store(other, FINE).root


@given(TREES)
def test_equal_content_is_stored_once_and_has_one_digest(files: dict[str, bytes]) -> None:
    memory = Memory()
    first = memory.store(files, FINE)
    again = memory.store(files, FINE)
    assert (again.root, again.stored_bytes, again.packs) == (first.root, 0, ())
    by_content: dict[bytes, set[str]] = {}
    for entry in memory.tree(first.root).files():
        by_content.setdefault(files[entry.path], set()).add(entry.digest)
    assert all(len(digests) == 1 for digests in by_content.values())


@given(TREES, TREES)
def test_a_tree_of_kept_files_is_the_tree_of_the_files(old: dict[str, bytes], new: dict[str, bytes]) -> None:
    both = {**old, **new}
    if nests(list(both)):
        return
    memory = Memory()
    base = memory.store(old, FINE)
    with memory.upload(FINE) as upload:
        for path, data in new.items():
            upload.add_file(path, io.BytesIO(data))
        upload.keep([entry for entry in memory.tree(base.root).files() if entry.path not in new])
        staged = upload.finish()
    memory.index.add(staged.packs)
    assert memory.read_all(staged.root) == both
    assert staged.root == Memory().store(both, FINE).root


@given(TREES, TREES)
def test_the_difference_of_two_trees_is_that_of_their_files(old: dict[str, bytes], new: dict[str, bytes]) -> None:
    memory = Memory()
    before, after = (memory.tree(memory.store(files, FINE).root) for files in (old, new))
    changes = {change.path: change for change in differences(before, after)}
    assert set(changes) == {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    for path, change in changes.items():
        assert (change.before and change.before.size) == (len(old[path]) if path in old else None)
        assert (change.after and change.after.size) == (len(new[path]) if path in new else None)


@given(st.integers(0, 9), st.integers(0, 80_000), st.integers(0, 90_000), st.integers(0, 90_000))
def test_a_range_is_the_slice(seed: int, size: int, start: int, end: int) -> None:
    memory, data = Memory(), random.Random(seed).randbytes(size)
    tree = memory.tree(memory.store({"a": data}, FINE).root)
    assert b"".join(tree.stream(tree.find("a"), start, end)) == data[start:end]


@given(st.integers(0, 9), st.integers(0, 100_000), st.binary(min_size=1, max_size=50))
def test_an_insertion_costs_the_chunks_around_it(seed: int, at: int, more: bytes) -> None:
    memory, data = Memory(), random.Random(seed).randbytes(100_000)
    base = memory.store({"a": data}, FINE)
    changed = memory.store({"a": data[:at] + more + data[at:]}, FINE)
    assert memory.read_all(changed.root) == {"a": data[:at] + more + data[at:]}
    assert changed.stored_bytes < base.stored_bytes / 3


@settings(max_examples=6)
@given(st.integers(0, 99), st.integers(5 << 20, 14 << 20), st.integers(0, 300_000))
def test_files_larger_than_the_window_come_out(seed: int, size: int, before: int) -> None:
    memory, rng = Memory(), random.Random(seed)
    files = {"before": rng.randbytes(before), "large": rng.randbytes(size), "after": rng.randbytes(before)}
    staged = memory.store(files)
    assert memory.read_all(staged.root) == files
    alone = Memory()
    other = alone.tree(alone.store({"large": files["large"]}).root)
    assert other.find("large") == memory.tree(staged.root).find("large")


def test_a_large_upload_is_cut_into_packs_of_about_32_mib() -> None:
    memory, data = Memory(), random.Random(7).randbytes(70 << 20)
    staged = memory.store({"large": data})
    sizes = [pack.record.size for pack in staged.packs]
    assert len(sizes) == 3
    assert all(TARGET_SIZE <= size < TARGET_SIZE + (1 << 20) for size in sizes[:-1])
    assert [(f.name, f.size) for f in memory.location.list()] == [
        (f"packs/{pack.record.id}", pack.record.size) for pack in staged.packs
    ]
    assert memory.read_all(staged.root) == {"large": data}


def test_one_changed_file_of_thousands_touches_a_few_nodes() -> None:
    memory = Memory()
    files = {f"{i % 7}/{i:05}.csv": b"%d" % i for i in range(5000)}
    before = memory.store(files)
    after = memory.store({**files, "3/02001.csv": b"new"})
    assert after.stored_bytes < 32_000
    left, right = memory.tree(before.root), memory.tree(after.root)
    assert [change.path for change in differences(left, right)] == ["3/02001.csv"]
    assert left.reader.bytes_read + right.reader.bytes_read < 64_000
    assert len(list(reached(left, set()))) > 5000


def test_files_of_a_stream_without_readinto_and_of_short_reads_come_out() -> None:
    class Slow:
        def __init__(self, data: bytes) -> None:
            self.rest = io.BytesIO(data)

        def read(self, size: int) -> bytes:
            return self.rest.read(min(size, 1000))

    memory, data = Memory(), random.Random(1).randbytes(500_000)
    with memory.upload() as upload:
        upload.add_file("a", Slow(data))  # type: ignore[arg-type]
        staged = upload.finish()
    memory.index.add(staged.packs)
    assert memory.read_all(staged.root) == {"a": data}
    assert staged.root == Memory().store({"a": data}).root


def test_a_stream_that_would_block_is_no_end() -> None:
    class Blocking(io.RawIOBase):
        def readinto(self, buffer: object) -> None:
            return None

    with Memory().upload() as upload, pytest.raises(BlockingIOError):
        upload.add_file("a", Blocking())  # type: ignore[arg-type]


def test_a_source_that_fails_is_no_file_and_the_upload_goes_on() -> None:
    class Failing(io.BytesIO):
        def readinto(self, buffer: object) -> int:
            if self.tell() > 300_000:
                raise OSError("the disk is gone")
            return super().readinto(memoryview(buffer)[:100_000])  # type: ignore[arg-type]

    memory, good = Memory(), random.Random(2).randbytes(9_000_000)
    with memory.upload() as upload:
        with pytest.raises(OSError, match="disk is gone"):
            upload.add_file("bad", Failing(good))
        upload.add_file("good", io.BytesIO(good))
        staged = upload.finish()
    memory.index.add(staged.packs)
    assert memory.read_all(staged.root) == {"good": good}
    assert staged.root == Memory().store({"good": good}).root


@pytest.mark.parametrize(
    "path", ["", "/x", "a//b", "a/../b", "a/.hidden", "a\\b", "a\nb", "\u202ea", "a/" * 70 + "b", "x" * 129, None]
)
def test_paths_that_are_none_are_refused_and_the_upload_goes_on(path: str) -> None:
    with Memory().upload() as upload:
        with pytest.raises(Invalid):
            upload.add_file(path, io.BytesIO(b"x"))
        upload.add_file("good", io.BytesIO(b"x"))
        assert upload.finish().files == 1


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b", "a/b/c"), ("é", "e\u0301")]
)
def test_one_path_is_one_file(first: str, second: str) -> None:
    with Memory().upload() as upload:
        upload.add_file(first, io.BytesIO(b"x"))
        with pytest.raises(Invalid):
            upload.add_file(second, io.BytesIO(b"y"))
        assert upload.finish().files == 1


def test_only_content_that_is_held_is_kept_and_then_all_of_it_or_none() -> None:
    memory, other = Memory(), Memory(domain_keys(1))
    held = list(memory.tree(memory.store({"a": b"a"}).root).files())
    foreign = list(other.tree(other.store({"b": b"b"}).root).files())
    with memory.upload() as upload:
        with pytest.raises(ContentUnknown):
            upload.keep([*held, *foreign])
        upload.keep(held)
        assert upload.finish().files == 1


def test_an_upload_that_is_not_finished_leaves_nothing() -> None:
    memory = Memory()
    with memory.upload() as upload:
        upload.add_file("large", io.BytesIO(random.Random(3).randbytes(40 << 20)))
        assert len(list(memory.location.list())) == 1
    assert list(memory.location.list()) == []
    with pytest.raises(UploadClosed):
        upload.add_file("x", io.BytesIO(b"x"))


def test_a_finished_upload_takes_no_more_and_is_not_abandoned() -> None:
    memory = Memory()
    with memory.upload() as upload:
        upload.add_file("a", io.BytesIO(b"a"))
        upload.finish()
        for use in (lambda: upload.add_file("x", io.BytesIO(b"x")), lambda: upload.keep([]), upload.finish):
            with pytest.raises(UploadClosed):
                use()
        upload.abandon()
    assert len(list(memory.location.list())) == 1


def test_a_pack_that_cannot_be_put_ends_the_upload() -> None:
    class Full(MemoryLocation):
        def put_if_absent(self, name: str, data: object) -> bool:
            raise OSError("full")

    memory = Memory(location=Full())
    with memory.upload() as upload:
        upload.add_file("a", io.BytesIO(b"a"))
        with pytest.raises(OSError, match="full"):
            upload.finish()
        with pytest.raises(UploadClosed):
            upload.finish()


def test_a_chunk_has_a_largest_size() -> None:
    with pytest.raises(Invalid):
        Memory().upload(Chunking(largest=(512 << 10) + 1))


FORK = """
import io, os, sys
from tests.store.objects.memory_parts import Memory
from falaj.store.objects.errors import UploadClosed

memory = Memory()
with memory.upload() as upload:
    upload.add_file("a", io.BytesIO(b"a" * 100_000))
    child = os.fork()
    if not child:
        refused = 0
        add = lambda: upload.add_file("b", io.BytesIO(b"b"))
        for use in (add, upload.finish, upload.abandon, lambda: upload.keep([])):
            try:
                use()
            except UploadClosed:
                refused += 1
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    staged = upload.finish()
memory.index.add(staged.packs)
assert memory.read_all(staged.root) == {"a": b"a" * 100_000}
"""


def test_a_forked_process_does_not_go_on_with_an_upload() -> None:
    subprocess.run([sys.executable, "-c", FORK], check=True, cwd=ROOT, timeout=60)


# a tree that is not what it should be


def test_a_tree_without_its_chunks_in_the_index_says_which() -> None:
    memory = Memory()
    staged = memory.store({"a": random.Random(1).randbytes(20_000)}, FINE)
    memory.index.drop([staged.packs[0].record.id])
    with pytest.raises(ChunkMissing, match=staged.root):
        list(memory.tree(staged.root).files())


def forged(memory: Memory, node: bytes) -> str:
    """The name of a node as an upload would have stored it, written by someone who holds the keys."""
    with memory.upload() as upload:
        name = upload._store_node(node)
        memory.index.add(upload.finish().packs)
    assert name == name_of(memory.keys, NODE, node)
    return f"b3k:{name.hex()}"


@pytest.mark.parametrize("node", [b"", b"\x90", b"\xc1", b"\x92\xa5names\x90", b"\x92\xa6chunks\xc4\x01x", b"[" * 9999])
def test_what_is_no_root_is_refused(node: bytes) -> None:
    memory = Memory()
    with pytest.raises(TreeDamaged):
        list(memory.tree(forged(memory, node)).files())


def test_a_tree_of_a_newer_format_is_refused() -> None:
    memory, stored = Memory(), []
    store_root(Root(FORMAT + 1, "", bytes(32), 0, 0), lambda data: stored.append(data) or b"")
    with pytest.raises(TreeDamaged, match="format 2"):
        list(memory.tree(forged(memory, stored[0])).files())


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden", "\0"])
def test_names_that_lead_out_of_a_folder_are_refused_whoever_wrote_them(name: str) -> None:
    memory = Memory()
    page = forged(memory, msgspec.msgpack.encode(["names", [[name, bytes(32), 0, 0, 1, None]]]))
    stored: list[bytes] = []
    store_root(Root(FORMAT, "", bytes.fromhex(page[4:]), 1, 0), lambda data: stored.append(data) or b"")
    root = forged(memory, stored[0])
    with pytest.raises(TreeDamaged):
        list(memory.tree(root).files())


def test_a_file_that_does_not_have_its_size_is_refused() -> None:
    memory = Memory()
    staged = memory.store({"a": random.Random(1).randbytes(20_000), "b": b"b"}, FINE)
    tree = memory.tree(staged.root)
    for entry in tree.files():
        for size in (entry.size - 1, entry.size + 1):
            wrong = FileEntry(path=entry.path, size=size, digest=entry.digest, levels=entry.levels)
            if size < entry.size and entry.levels:
                continue  # the first bytes of a longer list are a range like any other
            if size:
                with pytest.raises(TreeDamaged):
                    b"".join(tree.stream(wrong))


@pytest.mark.parametrize("change", [1, -1])
def test_a_chunk_that_does_not_have_the_length_that_its_list_says_is_refused(change: int) -> None:
    memory = Memory()
    whole = memory.tree(memory.store({"a": random.Random(1).randbytes(20_000)}, FINE).root)
    file = whole.find("a")
    ref = bytes.fromhex(file.digest[4:])
    spans = [span for _, span in chunks_between(ref, file.levels, 0, file.size, whole.reader.node)]
    spans[1] = spans[1]._replace(length=spans[1].length + change)
    stored: list[bytes] = []
    store_chunks(spans, lambda data: stored.append(data) or b"")
    wrong = FileEntry(path="a", size=file.size + change, digest=forged(memory, stored[0]), levels=1)
    with pytest.raises(TreeDamaged):
        b"".join(memory.tree("b3k:" + bytes(32).hex()).stream(wrong))


def test_a_path_that_is_none_is_missing() -> None:
    memory = Memory()
    tree = memory.tree(memory.store({"a/b": b"x"}).root)
    for path in ("a", "b", "a/c", "a/b/c", "", "/", "../a/b"):
        with pytest.raises(FileMissing):
            tree.find(path)
