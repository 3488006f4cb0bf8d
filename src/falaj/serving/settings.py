"""The bounds of an inference server, safe where nothing is set. Sizes in bytes, times in seconds."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Every bound.

    Attributes:
        body_bytes: of a request's body.
        rows: of one request.
        header_wait_s: from a connection's first byte, or the last answer's end, until a request is there whole.
        unread_s: that a client may leave an answer untaken.
        answer_s: that a request may wait for its model.
        waiting_rows: that wait for one model; past them requests are refused.
        batch_rows: that a model is asked for at once; one greater request goes alone.
        shadow_rows: that wait for a shadow; past them its copies are dropped.
        segment_bytes, segment_s: of a segment of the prediction log, until it is sealed.
        drain_s: between a signal and the end of listening: answers then end their connections.
        stop_s: for requests to finish after that.
    """

    body_bytes: int = 8 << 20
    rows: int = 10_000
    url_bytes: int = 8 << 10
    header_bytes: int = 32 << 10
    header_wait_s: float = 10
    unread_s: float = 30
    keep_alive_s: int = 60
    connections: int = 1024
    answer_s: float = 30
    waiting_rows: int = 100_000
    batch_rows: int = 4096
    shadow_rows: int = 2048
    segment_bytes: int = 64 << 20
    segment_s: float = 300
    drain_s: float = 1
    stop_s: float = 10
