"""What leaves a deployment through the door: its log to whoever may read what is collected, its bundle elsewhere."""

from __future__ import annotations

import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from falaj.cli.commands.deploy import logs
from falaj.core import bundle
from falaj.core.encoding import moment
from falaj.core.errors import Damaged, FalajError, Invalid
from falaj.deploy import exporting
from falaj.deploy.errors import RolloutUnderway
from falaj.deploy.leaving_operations import COLLECTED
from falaj.monitor.rules import predictions_of
from tests.deploy.fleet import PLAN, Fleet, Ship
from tests.deploy.lines import answer
from tests.platform.places import Person, Served
from tests.serving.running import Running

_encoder = msgspec.json.Encoder()


def read(ship: Ship, by: Person | None = None, **args: Any) -> tuple[list[dict[str, Any]], str]:
    """The lines, and where to go on."""
    told = b"".join(ship.call("deploy.logs", by, **args))
    *lines, last = [json.loads(line) for line in told.splitlines()]
    return lines, last["next"]


def put(ship: Ship, name: str, *lines: Any) -> Path:
    """Lines at the end of a segment that is being written."""
    ship.folder.log.mkdir(exist_ok=True)
    path = ship.folder.log / f"{name:0>26}.open"
    with path.open("ab") as out:
        out.write(_encoder.encode_lines([one for answered in lines for one in answered]))
    return path


def line(output: float | None, role: Any = "stable", **more: Any) -> Any:
    (made,) = answer(role, output, **more)
    return [msgspec.structs.replace(made, inputs={"town": "Sur", "wind": 4.5})]


def outputs(lines: list[dict[str, Any]]) -> list[float | None]:
    return [one.get("output") for one in lines]


def test_the_log_is_told_newest_first_and_on_from_where_it_was_read(fleet: Fleet) -> None:
    ship = fleet.deploy(PLAN + "log: {features: [wind]}\n")
    assert read(ship) == ([], "/")
    put(ship, "1", line(0.1, version=1), line(0.2, version=1)).rename(ship.folder.log / f"{1:0>26}.jsonl")
    second = put(ship, "2", line(0.3, version=1), line(None, "canary", version=2), line(0.4, "shadow", version=3))
    lines, place = read(ship)
    assert outputs(lines) == [0.4, None, 0.3, 0.2, 0.1]
    assert lines[0]["inputs"] == {"wind": 4.5}, "what is dropped by now is not told, whatever was logged"
    assert outputs(read(ship, limit=2)[0]) == [0.4, None]
    assert outputs(read(ship, version=1)[0]) == [0.3, 0.2, 0.1]
    assert outputs(read(ship, role="shadow")[0]) == [0.4]
    assert outputs(read(ship, failed=True)[0]) == [None]
    assert outputs(read(ship, prediction=lines[3]["id"])[0]) == [0.2]
    assert len(read(ship, since="1h", until=moment(datetime.now(UTC) + timedelta(hours=1)))[0]) == 5
    assert read(ship, until="1h")[0] == []
    assert read(ship, after=place) == ([], place)
    put(ship, "2", line(0.5))
    second.rename(second.with_suffix(".jsonl"))  # sealed meanwhile, and another one begun
    put(ship, "3", line(0.6), line(0.7))
    lines, later = read(ship, after=place)
    assert outputs(lines) == [0.5, 0.6, 0.7]
    assert read(ship, after=later)[0] == []
    (ship.folder.log / f"{4:0>26}.jsonl").write_bytes(b"no prediction\n")
    assert read(ship, limit=1)[0] == [{"damaged": f"{4:0>26}.jsonl"}, *read(ship, limit=1)[0][1:]]
    for wrong in ({"after": "x"}, {"since": "soon"}, {"role": "boss"}, {"limit": 0}):
        with pytest.raises(Invalid):
            read(ship, **wrong)


def test_who_may_read_the_log_is_who_may_read_what_is_collected(fleet: Fleet) -> None:
    ship = fleet.deploy()
    put(ship, "1", line(0.1))
    assert "asset:{project}/dataset/" + predictions_of("delay").replace("delay", "{deployment}") == COLLECTED
    served = Served(fleet.world.platform, fleet.owner)
    of_it = f"asset:flights/deployment/{ship.name}"
    some = served.person(f"some-{ship.name}", ("viewer", of_it))
    both = served.person(
        f"both-{ship.name}", ("viewer", of_it), ("viewer", f"asset:flights/dataset/{ship.name}_predictions")
    )
    assert some.call("deploy.status", deployment=ship.name).revision == 1
    with pytest.raises(FalajError):
        read(ship, some)
    before = len(fleet.world.entries())
    assert outputs(read(ship, both)[0]) == [0.1]
    (entry,) = fleet.world.entries()[before:]
    assert (entry.what, entry.op) == ("content.read", "deploy.logs")


class Twice:
    """A session of the fleet's owner whose person presses Ctrl-C once the log was read twice."""

    def __init__(self, ship: Ship, *between: Any) -> None:
        self.ship, self.between = ship, between
        self.read = 0

    def stream(self, operation: str, args: dict[str, Any]) -> Any:
        if self.read:
            put(self.ship, "1", *self.between)
        if (read := self.read) == 2:
            raise KeyboardInterrupt
        self.read = read + 1
        return self.ship.fleet.owner.call(operation, **args)


def test_who_follows_the_log_sees_what_comes_in_its_order(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    ship = fleet.deploy()
    put(ship, "1", line(0.1), line(0.2))
    session: Any = Twice(ship, line(0.3), line(0.4))
    given = {"deployment": f"{ship.name}/{ship.name}", "follow": True, "every": 0.0}
    with pytest.raises(KeyboardInterrupt):
        logs(session, {"json": True}, given, lambda *_: None)
    assert outputs([json.loads(one) for one in capsys.readouterr().out.splitlines()]) == [0.1, 0.2, 0.3, 0.4]


def test_an_exported_bundle_is_served_by_a_machine_without_the_platform(fleet: Fleet, tmp_path: Path) -> None:
    ship = fleet.deploy()
    key, archive = ship.status().key, b"".join(ship.call("deploy.export"))
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    assert exporting.write([archive[at : at + 777] for at in range(0, len(archive), 777)], folder, key) == ship.written
    readme = (folder / "README.md").read_text()
    assert f"falaj serve . --key {key}" in readme
    assert "learns of no change" in readme
    server = Running(folder, key=key)
    try:
        told = server.post(f"/v2/models/{ship.name}/infer", {"inputs": _row()})
        assert (told.status, told.headers["falaj-model-version"]) == (200, "1")
    finally:
        server.stop()
    at = archive.index(b"PK\x03\x04") + 40  # within the model
    for broken in (archive[:at] + bytes([archive[at] ^ 1]) + archive[at + 1 :], archive[:-20_000], b""):
        with pytest.raises(Damaged):
            exporting.write([broken], _new(tmp_path), key)
    with pytest.raises(bundle.BundleDamaged, match="not pinned"):
        exporting.write([archive], _new(tmp_path), "ed25519:" + "0" * 64)
    for name, link, told in (("../x", "", "leads out"), ("/x", "", "leads out"), ("x", "/etc", "no such thing")):
        with pytest.raises(Damaged, match=told):
            exporting.write([_one(name, link)], _new(tmp_path), key)
    assert not (tmp_path / "x").exists()
    ship.promote(2)
    with pytest.raises(RolloutUnderway):
        ship.call("deploy.export")
    viewer = Served(fleet.world.platform, fleet.owner).person(f"vic-{ship.name}", ("viewer", "project:flights"))
    with pytest.raises(FalajError):
        ship.call("deploy.export", viewer)


def _one(name: str, link: str) -> bytes:
    """An archive of one member, and none of ours."""
    member = tarfile.TarInfo(name)
    if link:
        member.type, member.linkname = tarfile.SYMTYPE, link
    return member.tobuf() + bytes(1024)


def _new(folder: Path) -> Path:
    made = folder / f"new{len(list(folder.iterdir()))}"
    made.mkdir()
    return made


def _row() -> list[dict[str, Any]]:
    return [
        {"name": "town", "shape": [1], "datatype": "BYTES", "data": ["Sur"]},
        {"name": "wind", "shape": [1], "datatype": "FP64", "data": [4.5]},
    ]
