"""How results and errors are told: what happened with its numbers, where to look, the entry. Pure."""

from __future__ import annotations

from falaj.cli.render import assets, deploy, local, monitor, pipelines, predictions, rooms, shapes, triggers, trust
from falaj.cli.render.errors import error_lines, failed_findings, finding_lines
from falaj.cli.render.shapes import Lines, Renderer

__all__ = ["BARE", "RENDERERS", "Lines", "Renderer", "error_lines", "failed_findings", "finding_lines"]

# Told without the margin: meant to be copied, or read by a program.
BARE = frozenset({"script", "token", "version"})

RENDERERS: dict[str, Renderer] = {
    "applied": assets.told_applied,
    "asset": assets.told_asset,
    "assets": assets.told_assets,
    "bindings": trust.told_bindings,
    "cancelled": pipelines.told_cancelled,
    "collected": trust.told_collected,
    "collected_predictions": monitor.told_collected,
    "compared": pipelines.told_compared,
    "contract": rooms.told_contract,
    "data_added": rooms.told_data_added,
    "deployment": deploy.told_deployment,
    "done": shapes.told_done,
    "entries": trust.told_entries,
    "entry": trust.told_entry,
    "explanation": trust.told_explanation,
    "explained": pipelines.told_explained,
    "exported": trust.told_exported,
    "features_joined": rooms.told_features_joined,
    "fetched": rooms.told_fetched,
    "files": rooms.told_files,
    "granted": trust.told_granted,
    "holders": trust.told_holders,
    "init": local.told_init,
    "judgement": rooms.told_judgement,
    "keys": trust.told_keys,
    "labelled": monitor.told_labelled,
    "lineage": assets.told_lineage,
    "log": assets.told_log,
    "login": local.told_login,
    "logout": local.told_logout,
    "model_verified": rooms.told_model_verified,
    "monitor_status": monitor.told_status,
    "move": assets.told_move,
    "pipeline": pipelines.told_pipeline,
    "pipeline_run": pipelines.told_pipeline_run,
    "plain": shapes.told_plain,
    "prediction": predictions.told_prediction,
    "predicted": rooms.told_predicted,
    "principal": trust.told_principal,
    "principals": trust.told_principals,
    "proof": trust.told_proof,
    "proposal": assets.told_proposal,
    "proposals": assets.told_proposals,
    "receipt": trust.told_receipt,
    "registered": rooms.told_registered,
    "repaired": trust.told_repaired,
    "report": monitor.told_report,
    "reproduced": pipelines.told_reproduced,
    "rows": shapes.told_rows,
    "run": rooms.told_run,
    "runs": rooms.told_runs,
    "script": local.told_script,
    "silent": local.told_nothing,
    "start": triggers.told_start,
    "status": trust.told_status,
    "token": trust.told_token,
    "tokens": trust.told_tokens,
    "triggers": triggers.told_triggers,
    "turn": deploy.told_turn,
    "verdict": rooms.told_verdict,
    "verified": trust.told_verified,
    "version": local.told_version,
    "watched": pipelines.told_watched,
}
