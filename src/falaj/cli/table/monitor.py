"""What was predicted, what became of it, and what moved."""

from __future__ import annotations

from falaj.cli.spec import Arg, Command, option
from falaj.cli.table.deploy import DEPLOYMENT

_GROUP = "monitoring"

COMMANDS: tuple[Command, ...] = (
    Command(
        "monitor status",
        "monitor.status",
        "What was collected and joined so far, and the newest reports.",
        (DEPLOYMENT,),
        "monitor_status",
        examples=("falaj monitor status delay",),
        group=_GROUP,
    ),
    Command(
        "monitor collect",
        "monitor.collect",
        "Take predictions from the log of this host into a dataset, each once.",
        (DEPLOYMENT,),
        "collected_predictions",
        examples=("falaj monitor collect delay",),
        group=_GROUP,
    ),
    Command(
        "monitor labels",
        "monitor.labels",
        "Join the outcomes that are known by now to the predictions, by their key.",
        (DEPLOYMENT,),
        "labelled",
        examples=("falaj monitor labels delay",),
        group=_GROUP,
    ),
    Command(
        "monitor report",
        "monitor.report",
        "Judge what was answered since the last report: drift of the inputs, and the score.",
        (DEPLOYMENT, option("expect", "make it only if this is the newest report now (0: none)", "int")),
        "report",
        examples=("falaj monitor report delay", "falaj monitor report delay --expect 7"),
        group=_GROUP,
    ),
    Command(
        "monitor lineage",
        "prediction.lineage",
        "Where one answer came from: model, features, data, code, and who let the model in.",
        (Arg("prediction", "id that came with the answer, its parameter prediction_id", metavar="ID"),),
        "prediction",
        examples=("falaj monitor lineage 01JD8M3V9Y7X2K4T6R8P0N1B5C",),
        group=_GROUP,
    ),
)
