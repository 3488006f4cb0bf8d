"""The bare inference server: a raw ASGI handler that decodes one tensor, asks the model, encodes. No checks, no log.

Usage: python -m benchmarks.limits.serving MODEL.onnx|MODEL.skops PORT

It runs on the same uvicorn, with the same loop and parser, and asks the model once for each request.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uvicorn


class Tensor(msgspec.Struct):
    """What is read of a tensor."""

    shape: list[int]
    data: list[float]


class Request(msgspec.Struct):
    """What is read of a request."""

    inputs: list[Tensor]


class Output(msgspec.Struct):
    """What is answered."""

    data: list[float]
    name: str = "probability"


class Answer(msgspec.Struct):
    """The whole answer."""

    outputs: list[Output]


def model(path: Path) -> Callable[[Any], list[float]]:
    """The model as a function of a matrix."""
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options)
        name, output = session.get_inputs()[0].name, session.get_outputs()[-1].name
        return lambda rows: session.run([output], {name: rows.astype(np.float32)})[0][:, 1].tolist()
    import skops.io

    loaded = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    return lambda rows: loaded.predict_proba(rows)[:, 1].tolist()


def main() -> None:
    """Serve until a signal."""
    answer = model(Path(sys.argv[1]))
    decode, encode = msgspec.json.Decoder(Request).decode, msgspec.json.Encoder().encode

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        (tensor,) = decode(message["body"]).inputs
        body = encode(Answer([Output(answer(np.array(tensor.data).reshape(tensor.shape)))]))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    port = int(sys.argv[2])
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", lifespan="off", log_level="error", access_log=False)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
