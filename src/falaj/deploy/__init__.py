"""Deployments: how a version that its gate let in goes out, by what it is taken back, and what a server is told."""

from __future__ import annotations

from falaj.deploy.records import (
    Bake,
    Deployment,
    Drift,
    Labels,
    Limit,
    LogPlan,
    Plan,
    ScoreWatch,
    Watch,
)

__all__ = ["Bake", "Deployment", "Drift", "Labels", "Limit", "LogPlan", "Plan", "ScoreWatch", "Watch"]
