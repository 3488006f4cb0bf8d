"""The HTTP face: raw ASGI, since a framework would cost more than the model. Three protocols, each in its own words."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Final

import msgspec

from falaj.core.bundle_folder import BundleFolder, Stamp
from falaj.core.encoding import moment
from falaj.core.errors import FalajError, Forbidden, NotFound, TooLarge
from falaj.serving import open_inference
from falaj.serving.asked import MAX_KEY, Form
from falaj.serving.errors import BadRequest, NotServing
from falaj.serving.loading import Loaded, Loader
from falaj.serving.logs import say
from falaj.serving.open_inference import OpenInference
from falaj.serving.prediction_log import PredictionLog
from falaj.serving.row_protocols import KServe, MLflow
from falaj.serving.service import Service, Serving
from falaj.serving.settings import Limits
from falaj.serving.stats import CONTENT_TYPE, Stats

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

POLL_S: Final = 0.01
LINGER_BYTES: Final = 16 << 20
LINGER_S: Final = 1.0
KEEP_S: Final = 0.2
_JSON: Final[Header] = (b"content-type", b"application/json")
_CLOSE: Final[Header] = (b"connection", b"close")
_encoder = msgspec.json.Encoder()


async def _linger(receive: Receive) -> None:
    """Read on for a moment: closing a socket with unread bytes resets it before the client sees why."""
    left = LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while left > 0 and (message := await receive()).get("more_body", False):
                left -= len(message.get("body", b""))


class Gone(Exception):
    """The client hung up before its request was there."""


class Inference:
    """One inference server as an ASGI application."""

    def __init__(self, folder: BundleFolder, loader: Loader, log: Path, limits: Limits) -> None:
        self._folder, self._loader, self._limits = folder, loader, limits
        self._log = PredictionLog(log, segment_bytes=limits.segment_bytes, segment_s=limits.segment_s, say=say)
        self.stats = Stats(self._gauges())
        self.service = Service(limits, self.stats, self._log.write)
        self._forms = OpenInference(limits.rows), MLflow(limits.rows), KServe(limits.rows)
        self._posts: dict[str, tuple[Form, int | None]] = {}
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="loading")
        self._stamp: Stamp | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._wrong: dict[str, Any] | None = None
        self._version = installed("falaj")
        self._since = moment(datetime.now(UTC))
        self.stopping = False

    # life

    async def start(self) -> None:
        """Serve what is in force, or what was served last; then keep watch."""
        self._log.start()
        self._stamp = self._folder.stamp()
        loaded, error = await asyncio.get_running_loop().run_in_executor(self._loading, self._loader.first)
        if error is not None:
            self._refused(error)
        if loaded is not None:
            await self._serve(loaded)
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._keep())]

    async def stop(self) -> None:
        """Stop watching, and leave a whole log."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.service.close()
        self._loading.shutdown(wait=False, cancel_futures=True)
        self._log.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if (stamp := self._folder.stamp()) != self._stamp:
                self._stamp = stamp
                await self._take_up()

    async def _keep(self) -> None:
        """What goes on also while a bundle is being loaded."""
        while True:
            await asyncio.sleep(KEEP_S)
            self._log.tick()
            self.service.sweep()

    async def _take_up(self) -> None:
        """Serve what is in force now; where that cannot be, what is served goes on."""
        loop = asyncio.get_running_loop()
        try:
            # On the loop where it takes next to nothing: a thread would wait for its turn among busy requests.
            loaded = self._loader.at_hand()
            if loaded is None:
                loaded = await loop.run_in_executor(self._loading, self._loader.load)
        except FalajError as error:
            self._refused(error)
            return
        except Exception as error:  # noqa: BLE001  whatever is in the folder, the server goes on
            self._refused(NotServing(f"{type(error).__name__}: {error}"))
            return
        self._wrong = None
        await self._serve(loaded)

    async def _serve(self, loaded: Loaded) -> None:
        self.service.swap(loaded)
        self._took_up()
        try:
            await asyncio.get_running_loop().run_in_executor(self._loading, self._loader.remember, loaded)
        except OSError as error:
            say("not_remembered", "warning", message=error.strerror)

    def _refused(self, error: FalajError) -> None:
        self.stats.bundles_refused += 1
        self._wrong = {"at": moment(datetime.now(UTC)), **error.as_dict()}
        say("bundle_refused", "error", code=error.code, message=error.message)

    def _took_up(self) -> None:
        serving = self.service.serving
        assert serving is not None  # noqa: S101  it was swapped in just before
        open_form, mlflow, kserve = self._forms
        posts: dict[str, tuple[Form, int | None]] = {"/invocations": (mlflow, None)}
        for name in serving.names:
            posts[f"/v2/models/{name}/infer"] = open_form, None
            posts[f"/v1/models/{name}:predict"] = kserve, None
            for version in serving.answering:
                posts[f"/v2/models/{name}/versions/{version}/infer"] = open_form, version
        self._posts = posts
        routes: dict[str, Any] = {
            lane.role: lane.version for lane in (serving.stable, serving.canary, serving.shadow) if lane
        }
        bundle = serving.bundle
        say("bundle_served", deployment=bundle.deployment, revision=bundle.revision, **routes)

    # requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the beginning and end of the server."""
        if scope["type"] == "http":
            if scope["method"] == "POST":
                await self._post(scope, receive, send)
            else:
                await self._get(scope, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "lifespan.startup":
            await self.start()
            await send({"type": "lifespan.startup.complete"})
        if message["type"] == "lifespan.shutdown":
            await self.stop()
            await send({"type": "lifespan.shutdown.complete"})

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        form, version = self._posts.get(path) or (self._form_of(path), None)
        body: bytes | None = None
        try:
            if path not in self._posts:
                raise self._unknown(path)
            key, content_type = self._heads(scope["headers"])
            body = await self._body(receive)
            started = time.perf_counter()
            asked = form.ask(body, content_type)
            asked.key = asked.key or key or asked.id or ""
            given = await self.service.begin(asked, version, started)
        except FalajError as error:
            self.stats.refuse(error.status)
            unread = body is None and isinstance(error, TooLarge)
            if unread:
                await _linger(receive)
            await self._send(send, error.status, form.refuse(error), (_CLOSE,) if unread else ())
        except Gone:
            return
        else:
            more = ((b"falaj-prediction", given.prediction.encode()), (b"falaj-model-version", b"%d" % given.version))
            await self._send(send, 200, form.give(asked, given), more)

    def _heads(self, headers: list[Header]) -> tuple[str, str]:
        key = content_type = ""
        for name, value in headers:
            if name == b"falaj-key":
                key = value.decode("latin-1")[:MAX_KEY]
            elif name == b"content-type":
                content_type = value.decode("latin-1")
            elif name == b"content-length":
                if not value.isdigit() or int(value) > self._limits.body_bytes:
                    raise self._too_large()
            elif name == b"origin":
                raise Forbidden("requests from pages in a browser are not answered", next_step="ask from a program")
            elif name == b"inference-header-content-length":
                raise BadRequest("binary tensors are not read here", next_step="send the tensors' data as JSON")
        return key, content_type

    async def _body(self, receive: Receive) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if message["type"] == "http.disconnect":
                raise Gone
            return body
        parts = bytearray(body)
        while message.get("more_body", False):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            parts += message.get("body", b"")
            if len(parts) > self._limits.body_bytes:
                raise self._too_large()
        return bytes(parts)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"a body of more than {self._limits.body_bytes:,} bytes", next_step="ask for less at once")

    def _form_of(self, path: str) -> Form:
        open_form, mlflow, kserve = self._forms
        return open_form if path.startswith("/v2") else kserve if path.startswith("/v1") else mlflow

    def _unknown(self, path: str) -> FalajError:
        if self.service.serving is None:
            return NotServing("no bundle is served yet", next_step="deploy something; see this server's log")
        return NotFound("no such model, version or path here", next_step="GET /v2/models/NAME says what is served")

    async def _get(self, scope: Scope, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await self._send(send, 405, b'{"error":"GET and POST are answered"}', ((b"allow", b"GET, HEAD, POST"),))
            return
        path = scope["path"].rstrip("/")
        if path == "/metrics":
            await self._send(send, 200, self.stats.text(), kind=(b"content-type", CONTENT_TYPE.encode()))
            return
        status, told = self._told(path)
        if status == 404:
            self.stats.refuse(status)
        await self._send(send, status, _encoder.encode(told))

    def _told(self, path: str) -> tuple[int, Any]:
        serving = self.service.serving
        knowledge = {} if serving is None else serving.knowledge()
        is_ready = serving is not None and not self.stopping
        match path.split("/")[1:]:
            case [] | [""]:
                return 200, {"status": "alive"}
            case ["v2"]:
                return 200, {"name": "falaj", "version": self._version, "extensions": []}
            case ["v2", "health", "live"]:
                return 200, {"live": True}
            case ["v2", "health", "ready"]:
                return 200 if is_ready else 503, {"ready": is_ready, **knowledge, "refused": self._wrong}
            case ["ping" | "health"]:
                return 200 if is_ready else 503, {"ready": is_ready, **knowledge}
            case ["version"]:
                return 200, {"version": self._version}
            case ["stats"]:
                return 200, {**knowledge, "since": self._since, "refused_bundle": self._wrong, **self.stats.as_dict()}
            case ["v1", "models"]:
                return 200, {"models": [serving.bundle.model] if serving else []}
            case ["v1", "models", name] if serving and name in serving.names:
                return 200 if is_ready else 503, {"name": name, "ready": is_ready}
            case ["v2", "models", name, *rest] if serving and name in serving.names:
                return self._model(serving, name, rest)
        return 404, {"error": "no such model, version or path here"}

    def _model(self, serving: Serving, name: str, rest: list[str]) -> tuple[int, Any]:
        lane = serving.stable
        if rest[:1] == ["versions"] and len(rest) > 1:
            found = next((one for one in serving.answering.values() if str(one.version) == rest[1]), None)
            if found is None:
                return 404, {"error": "no such version here"}
            lane, rest = found, rest[2:]
        if rest == ["ready"]:
            is_ready = not self.stopping
            return 200 if is_ready else 503, {"name": name, "ready": is_ready}
        if rest:
            return 404, {"error": "no such path here"}
        knowledge = serving.knowledge()
        return 200, open_inference.metadata(name, sorted(serving.answering), lane.engine.inputs, knowledge)

    async def _send(
        self, send: Send, status: int, body: bytes, more: tuple[Header, ...] = (), kind: Header = _JSON
    ) -> None:
        headers = [kind, (b"content-length", b"%d" % len(body)), *more]
        if self.stopping:
            headers.append(_CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _gauges(self) -> list[tuple[str, str, Callable[[], float | None]]]:
        def known(read: Callable[[Serving], float]) -> Callable[[], float | None]:
            return lambda: None if (serving := self.service.serving) is None else read(serving)

        def now() -> datetime:
            return datetime.now(UTC)

        return [
            ("falaj_serving_revision", "Revision that is served", known(lambda s: s.bundle.revision)),
            (
                "falaj_serving_knowledge_age_seconds",
                "Since the bundle was issued",
                known(lambda s: (now() - s.issued).total_seconds()),
            ),
            (
                "falaj_serving_lease_seconds",
                "Until the bundle's lease is over; negative after",
                known(lambda s: (s.lease - now()).total_seconds()),
            ),
            ("falaj_serving_waiting_rows", "Rows that wait for models", self._waiting),
        ]

    def _waiting(self) -> float:
        return self.service.waiting_rows()
