"""A teacher behind any endpoint that speaks the OpenAI-compatible HTTP API (a provider, vLLM, llama.cpp)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cogumi_utils.data.answer_cache import AnswerCache, Completion, request_key
from cogumi_utils.data.spending import PICO, Ledger, Price, SpendingLimitReached, price_of
from cogumi_utils.data.teachers import TeacherAnswer, TeacherRequest
from cogumi_utils.errors import CogumiError

if TYPE_CHECKING:
    import openai

    from cogumi_utils.data._metered import Ticket

TEMPLATE_TOKENS = 512  # what an endpoint's chat template may add to a request
FATAL = {
    401: "the endpoint refuses the key",
    403: "the endpoint refuses the key",
    404: "the endpoint does not know this address or model",
}


class EndpointRefused(CogumiError):
    """The endpoint refuses the key, the address or the model: no request of the batch could succeed."""


class OpenAITeacher:
    """Answers through `client.chat.completions` with a disk cache, retries, bounded concurrency and a spending limit.

    name: recorded on each answer. model: as the endpoint calls it. prices: dollars for a million tokens, by model.
    folder: holds `answers.sqlite` and `ledger.sqlite`; a second run over the same folder pays for no answer twice, and
    the limit counts what earlier runs spent. api_key_env: the variable that holds the key, empty for an endpoint that
    needs none. body: further fields of every request, for example `{"reasoning_effort": "low"}`. token_limit_field:
    older endpoints call it `max_tokens`.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        prices: Mapping[str, Price],
        limit_usd: float,
        folder: Path,
        api_key_env: str = "OPENAI_API_KEY",
        name: str = "",
        concurrency: int = 8,
        max_retries: int = 5,
        timeout_seconds: float = 120.0,
        body: Mapping[str, Any] | None = None,
        token_limit_field: str = "max_completion_tokens",
    ):
        self.name, self.model = name or model, model
        self.base_url = _plain_url(base_url)
        self.price = price_of(model, prices)
        self.ledger = Ledger(Path(folder) / "ledger.sqlite", limit_usd)
        self.cache = AnswerCache(Path(folder) / "answers.sqlite")
        self.concurrency, self.max_retries, self.timeout_seconds = concurrency, max_retries, timeout_seconds
        self._key_env, self._body, self._limit_field = api_key_env, _extra(body or {}), token_limit_field

    def __repr__(self) -> str:
        return f"OpenAITeacher({self.model!r}, base_url={self.base_url!r}, {self.ledger!r})"

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        """One answer a request, in order; a request that failed after all retries has `error` set.

        Raises SpendingLimitReached (its `answers` holds what there is), EndpointRefused, CogumiError without a key.
        Whatever was answered before is in the cache.
        """
        keys = [self._key(request) for request in requests]
        known = {key: answer for key in dict.fromkeys(keys) if (answer := self.cache.get(key))}
        free = set(known)  # nothing is paid for these, nor for the second of two equal requests
        asked = {key: request for key, request in zip(keys, requests, strict=True) if key not in free}
        failed, ended = self._ask(asked, known) if asked else ({}, None)
        answers = []
        for key, request in zip(keys, requests, strict=True):
            answers.append(self._answer(request, known.get(key), failed.get(key, ""), key in free))
            free.add(key)
        if ended is not None:
            ended.answers = answers
            raise ended
        return answers

    def _ask(
        self, asked: dict[str, TeacherRequest], known: dict[str, Completion]
    ) -> tuple[dict[str, str], CogumiError | None]:
        """Put the answers into `known`; what failed, by key, and the error that ended the batch, if one did."""
        failed: dict[str, str] = {}
        ended: CogumiError | None = None
        client, stop = self._client, Event()
        with ThreadPoolExecutor(self.concurrency) as pool:
            tasks = {pool.submit(self._one, client, key, request, stop): key for key, request in asked.items()}
            try:
                for task in as_completed(tasks):
                    result = task.result()
                    if isinstance(result, Completion):
                        known[tasks[task]] = result
                    elif isinstance(result, CogumiError):
                        failed[tasks[task]], ended = "this request ended the batch", ended or result
                    else:
                        failed[tasks[task]] = result
            finally:  # also when the user interrupts: no worker may go on spending
                stop.set()
        return failed, ended

    def _one(
        self, client: openai.OpenAI, key: str, request: TeacherRequest, stop: Event
    ) -> Completion | CogumiError | str:
        """The answer, the error that ends the batch, or why there is no answer."""
        from cogumi_utils.data import _metered

        ticket = _metered.Ticket(key, self._request_body(request), self._worst_pico(request), stop)
        token = _metered.TICKET.set(ticket)
        try:
            failure = self._call(client, ticket)
        finally:
            _metered.TICKET.reset(token)
        if isinstance(failure, CogumiError):
            stop.set()
        return ticket.answer or failure

    def _call(self, client: openai.OpenAI, ticket: Ticket) -> CogumiError | str:
        """Errors are returned and never chained: the SDK's hold the request's headers, and so the key."""
        import openai

        from cogumi_utils.data._metered import Stopped

        try:
            client.chat.completions.create(**_sdk_arguments(ticket.body))
        except SpendingLimitReached as reached:
            return reached
        except Stopped:
            return "not asked: the batch had ended"
        except openai.APIStatusError as error:
            return self._status_error(error.status_code, str(error.message))
        except openai.OpenAIError as error:
            return f"{type(error).__name__} after {self.max_retries + 1} attempts"
        return ""

    def _status_error(self, status: int, message: str) -> str | CogumiError:
        if status not in FATAL:
            return f"status {status}: {message[:300]}"
        return EndpointRefused(
            expected=f"{self.base_url} to answer for the model {self.model}",
            found=f"status {status}: {message[:300]}",
            why=f"{FATAL[status]}, so that no request can succeed",
            fix=f"check the key in the environment variable {self._key_env or '(none is sent)'}, base_url and model",
        )

    def _answer(self, request: TeacherRequest, answer: Completion | None, error: str, cached: bool) -> TeacherAnswer:
        if answer is None:
            return TeacherAnswer(request, self.name, error=error)
        return TeacherAnswer(
            request, self.name, answer.text, answer.tokens_in, answer.tokens_out,
            cost_usd=0.0 if cached else answer.cost_pico / PICO, cached=cached, finish_reason=answer.finish_reason,
            error="" if answer.text else f"no text (finish reason {answer.finish_reason or 'not given'})",
        )  # fmt: skip

    def _request_body(self, request: TeacherRequest) -> dict[str, Any]:
        messages = [{key: _utf8(text) for key, text in message.items()} for message in request.messages]
        body = {"model": self.model, "messages": messages, self._limit_field: request.max_tokens, **self._body}
        return body if request.temperature is None else {**body, "temperature": request.temperature}

    def _key(self, request: TeacherRequest) -> str:
        return request_key(self.base_url, self._request_body(request), request.sample)

    def _worst_pico(self, request: TeacherRequest) -> int:
        """The most that the request can cost: a token is at least a byte of text, and the answer ends at max_tokens."""
        most_in = len(json.dumps(self._request_body(request), ensure_ascii=False).encode())
        return self.price.cost_pico(most_in + TEMPLATE_TOKENS, request.max_tokens)

    def _api_key(self) -> str:
        """Read from the environment alone. Raises CogumiError when the variable holds no usable key."""
        if not self._key_env:
            return ""
        key = os.environ.get(self._key_env, "").strip()
        if key and key.isascii() and key.isprintable() and " " not in key:
            return key
        raise CogumiError(
            expected=f"the endpoint's key in the environment variable {self._key_env}",
            found="characters that no key has" if key else "nothing",
            why=f"{self.base_url} asks for it",
            fix=f"type `export {self._key_env}=...`, or pass api_key_env='' for an endpoint that needs no key",
        )

    @cached_property
    def _http(self) -> Any:
        from cogumi_utils.data._metered import MeteredClient

        return MeteredClient(self.ledger, self.cache, self.price, self.timeout_seconds)

    @cached_property
    def _client(self) -> openai.OpenAI:
        import openai

        from cogumi_utils.data._metered import NO_KEY

        return openai.OpenAI(
            api_key=self._api_key() or NO_KEY,
            base_url=self.base_url,
            max_retries=self.max_retries,
            timeout=self.timeout_seconds,
            http_client=self._http,
        )


def _sdk_arguments(body: dict[str, Any]) -> dict[str, Any]:
    """The SDK knows model and messages; everything else goes through untouched, whatever the endpoint calls it."""
    known = ("model", "messages")
    return {**{k: body[k] for k in known}, "extra_body": {k: v for k, v in body.items() if k not in known}}


def _utf8(text: str) -> str:
    """Half a surrogate pair, left over where a text was cut, cannot be sent."""
    return text.encode("utf-8", "replace").decode()


def _extra(body: Mapping[str, Any]) -> dict[str, Any]:
    taken = sorted({"model", "messages", "n", "stream", "temperature"} & set(body))
    if not taken:
        return dict(body)
    raise CogumiError(
        expected="further fields of the request that leave its price and its answer alone",
        found=f"body={{{', '.join(taken)}}}",
        why="each request is one question with one answer, reserved at its worst case",
        fix="ask for several answers by TeacherRequest(sample=...), and set the temperature there",
    )


def _plain_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme in ("http", "https") and parts.hostname and not (parts.username or parts.password or parts.query):
        return url.rstrip("/")
    raise CogumiError(
        expected="an address such as http://localhost:8000/v1, without user, password or query",
        found=f"scheme {parts.scheme or 'none'}, host {parts.hostname or 'none'}",
        why="the address is recorded with every answer, so that nothing secret may be in it",
        fix="pass the plain address as base_url and the key through an environment variable",
    )
