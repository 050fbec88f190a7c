"""The HTTP client below the `openai` SDK: every attempt, retries included, is reserved in the ledger before it is sent.

The SDK retries by itself (429, 5xx, connection errors, Retry-After); here each of its attempts is classified by what
it may have cost. Imported only by `openai_teacher`, at first use: it imports the SDK.
"""

from __future__ import annotations

import json
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpx2
from openai import DefaultHttpxClient

from cogumi_utils.data.answer_cache import AnswerCache, Completion
from cogumi_utils.data.spending import Ledger, Price, SpendingLimitReached

NO_KEY = "none"  # the SDK wants to send some key, also to an endpoint that needs none
MOST_BYTES = 8 << 20  # of an answer; a longer one is broken
NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
# With 3xx and 4xx: the endpoint says that it did no work. Other 5xx come from gateways on the way, and the endpoint
# behind them may have done it.
REFUSED = frozenset({500, 503, 529})


@dataclass
class Ticket:
    """One request under way: what it is, what it may cost, and its answer once it is there."""

    key: str
    body: dict[str, Any]
    worst_pico: int
    stop: threading.Event  # set when the batch has ended
    answer: Completion | None = None


TICKET: ContextVar[Ticket] = ContextVar("ticket")


class Stopped(Exception):
    """The batch has ended; no further attempt is made."""


class MeteredClient(DefaultHttpxClient):
    """An HTTP client that spends only what the ledger lets it, and keeps every answer that was paid for."""

    def __init__(self, ledger: Ledger, cache: AnswerCache, price: Price, timeout_seconds: float):
        super().__init__(timeout=timeout_seconds, follow_redirects=False)
        self._ledger, self._cache, self._price, self._seconds = ledger, cache, price, timeout_seconds
        self._under_way, self._settled = 0, threading.Condition()

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """One attempt. Raises SpendingLimitReached before sending, and httpx2 errors that the SDK retries."""
        ticket = TICKET.get()
        call = self._reserve(ticket)
        try:
            return self._attempt(call, ticket, request, options)
        finally:
            with self._settled:
                self._under_way -= 1
                self._settled.notify_all()

    def _reserve(self, ticket: Ticket) -> int:
        """Reserve the worst case. What other calls under way have reserved may come back: the limit is reached only
        when none of them is left to wait for."""
        with self._settled:
            while not ticket.stop.is_set():
                try:
                    call = self._ledger.reserve(ticket.key, ticket.body["model"], ticket.worst_pico)
                    self._under_way += 1
                    return call
                except SpendingLimitReached:
                    if self._under_way == 0:
                        raise
                    self._settled.wait()
        raise Stopped

    def _attempt(self, call: int, ticket: Ticket, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        try:
            response = self._exchange(request, {**options, "stream": True})
        except NEVER_SENT:
            self._ledger.free(call)
            raise
        except BaseException:
            self._ledger.uncertain(call)
            raise
        self._settle(call, ticket, response)
        return response

    def _exchange(self, request: httpx2.Request, options: dict[str, Any]) -> httpx2.Response:
        """Send and read all within the time limit, also from an endpoint that sends a byte now and then."""
        deadline = time.monotonic() + self._seconds
        streamed = super().send(request, **options)
        body = bytearray()
        try:
            for piece in streamed.iter_bytes():
                body += piece
                if time.monotonic() > deadline:
                    raise httpx2.ReadTimeout("the answer did not end in time", request=request)
                if len(body) > MOST_BYTES:
                    raise httpx2.RemoteProtocolError("the answer is too long", request=request)
        finally:
            streamed.close()
        headers = {k: v for k, v in streamed.headers.items() if k not in ("content-encoding", "transfer-encoding")}
        content = _without_key(bytes(body), request)
        return httpx2.Response(streamed.status_code, headers=headers, content=content, request=request)

    def _settle(self, call: int, ticket: Ticket, response: httpx2.Response) -> None:
        """Keep the answer first, then close the call: after a crash in between it is not paid for again."""
        status = response.status_code
        if 300 <= status < 500 or status in REFUSED:
            self._ledger.free(call)
            return
        answer = self._completion(response, ticket) if status == 200 else None
        if answer is None:
            self._ledger.uncertain(call)
            if status < 500:  # the SDK retries a broken connection, not a broken 200
                raise httpx2.RemoteProtocolError(f"status {status} without an answer", request=response.request)
            return
        self._cache.put(ticket.key, ticket.body, answer)
        self._ledger.pay(call, answer.cost_pico)
        ticket.answer = answer

    def _completion(self, response: httpx2.Response, ticket: Ticket) -> Completion | None:
        try:
            reply = json.loads(response.content)
            choice = reply["choices"][0]
            text = choice["message"].get("content") or ""
            usage = _usage(reply.get("usage"), text)
            return Completion(
                text=text.encode("utf-8", "replace").decode(),
                finish_reason=str(choice.get("finish_reason") or ""),
                served_by=str(reply.get("model") or ""),
                tokens_in=usage[0],
                tokens_out=usage[1],
                cost_pico=self._price.cost_pico(*usage) if usage != (0, 0) else ticket.worst_pico,
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return None


def _without_key(body: bytes, request: httpx2.Request) -> bytes:
    """Some endpoints repeat the key in what they answer, from where it would reach errors and the cache."""
    key = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    return body if key in (b"", NO_KEY.encode()) else body.replace(key, b"[key]")


def _usage(usage: Any, text: str) -> tuple[int, int]:
    """(tokens in, tokens out) as charged; (0, 0) where the endpoint gives no believable numbers."""
    counts = tuple((usage or {}).get(name) for name in ("prompt_tokens", "completion_tokens"))
    whole = all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts)
    return counts if whole and counts[0] > 0 and (counts[1] > 0 or not text) else (0, 0)
