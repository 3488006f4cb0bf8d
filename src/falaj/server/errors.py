"""Refusals of the edge itself; below the one root."""

from __future__ import annotations

from falaj.core.errors import Forbidden, Invalid, NotFound, TooLarge, Unavailable


class MethodNotAllowed(Invalid):
    """The route is there, for another method."""

    code, status = "method_not_allowed", 405

    def __init__(self, method: str, allowed: str) -> None:
        self.allowed = allowed
        super().__init__(f"{method[:16]} is not for this route", next_step=f"use {allowed}")


class MediaTypeRefused(Invalid):
    """The body's content type is not the one this route reads."""

    code, status = "media_type", 415


class BodyTooLarge(TooLarge):
    """The body is over its limit; it was not read to its end."""

    code = "body_too_large"


class HeadTooLarge(Invalid):
    """The request's line and headers are over their limit."""

    code, status = "head_too_large", 431


class UrlTooLong(Invalid):
    """The request's path and query are over their limit."""

    code, status = "url_too_long", 414


class BodyTooSlow(Invalid):
    """The body did not come in time."""

    code, status = "body_too_slow", 408


class HostRefused(Invalid):
    """The request was sent to a name that is not this server's: as a rebound name would."""

    code, status = "host_refused", 421


class OriginRefused(Forbidden):
    """A page of another origin made the browser send this."""

    code = "origin_refused"


class TooManyRequests(Unavailable):
    """Faster than this address or principal may ask."""

    code, status = "rate_limited", 429

    def __init__(self, wait_s: float) -> None:
        self.retry_after = max(1, int(wait_s + 0.999))
        super().__init__("too many requests", next_step=f"ask again after {self.retry_after} s")


class Busy(Unavailable):
    """Every thread, job or stream is taken, and so is the room to wait."""

    code = "busy"
    retry_after = 1


class Stopping(Unavailable):
    """The server is about to stop and begins nothing new."""

    code = "stopping"
    retry_after = 5


class NotReady(Unavailable):
    """A part that every operation needs is away."""

    code = "not_ready"
    retry_after = 1


class TimedOut(Unavailable):
    """No answer within the request's time. What was asked may still come to be."""

    code, status = "timed_out", 504


class NoRoute(NotFound):
    """Nothing is served there."""

    code = "no_such_route"
