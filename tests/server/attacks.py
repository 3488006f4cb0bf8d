"""Requests that must be refused: one line an attack, with the code that answers it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DOTS = "../../../etc/passwd"
ADDRESSES = (
    "file:///etc/passwd",
    "dbfs:/etc/passwd",
    "http:///#/../../../etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "http://[::]:7400/",
    "http://2130706433/",
    "s3://bucket/../other",
    "\\\\host\\share",
)
NAMES = (
    "..",
    ".hidden",
    "a/b",
    "a\\b",
    "C:",
    "%2e%2e%2f",
    "%252e%252e%252f",
    "a\0b",
    "a\nb",
    "a b",
    "\u202eabc",
    "\u2024\u2024",
    "\uff0e\uff0e\uff0f",
    "<script>",
    "'; DROP TABLE asset; --",
    "",
    "x" * 129,
)
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{n}: &{n} [{','.join([f'*{p}'] * 9)}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
)
NO = ("forbidden", "not_found")


@dataclass(frozen=True)
class Attack:
    """One request, and how it must be answered.

    Attributes:
        path: below the project's address, or a whole one.
        args: of the query string, or the body.
        by: who asks.
        codes: one of these.
    """

    number: int
    method: str
    path: str
    args: dict[str, Any] = field(default_factory=dict)
    codes: tuple[str, ...] = ("invalid_name", "invalid")
    by: str = "badr"
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.number}-{self.path.rpartition('/')[2]}-{ascii(list(self.args.values())[-1:])[:40]}"


def add(**more: Any) -> dict[str, Any]:
    return {"dataset": "flights", "files": [{"staged": "{staged}", "name": "b.csv"}], **more}


def config(path: str, text: str) -> dict[str, Any]:
    return {"files": [{"path": path, "text": text}]}


ATTACKS = [
    # 1: paths where bytes are read or written
    Attack(1, "GET", "data.get", {"thing": "flights:1", "path": DOTS}, ("invalid",)),
    Attack(1, "GET", "data.get", {"thing": "flights:1", "path": "/etc/passwd"}, ("invalid",)),
    Attack(1, "GET", "asset.show", {"thing": DOTS}),
    Attack(1, "POST", "data.add", add(files=[{"staged": DOTS, "name": "b.csv"}]), ("not_found",)),
    Attack(1, "POST", "data.add", add(files=[{"staged": "{staged}", "name": DOTS}])),
    Attack(1, "POST", "data.add", add(files=[{"staged": "{staged}", "name": "/etc/passwd"}])),
    Attack(1, "POST", "config.apply", config(f"contracts/{DOTS}", ""), ("invalid", "invalid_name"), "olga"),
    # 2, 3, 7: addresses instead of names
    *(Attack(2, "POST", "data.add", add(source=url)) for url in ADDRESSES),
    *(Attack(3, "POST", "model.register", {"model": "m", "files": [], "inputs": [url]}) for url in ADDRESSES),
    *(Attack(7, "GET", "asset.show", {"thing": url}) for url in ADDRESSES),
    Attack(2, "POST", "config.apply", config("locations/x.yaml", "location: x\nregion: AE\nurl: http://169.254.169.254/"),
           ("invalid",), "olga"),
    Attack(2, "POST", "config.apply", config("locations/x.yaml", "location: x\nregion: AE\nurl: file:a/../../etc"),
           ("invalid",), "olga"),
    # 4: what is more than a name
    *(Attack(4, "POST", "/v1/project.create", {"name": name}, by="olga") for name in NAMES),
    *(Attack(4, "POST", "/v1/principal.add", {"name": name}, by="olga") for name in NAMES),
    *(Attack(4, "POST", "data.add", add(dataset=name)) for name in NAMES),
    *(Attack(4, "POST", "data.add", add(ref=name)) for name in NAMES),
    *(Attack(4, "PUT", "staging", {"name": name}, ("invalid_name", "invalid")) for name in NAMES),
    *(Attack(4, "GET", "asset.show", {"thing": name}) for name in NAMES),
    # 8: texts that would run
    Attack(8, "POST", "config.apply", config("contracts/x.yaml", "!!python/object/apply:os.system ['touch {marker}']"),
           ("invalid",), "olga"),
    Attack(8, "POST", "config.apply", config("gates/x.yaml", "gate: !!python/name:os.system x"), ("invalid",), "olga"),
    Attack(8, "POST", "config.apply", config("policies/x.yaml", "&a [*a, *a]"), ("invalid",), "olga"),
    Attack(8, "POST", "config.apply", config("contracts/x.yaml", LAUGHS), ("invalid",), "olga"),
    # 12: what a page of another origin could make a browser send
    Attack(12, "POST", "run.start", {"name": "x"}, ("media_type",), headers={"Content-Type": "text/plain"}),
    Attack(12, "POST", "run.start", {"name": "x"}, ("origin_refused",), headers={"Origin": "https://evil.example"}),
    Attack(12, "POST", "run.start", {"name": "x"}, ("origin_refused",), headers={"Sec-Fetch-Site": "cross-site"}),
    Attack(12, "POST", "run.start", {"name": "x"}, ("host_refused",), headers={"Host": "evil.example"}),
    # 14: words of a query language
    Attack(14, "GET", "asset.list", {"kind": "x' OR '1'='1"}, ("invalid",)),
    Attack(14, "GET", "run.show", {"run": "x' OR '1'='1"}),
    Attack(14, "GET", "proposal.show", {"proposal": "x' OR '1'='1"}),
    # 15: floods
    Attack(15, "POST", "run.start", {"name": "x", "params": {str(n): n for n in range(100_000)}},
           ("too_large", "body_too_large")),
    Attack(15, "POST", "run.start", {"name": "x", "params": {str(n): n for n in range(1_001)}}, ("too_large",)),
    Attack(15, "POST", "run.start", {"name": "x", "params": {"a": "x" * 300_000}}, ("too_large",)),
    Attack(15, "POST", "data.add", add(files=[{"staged": "{staged}", "name": f"{n}.csv"} for n in range(10_001)]),
           ("invalid", "body_too_large")),
    Attack(15, "GET", "asset.list", {"limit": 2**70}, ("invalid",)),
    Attack(15, "GET", "asset.list", {"limit": -(2**70)}, ("invalid",)),
    Attack(15, "POST", "ref.rollback", {"thing": "flights@main", "version": 2**70},
           ("invalid", "rollback_refused"), "olga"),
    Attack(15, "GET", "asset.show", {"thing": f"flights:{2**70}"}),
    Attack(15, "GET", "asset.show", {"thing": f"flights:{10**18 - 1}"}, ("not_found",)),
    # 17: more rights for oneself
    Attack(17, "POST", "access.grant", {"subject": "badr", "role": "owner", "scope": "project:flights"},
           NO),
    Attack(17, "POST", "access.grant", {"subject": "badr", "role": "owner", "scope": "store"}, NO),
    Attack(17, "POST", "access.grant", {"subject": "olga", "role": "maintainer", "scope": "store"},
           ("forbidden",), "olga"),
    Attack(17, "POST", "/v1/token.issue", {"principal": "olga"}, NO),
    Attack(17, "POST", "/v1/principal.add", {"name": "badr2", "groups": ["owners"]}, NO),
]  # fmt: skip
