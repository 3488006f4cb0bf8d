"""The tables of the ground, each declared once."""

from __future__ import annotations

from falaj.core import records as r
from falaj.store.metadata.tables import Table

FACT = Table("fact", r.Fact, ("key",), governed=True)
PROJECT = Table("project", r.Project, ("id",), governed=True)
ASSET = Table("asset", r.Asset, ("id",), governed=True)
VERSION = Table("version", r.Version, ("asset", "number"), governed=True)
REF = Table("ref", r.Ref, ("asset", "name"), governed=True)
REF_MOVE = Table("ref_move", r.RefMove, ("asset", "ref", "revision"), governed=True)
GUARD = Table("guard", r.Guard, ("gate", "kind", "name", "ref"), governed=True)
VERDICT = Table("verdict", r.Verdict, ("id",), governed=True)
PROPOSAL = Table("proposal", r.Proposal, ("id",), governed=True)
APPROVAL = Table("approval", r.Approval, ("proposal", "person"), governed=True)
RUN = Table("run", r.Run, ("id",), governed=True)
RUN_LINK = Table("run_link", r.RunLink, ("run", "direction", "asset", "version", "role"), governed=True)
ENTRY = Table("ledger_entry", r.LedgerEntry, ("id",))
