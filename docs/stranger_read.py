"""Write the files of one version out of a store, with no code of Falaj; written from docs/formats.md alone.

Needs the packages cryptography, blake3, backports.zstd and msgspec (for its MessagePack). Reads the SQLite database,
the key file and the packs; the chunk index is not used: it is built anew from the packs' own directories.

Usage: python stranger_read.py STORE PROJECT KIND NAME NUMBER OUT     (passphrase, if any, in FALAJ_PASSPHRASE)
STORE holds falaj.db, key and objects/. Prints each file with its size; exits with a message where anything is not as
the page says.
"""

import base64
import hashlib
import json
import os
import pathlib
import sqlite3
import struct
import sys
import unicodedata

from backports.zstd import ZstdDecompressor
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
from msgspec.msgpack import decode as from_msgpack


def check(holds, claim):
    if not holds:
        sys.exit(f"NOT TRUE: {claim}")


# keys


def unwrap(parent, wrapped, context):
    return aes_key_unwrap_with_padding(HKDF(SHA256(), 32, salt=None, info=context).derive(parent), wrapped)


def context(*fields):
    return b"falaj wrap 1\0" + json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def roots(key_file):
    said = json.loads(key_file.read_text())
    check((said["falaj"], said["v"]) == ("key file", 1), "the key file is of version 1")
    keys = {root["id"]: base64.b64decode(root["key"]) for root in said["roots"]}
    cost = said.get("argon2id")
    if not cost:
        return keys
    salt, passphrase = base64.b64decode(cost["salt"]), unicodedata.normalize("NFC", os.environ["FALAJ_PASSPHRASE"])
    argon = Argon2id(
        salt=salt, length=32, iterations=cost["iterations"], lanes=cost["lanes"], memory_cost=cost["memory_kib"]
    )
    lock = argon.derive(passphrase.encode())
    return {root: unwrap(lock, key, b"falaj key file root 1\0" + root.encode()) for root, key in keys.items()}


class Keys:
    """The keys of one domain."""

    def __init__(self, database, held, domain):
        self.database, self.held, self.domain = database, held, domain
        ((identity, _),) = self.of("id")
        self.names = {kind: self.derive(f"{word} name", identity) for kind, word in ((b"C", "chunk"), (b"N", "node"))}
        self.epochs = {epoch: key for key, epoch in self.of("epoch")}

    def derive(self, what, key):
        return blake3(key, derive_key_context=f"falaj 2026-11 derived key 1: {what}").digest()

    def of(self, purpose):
        sql = "SELECT id, epoch FROM wrapped_key WHERE domain = ? AND purpose = ? AND wrapped IS NOT NULL"
        return [(self.open(row[0]), row[1]) for row in self.database.execute(sql, (self.domain, purpose))]

    def open(self, key_id):
        if key_id in self.held:
            return self.held[key_id]
        sql = "SELECT purpose, domain, epoch, parent, wrapped, fingerprint FROM wrapped_key WHERE id = ?"
        row = self.database.execute(sql, (key_id,)).fetchone()
        check(row is not None, f"key {key_id} is a row or a root of this key file")
        purpose, domain, epoch, parent, wrapped, mark = row
        key = unwrap(self.open(parent), wrapped, context(purpose, domain, epoch, key_id))
        check(fingerprint(key) == mark, f"key {key_id} has the fingerprint of its row")
        self.held[key_id] = key
        return key


def fingerprint(key):
    return blake3(key, derive_key_context="falaj 2026-11 key fingerprint 1").digest(length=8).hex()


# packs


class Pack:
    """One pack; `objects` are (kind, name, offset, sealed length, plain length)."""

    def __init__(self, path, keys):
        self.data, self.names = path.read_bytes(), keys.names
        check(self.data[:8] == b"falajpk1", f"{path.name} is a pack")
        end = 10 + int.from_bytes(self.data[8:10], "big")
        self.mark = self.data[end : end + 32]
        check(hashlib.sha256(self.data[:end]).digest() == self.mark, f"the header of {path.name} is whole")
        said = json.loads(self.data[10:end])
        check((said["v"], said["cipher"], said["pack"]) == (1, "aes-256-gcm", path.name), f"{path.name} says its name")
        self.domain, self.objects = said["domain"], []
        if self.domain != keys.domain:
            return
        parent = keys.epochs[said["epoch"]]
        check(fingerprint(parent) == said["fingerprint"], f"{path.name} rests under a key of this store")
        wrapped = base64.b64decode(said["key"])
        self.aead = AESGCM(unwrap(parent, wrapped, context("pack", self.domain, said["epoch"], said["pack"])))
        self.read_directory(end + 32)

    def read_directory(self, at):
        start, length, last = struct.unpack(">QI8s", self.data[-20:])
        check(last == b"falajpke" and start + length + 20 == len(self.data), "the trailer ends the pack")
        for entry in struct.iter_unpack(">c32sII", self.unseal(b"D", start, length)):
            kind, name, sealed, plain = entry
            self.objects.append((kind, name, at, sealed, plain))
            at += sealed
        check(at == start, "the directory is that of the objects before it")

    def unseal(self, kind, offset, length):
        return self.aead.decrypt(offset.to_bytes(12, "big"), self.data[offset : offset + length], self.mark + kind)

    def read(self, kind, name, offset, sealed, plain):
        data = self.unseal(kind, offset, sealed)
        if sealed - 16 != plain:
            data = ZstdDecompressor().decompress(data)
        check(len(data) == plain, "an object has its plain length")
        check(blake3(data, key=self.names[kind]).digest() == name, "an object has its name")
        return data


class Objects:
    """Every object of a domain, by kind and name."""

    def __init__(self, folder, keys):
        self.places = {}
        for path in sorted((folder / "packs").iterdir()):
            pack = Pack(path, keys)
            for each in pack.objects:
                self.places.setdefault(each[:2], (pack, each))

    def chunk(self, name):
        pack, each = self.places[b"C", name]
        return pack.read(*each)

    def node(self, name):
        pack, each = self.places[b"N", name]
        return from_msgpack(pack.read(*each))


# manifests


def entries(objects, ref):
    tag, items = objects.node(ref)
    for item in items:
        if tag == "names+":
            yield from entries(objects, item[1])
        else:
            check(tag == "names", "a directory is made of names")
            yield item


def contents(objects, ref, levels, size):
    if levels == 0:
        yield objects.chunk(ref) if size else b""
        return
    tag, data = objects.node(ref)
    check(tag == ("chunks" if levels == 1 else "chunks+"), "a list of chunks has its levels")
    for name, length in struct.iter_unpack(">32sI" if levels == 1 else ">32sQ", data):
        yield from contents(objects, name, levels - 1, length)


def write(objects, ref, folder):
    folder.mkdir()
    for name, below, size, levels, _, sha256 in entries(objects, ref):
        check(name not in {"", ".", ".."} and "/" not in name, "a name stays in its folder")
        if levels == -1:
            write(objects, below, folder / name)
            continue
        data = b"".join(contents(objects, below, levels, size))
        check(len(data) == size, f"{name} has its size")
        check(sha256 is None or hashlib.sha256(data).digest() == sha256, f"{name} has its SHA-256")
        (folder / name).write_bytes(data)
        sys.stdout.write(f"{size:>12}  {folder / name}\n")


def main(store, project, kind, name, number, out):
    store = pathlib.Path(store)
    database = sqlite3.connect(f"{(store / 'falaj.db').absolute().as_uri()}?mode=ro", uri=True)
    sql = """SELECT v.domain, v.content FROM version v JOIN asset a ON a.id = v.asset JOIN project p ON p.id = a.project
              WHERE p.name = ? AND a.kind = ? AND a.name = ? AND v.number = ?"""
    row = database.execute(sql, (project, kind, name, int(number))).fetchone()
    check(row is not None and row[1], f"{kind}/{name}:{number} is there and has files")
    keys = Keys(database, roots(store / "key"), row[0])
    objects = Objects(store / "objects", keys)
    tag, form, _, directory, files, size = objects.node(bytes.fromhex(row[1].removeprefix("b3k:")))
    check((tag, form) == ("tree", 1), "the root is a tree of format 1")
    write(objects, directory, pathlib.Path(out))
    written = [path.stat().st_size for path in pathlib.Path(out).rglob("*") if path.is_file()]
    check((len(written), sum(written)) == (files, size), "the tree has as many files and bytes as its root says")


if __name__ == "__main__":
    main(*sys.argv[1:])
