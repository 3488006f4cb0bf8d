"""Data, models, gates and runs."""

from __future__ import annotations

from falaj.cli.spec import Arg, Command, option
from falaj.cli.table.common import LIMIT, REF, THING, VERSION

_DATA = "data"
_MODELS = "models and gates"
_RUNS = "runs"

COMMANDS: tuple[Command, ...] = (
    Command(
        "data add",
        "data.add",
        "Add files as a new version of a dataset, judged by its contract.",
        (
            Arg("dataset", "name of the dataset", complete="thing"),
            Arg("paths", "files to read", type="many", complete="file"),
            option("ref", "the ref that moves to it (default: main)"),
            option("mode", "append to what the ref holds, or replace it", choices=("append", "replace")),
            option("source", "where the files came from (default: the first file's name)"),
        ),
        "data_added",
        "data:add",
        (
            "falaj data add flights 2013-04.csv",
            "falaj data add flights 2013-*.csv",
            "falaj data add flights all.parquet --mode replace",
        ),
        group=_DATA,
    ),
    Command(
        "data files",
        "data.files",
        "The files of a dataset's version.",
        (THING,),
        "files",
        examples=("falaj data files flights@main",),
        group=_DATA,
    ),
    Command(
        "data get",
        "data.get",
        "Write the files of a dataset's version into a folder; each reading is an entry.",
        (
            THING,
            Arg(
                "into",
                "folder to write to (default: this one); made where it is missing",
                "-o/--into",
                need=False,
                metavar="DIR",
            ),
            option("file", "only this file of the version; may be repeated", "many"),
            option("purpose", "what it is read for, where your binding asks for it"),
        ),
        "fetched",
        "data:get",
        ("falaj data get flights@main --into june", "falaj data get flights:4 --file 2013-04.csv"),
        group=_DATA,
    ),
    Command(
        "data contract show",
        "data.contract",
        "The contract of a dataset: its rules, and how a version kept them.",
        (THING, option("version", "a version of the dataset: what was found on it", "int")),
        "contract",
        examples=("falaj data contract show flights", "falaj data contract show flights --version 5"),
        group=_DATA,
    ),
    Command(
        "model register",
        "model.register",
        "Register a model file (skops or ONNX) as a new version, signed, with the data it came from.",
        (
            Arg("model", "name of the model", complete="thing"),
            Arg("paths", "the model file; others go with it", type="many", metavar="FILE", complete="file"),
            Arg("label", "what it predicts, as SQL over the data: arr_delay > 30", "--label"),
            Arg(
                "inputs",
                "a dataset version it was trained on; may be repeated",
                "--input",
                "many",
                False,
                complete="thing",
            ),
            option("run", "the run that made it: what it used is an input too"),
            Arg(
                "columns",
                "a column it reads, in its order, where the file does not say; may be repeated",
                "--column",
                "many",
                False,
                metavar="NAME[:TYPE]",
            ),
            option(
                "convert", "to ONNX, where that is the same model on 10,000 rows or more of its data", choices=("onnx",)
            ),
        ),
        "registered",
        "model:register",
        (
            "falaj model register delay model.skops --input flights@main --label 'arr_delay > 30'",
            "falaj model register delay model.onnx --label 'arr_delay > 30' --column hour:integer --column origin:text",
            "falaj model register delay model.skops --input flights@main --label 'arr_delay > 30' --convert onnx",
        ),
        group=_MODELS,
    ),
    Command(
        "model verify",
        "model.verify",
        "Check a model version: signature, digest, format, verdict.",
        (THING,),
        "model_verified",
        examples=("falaj model verify delay@production",),
        group=_MODELS,
    ),
    Command(
        "features join",
        "features.join",
        "Join the features of a service to rows, as they were known at each row's own time.",
        (
            Arg("service", "the feature service", complete="thing"),
            Arg("rows", "the rows: name@ref or name:N of a dataset", complete="thing"),
            Arg("at", "the column with the moment that features must have been known at", "--at"),
            Arg("into", "dataset that takes the joined rows", "--into"),
            option("purpose", "what they are joined for, where your binding asks for it"),
        ),
        "features_joined",
        examples=("falaj features join delay_v1 flights@main --at decided_at --into delay_training",),
        group=_DATA,
    ),
    Command(
        "predict",
        "model.predict",
        "Score a dataset with a promoted model; the predictions become a version with its lineage.",
        (
            Arg("model", "the model: name@ref", complete="thing"),
            Arg("data", "the data to score: name@ref or name:N", complete="thing"),
            Arg("into", "dataset that takes the predictions", "--into"),
            option("purpose", "what they are made for, where your binding asks for it"),
        ),
        "predicted",
        examples=("falaj predict delay@production flights@2013-06 --into june",),
        group=_MODELS,
    ),
    Command(
        "gate judge",
        "gate.judge",
        "Judge a version by the gate of a ref, without moving anything.",
        (REF, VERSION),
        "judgement",
        examples=("falaj gate judge delay@production 7",),
        group=_MODELS,
    ),
    Command(
        "gate show",
        "gate.show",
        "A verdict: every rule, what was measured, on what.",
        (Arg("verdict", "id of the verdict"),),
        "verdict",
        group=_MODELS,
    ),
    Command(
        "gate evidence",
        "gate.evidence",
        "Everything a verdict rests on, to hold and to verify: figures, versions, signatures, persons, proofs.",
        (
            Arg("verdict", "id of the verdict"),
            option("into", "write it into a new folder that a stranger can verify offline", metavar="DIR"),
            option("check", "measure once more on the same versions, and compare", "switch"),
        ),
        "evidence",
        "gate:evidence",
        (
            "falaj gate evidence 01JD8M3V9Y7X2K4T6R8P0N1B5C",
            "falaj gate evidence 01JD8M3V9Y7X2K4T6R8P0N1B5C --into verdict-7",
            "falaj gate evidence 01JD8M3V9Y7X2K4T6R8P0N1B5C --check",
        ),
        group=_MODELS,
    ),
    Command(
        "run list",
        "run.list",
        "Runs, newest first.",
        (
            option("sort", "only this sort: data.add, train, gate.judge, …"),
            option("before", "go on before this run"),
            LIMIT,
        ),
        "runs",
        group=_RUNS,
    ),
    Command(
        "run show",
        "run.show",
        "A run: code, environment, parameters, inputs, outputs, metrics.",
        (Arg("run", "id of the run"),),
        "run",
        group=_RUNS,
    ),
)
