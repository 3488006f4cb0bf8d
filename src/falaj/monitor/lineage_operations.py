"""The operation that walks from one answer to everything it came from."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from msgspec.structs import replace

from falaj.core.errors import FalajError, NotFound
from falaj.core.ids import is_id
from falaj.core.names import printable
from falaj.core.records import Asset
from falaj.deploy.bundles import BUNDLES, Bundles
from falaj.deploy.kinds import DEPLOYMENT
from falaj.door import Context, query
from falaj.monitor import rules, sources, tracing
from falaj.monitor.origins import PredictionLineage, lineage_of
from falaj.monitor.tracing import Found
from falaj.store.metadata import Transaction

MOST = 1_000


@query("prediction.lineage", on="project:{project}", cli="monitor lineage")
def lineage(ctx: Context, prediction: str) -> PredictionLineage:
    """Where one answer came from: deployment, model, features, data, run, code, environment, proposer and approver.

    `prediction` is the id that came with the answer. It is looked for in the logs of all deployments of the project on
    this host, then in what was collected from them: what is removed from a log was collected before. A log or dataset
    that cannot be read is told beside the answer. Nothing of its inputs is told.
    """
    damage: dict[str, FalajError] = {}
    if is_id(prediction):
        ctx.check_residency(f"prediction {prediction}: reading")
        deployments = ctx.ground.catalog.assets(ctx.tx, ctx.project.id, DEPLOYMENT.name, limit=MOST)
        for look in (_logged, _collected):
            for deployment in deployments:
                try:
                    found = look(ctx, ctx.tx, deployment, prediction)
                except FalajError as error:
                    damage.setdefault(deployment.name, error)
                    continue
                if found:
                    told = lineage_of(ctx.tx, ctx.ground.catalog, deployment, prediction, found)
                    beside = (f"deployment {name}: {one.message}" for name, one in damage.items())
                    return replace(told, problems=(*told.problems, *beside))
    for one in damage.values():
        raise one
    raise NotFound(
        f"prediction {printable(prediction[:40])}: neither in a log on this host nor among collected predictions",
        next_step="take the id from the answer: parameters.prediction_id",
    )


def _logged(ctx: Context, tx: Transaction, deployment: Asset, prediction: str) -> list[Found]:
    bundles: Bundles = ctx.ground.port(BUNDLES)
    return tracing.in_log(bundles.log(tx, deployment.id), prediction)


def _collected(ctx: Context, tx: Transaction, deployment: Asset, prediction: str) -> list[Found]:
    held = sources.held(ctx, tx, rules.predictions_of(deployment.name))
    if held is None or held.version.content is None:
        return []
    version = held.version
    names = [file.path for file in ctx.ground.contents.files(version)]
    with tempfile.TemporaryDirectory(prefix="falaj-", dir=ctx.ground.scratch) as folder:

        def fetch(name: str) -> Path:
            shutil.rmtree(Path(folder, "one"), ignore_errors=True)
            return ctx.ground.contents.checkout(version, Path(folder, "one"), [name])[0]

        return tracing.in_files(names, fetch, prediction)
