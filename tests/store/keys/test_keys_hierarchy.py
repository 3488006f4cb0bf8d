"""The key hierarchy: what unwraps what, what survives a rotation, and what destruction ends."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from msgspec.structs import replace

from falaj.store.keys import DomainKeys, KeyFile, KeyStore, MemoryKeyRows, Sealed, Secret
from falaj.store.keys.errors import KeyDestroyed, KeyExists, KeyInUse, KeyMissing, KeyRowDamaged, WrongKey
from falaj.store.keys.material import context_of, derived, fingerprint, unwrap, wrap

AT = "2026-11-24T00:00:00.000000Z"


@pytest.fixture
def rows() -> MemoryKeyRows:
    return MemoryKeyRows()


@pytest.fixture
def custodian(tmp_path: Path) -> KeyFile:
    return KeyFile.create(tmp_path / "root.key")


@pytest.fixture
def keys(custodian: KeyFile, rows: MemoryKeyRows) -> KeyStore:
    store = KeyStore(custodian, rows, clock=lambda: AT)
    store.create_project("p1")
    return store


def fresh(custodian: KeyFile, rows: MemoryKeyRows) -> KeyStore:
    """The same store as another process opens it: nothing cached."""
    return KeyStore(custodian, rows, clock=lambda: AT)


def sealed_pack(domain: DomainKeys) -> tuple[Sealed, Secret]:
    key = Secret(bytes(range(32)))
    return domain.seal(key, "pack-1"), key


def test_a_domain_opens_with_the_same_keys_in_another_process(
    keys: KeyStore, custodian: KeyFile, rows: MemoryKeyRows
) -> None:
    made = keys.create_domain("p1", "p1/flights")
    opened = fresh(custodian, rows).domain_keys("p1/flights")
    assert (opened.chunk_key, opened.node_key, opened.epoch) == (made.chunk_key, made.node_key, 1)
    sealed, key = sealed_pack(made)
    assert opened.unseal(sealed, "pack-1") == key


def test_chunk_and_node_names_are_keyed_apart_and_by_domain(keys: KeyStore) -> None:
    one, two = keys.create_domain("p1", "p1/a"), keys.create_domain("p1", "p1/b")
    assert len({one.chunk_key, one.node_key, two.chunk_key, two.node_key}) == 4


def test_a_packs_key_opens_under_its_own_id_only(keys: KeyStore) -> None:
    domain = keys.create_domain("p1", "p1/a")
    sealed, _ = sealed_pack(domain)
    with pytest.raises(KeyRowDamaged):
        domain.unseal(sealed, "pack-2")


def test_another_domains_pack_is_a_wrong_key(keys: KeyStore) -> None:
    sealed, _ = sealed_pack(keys.create_domain("p1", "p1/a"))
    with pytest.raises(WrongKey, match="not held here"):
        keys.create_domain("p1", "p1/b").unseal(sealed, "pack-1")


def test_rotating_the_project_key_leaves_the_data_keys(keys: KeyStore, custodian: KeyFile, rows: MemoryKeyRows) -> None:
    before = keys.create_domain("p1", "p1/a")
    sealed, key = sealed_pack(before)
    signer = keys.create_signing_key("sign", "p1")
    old = rows.list(purpose="project", domain="p1")[0]
    new = keys.rotate_project("p1")
    after = fresh(custodian, rows)
    assert after.domain_keys("p1/a").unseal(sealed, "pack-1") == key
    assert after.signing_key("sign", "p1").public == signer.public
    assert rows.get(old.id).wrapped is None
    assert {r.parent for r in rows.list() if r.purpose != "project"} == {new}


def test_rotating_the_root_rewraps_and_then_forgets(
    keys: KeyStore, custodian: KeyFile, rows: MemoryKeyRows, tmp_path: Path
) -> None:
    sealed, key = sealed_pack(keys.create_domain("p1", "p1/a"))
    keys.create_commit_key()
    old_file, old_root = (tmp_path / "root.key").read_bytes(), custodian.current
    new_root = keys.rotate_root()
    assert custodian.roots == (old_root, new_root)
    assert keys.forget_roots() == (old_root,)
    again = fresh(KeyFile.open(tmp_path / "root.key"), rows)
    assert again.domain_keys("p1/a").unseal(sealed, "pack-1") == key
    assert again.commit_key() == keys.commit_key()
    (tmp_path / "old.key").write_bytes(old_file)
    (tmp_path / "old.key").chmod(0o600)
    with pytest.raises(WrongKey, match=new_root):
        fresh(KeyFile.open(tmp_path / "old.key"), rows).domain_keys("p1/a")


def test_a_root_rotation_that_stopped_half_way_is_finished_by_repeating_it(
    keys: KeyStore, custodian: KeyFile, rows: MemoryKeyRows, tmp_path: Path
) -> None:
    sealed, key = sealed_pack(keys.create_domain("p1", "p1/a"))
    custodian.rotate()  # the process died before any row was rewrapped
    again = fresh(KeyFile.open(tmp_path / "root.key"), rows)
    assert again.domain_keys("p1/a").unseal(sealed, "pack-1") == key
    with pytest.raises(KeyInUse, match="earlier root"):
        again.forget_roots()
    again.rotate_root()
    assert len(again.forget_roots()) == 2
    assert again.domain_keys("p1/a").unseal(sealed, "pack-1") == key


def test_a_new_epoch_encrypts_anew_and_still_reads_the_old(keys: KeyStore) -> None:
    sealed, key = sealed_pack(keys.create_domain("p1", "p1/a"))
    assert keys.new_epoch("p1/a") == 2
    domain = keys.domain_keys("p1/a")
    assert domain.epoch == 2
    assert domain.unseal(sealed, "pack-1") == key
    assert sealed_pack(domain)[0].fingerprint != sealed.fingerprint


def test_rekey_names_what_to_rewrite_and_old_epochs_fall_only_when_empty(keys: KeyStore) -> None:
    sealed, _ = sealed_pack(keys.create_domain("p1", "p1/a"))
    plan = keys.rekey("p1/a", [("b", 1), ("a", 1)])
    assert (plan.epoch, plan.packs) == (2, ("a", "b"))
    with pytest.raises(KeyInUse, match="1 packs"):
        keys.drop_epochs("p1/a", [("b", 1), ("c", 2)])
    receipt = keys.drop_epochs("p1/a", [("c", 2)])
    assert [(k.purpose, k.epoch) for k in receipt.keys] == [("epoch", 1)]
    with pytest.raises(KeyDestroyed, match="epoch 1 was destroyed"):
        keys.domain_keys("p1/a").unseal(sealed, "pack-1")


def test_destruction_gives_a_receipt_and_ends_every_way_in(
    keys: KeyStore, custodian: KeyFile, rows: MemoryKeyRows
) -> None:
    keys.create_domain("p1", "p1/a")
    keys.new_epoch("p1/a")
    keys.create_domain("p1", "p1/b")
    expected = {(r.id, r.fingerprint) for r in rows.list(domain="p1/a")}
    other = fresh(custodian, rows)
    other.domain_keys("p1/a")  # another process has them unwrapped and cached
    receipt = keys.destroy("p1/a")
    assert {(k.id, k.fingerprint) for k in receipt.keys} == expected
    assert receipt.destroyed_at == AT
    assert all(r.wrapped is None for r in rows.list(domain="p1/a"))
    for store in (keys, other, fresh(custodian, rows)):
        with pytest.raises(KeyDestroyed, match="p1/a: destroyed at 2026-11-24"):
            store.domain_keys("p1/a")
        assert store.domain_keys("p1/b").epoch == 1
    with pytest.raises(KeyDestroyed):
        keys.destroy("p1/a")
    with pytest.raises(KeyExists):
        keys.create_domain("p1", "p1/a")


def test_destroying_a_project_destroys_all_below_it(keys: KeyStore) -> None:
    keys.create_domain("p1", "p1/a")
    public = keys.create_signing_key("sign", "p1").public
    receipt = keys.destroy_project("p1")
    assert sorted(k.purpose for k in receipt.keys) == ["epoch", "id", "project", "sign"]
    with pytest.raises(KeyDestroyed):
        keys.domain_keys("p1/a")
    with pytest.raises(KeyDestroyed):
        keys.signing_key("sign", "p1")
    assert keys.verify_keys("sign", "p1")[0].raw == public


def test_a_row_moved_to_another_place_does_not_unwrap(keys: KeyStore, custodian: KeyFile, rows: MemoryKeyRows) -> None:
    keys.create_domain("p1", "p1/a")
    keys.create_domain("p1", "p1/b")
    a, b = (rows.list(purpose="epoch", domain=d)[0] for d in ("p1/a", "p1/b"))
    for bad in (
        replace(b, wrapped=a.wrapped),
        replace(b, wrapped=bytes([b.wrapped[0] ^ 1]) + b.wrapped[1:] if b.wrapped else None),
        replace(b, wrapped=b"short"),
        replace(b, fingerprint=a.fingerprint),
        replace(b, epoch=7),
    ):
        rows.replace(bad)
        with pytest.raises(KeyRowDamaged):
            fresh(custodian, rows).domain_keys("p1/b")


def test_a_signature_holds_for_its_message_and_after_the_key_is_retired(keys: KeyStore) -> None:
    signature = keys.create_signing_key("ledger").sign(b"head")
    keys.create_signing_key("ledger")
    first, second = keys.verify_keys("ledger")
    assert (first.state, second.state) == ("retired", "live")
    assert first.is_signature(signature, b"head")
    assert not first.is_signature(signature, b"heads")
    assert not second.is_signature(signature, b"head")
    assert keys.signing_key("ledger").public == second.raw


@pytest.mark.parametrize(
    "ask",
    [
        lambda k: k.domain_keys("nowhere"),
        lambda k: k.create_domain("p2", "p2/a"),
        lambda k: k.signing_key("sign", "p1"),
        lambda k: k.commit_key(),
        lambda k: k.rotate_project("p2"),
        lambda k: k.create_signing_key("epoch"),
    ],
)
def test_a_key_never_made_is_missing(keys: KeyStore, ask) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(KeyMissing):
        ask(keys)


def test_a_key_is_made_once(keys: KeyStore) -> None:
    keys.create_commit_key("p1")
    keys.create_domain("p1", "p1/a")
    for again in (
        lambda: keys.create_project("p1"),
        lambda: keys.create_commit_key("p1"),
        lambda: keys.create_domain("p1", "p1/a"),
    ):
        with pytest.raises(KeyExists):
            again()


def test_secrets_do_not_print_or_pickle(keys: KeyStore, rows: MemoryKeyRows, custodian: KeyFile) -> None:
    secret = Secret(b"\xaa" * 32)
    domain = keys.create_domain("p1", "p1/a")
    shown = f"{secret!r} {secret} {domain!r} {keys!r} {custodian!r} {keys.create_signing_key('sign', 'p1')!r}"
    assert "aaaa" not in shown
    assert "\\xaa" not in shown
    assert domain.chunk_key.hex() not in shown
    assert repr(domain.chunk_key) not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


def test_the_wrapping_format_is_fixed() -> None:
    """Golden values of docs/formats.md; a change here makes every existing store unreadable."""
    parent, key = Secret(bytes(range(32))), Secret(bytes(range(32, 64)))
    context = context_of("epoch", "p1/flights", 3, "01JD8000000000000000000000")
    assert context == b'falaj wrap 1\x00["epoch","p1/flights",3,"01JD8000000000000000000000"]'
    wrapped = wrap(parent, key, context)
    assert unwrap(parent, wrapped, context, what="key") == key
    assert wrapped.hex() == "b73172644e977362f2c525e265b96b92578f9d78f8f29339807de3980943fc6df0b97bf308aa530b"
    assert fingerprint(key) == "7ea849ef250221be"
    assert derived(key, "chunk name").hex() == "c97d30cb3fd13567b84a4045de16569c9bc2bd09155ceff44e0c40846ae89cbe"
    assert derived(key, "node name").hex() == "c3dde437a79345b4b39297811c67ea9432a13a895e1edbf010cd90b4c35d9235"
