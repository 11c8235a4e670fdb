"""The endpoints. Each is short: reading, deciding and what an answer holds are elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from fastapi_offline import FastAPIOffline
from loanloop_common.errors import InvalidMessage, LoanloopError
from loanloop_common.loan_codec import LoanCodec
from loanloop_common.telemetry import CONTENT_TYPE, metrics_page
from loanloop_common.trace_context import trace_of_request, traceparent_of_request
from loanloop_common.tracing import is_tracing
from msgspec import structs
from starlette.types import ASGIApp

from loanloop_predictor.api.access import Access, Guard, caller_in, name_of_caller
from loanloop_predictor.api.admission import Admission
from loanloop_predictor.api.answers import (
    AliveAnswer,
    BatchAnswer,
    DecisionAnswer,
    HealthAnswer,
    ModelInfo,
    ReloadAnswer,
    encoded_answer,
    encoded_batch,
    model_info,
)
from loanloop_predictor.api.batches import Read, read_batch
from loanloop_predictor.api.body import OF_BATCH, OF_LOAN, most_bytes, parsed, read_body, refuse_unholdable
from loanloop_predictor.api.direct import Direct
from loanloop_predictor.api.documents import loan_body, loans_body, say_who_may
from loanloop_predictor.api.errors import ErrorAnswer, install_error_answers
from loanloop_predictor.api.observed import Observed
from loanloop_predictor.api.responses import Encoded
from loanloop_predictor.api.time_limit import TimeLimit
from loanloop_predictor.api.traced import Traced
from loanloop_predictor.domain.incoming import IncomingLoan, read_requested
from loanloop_predictor.domain.plain_requests import PlainRequests
from loanloop_predictor.serving.champions import Champions
from loanloop_predictor.serving.decider import Answer

log = structlog.get_logger()

Decide = Callable[[Sequence[IncomingLoan]], Awaitable[Sequence[Answer]]]
P = ParamSpec("P")
Result = TypeVar("Result")

# A thread takes 40 to 50 µs to be handed work and to hand back its result; ten loans are read in 60 µs.
_FEW_BYTES, _FEW_LOANS = 4_000, 16
_LONG_AT_ONCE = 2

_REFUSALS: dict[int | str, dict[str, Any]] = {
    408: {"model": ErrorAnswer, "description": "The body came too slowly"},
    409: {"model": ErrorAnswer, "description": "The event_id is taken by another payload"},
    410: {"model": ErrorAnswer, "description": "The event_id was decided; the decision is no longer kept"},
    413: {"model": ErrorAnswer, "description": "The body is too large"},
    422: {"model": ErrorAnswer, "description": "A field breaks a rule"},
    500: {"model": ErrorAnswer, "description": "The live version gives this loan no probability; it is not decided"},
    503: {
        "model": ErrorAnswer,
        "description": "No model yet, the database away, or too many requests: send it again under the same event_id",
    },
}


@dataclass(frozen=True, slots=True)
class Api:
    """What the endpoints need. `decide` may share its work between requests."""

    codec: LoanCodec
    champions: Champions
    decide: Decide
    stream_state: Callable[[], str]
    database_state: Callable[[], str]
    reconcile_state: Callable[[], str]
    admission: Admission
    max_batch_loans: int
    max_body_bytes: int
    max_loan_bytes: int
    body_within: TimeLimit
    plain: PlainRequests
    # Read at once. Made to, a body takes forty times its size while it is read, and more threads read no faster.
    long_batches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LONG_AT_ONCE))

    async def body_of_loan(self, request: Request) -> bytes:
        max_bytes = min(self.max_loan_bytes, self.max_body_bytes)
        return await read_body(request, max_bytes=max_bytes, of_what=OF_LOAN, within=self.body_within)

    async def body_of_batch(self, request: Request) -> bytes:
        return await read_body(request, max_bytes=self.max_body_bytes, of_what=OF_BATCH, within=self.body_within)

    def read_one(self, body: bytes) -> IncomingLoan:
        """Raises InvalidMessage."""
        return self.plain.read(body, make_id=uuid4, now=datetime.now(UTC)) or self.read(*parsed(body))

    def read_batch(self, body: bytes) -> list[Read]:
        """Raises InvalidMessage where there is no batch."""
        return read_batch(body, from_bytes=self.read_one, from_json=self.read, max_loans=self.max_batch_loans)

    def read(self, loan: Any, is_holdable: bool = False) -> IncomingLoan:
        """Raises InvalidMessage. What is known to be holdable is not looked through once more."""
        try:
            if not is_holdable:
                refuse_unholdable(loan)
            return read_requested(self.codec, loan, event_id=uuid4(), now=datetime.now(UTC))
        except RecursionError as nested:  # what the parser follows, code below it may not
            raise InvalidMessage("the loan is nested too deeply") from nested


def make_api(api: Api, access: Access | None = None) -> ASGIApp:
    """Without `access` everybody may ask everything."""
    app = FastAPIOffline(title="loanloop predictor", description="Probability of default, and the decision on a loan.")
    install_error_answers(app)
    _add_predictions(app, api)
    _add_model(app, api)
    _add_health(app, api)
    answering: ASGIApp = Direct(app, {"/predict", "/predict/batch"})
    if access is not None:
        say_who_may(app, access)
        answering = Guard(answering, access)
    observed = Observed(answering)
    return Traced(observed) if is_tracing() else observed


def _add_predictions(app: FastAPI, api: Api) -> None:
    @app.post("/predict", response_model=DecisionAnswer, responses=_REFUSALS, openapi_extra=loan_body(api.codec))
    async def predict(request: Request) -> Response:
        """Decide one loan. The decision is stored before it is answered."""
        with api.admission:
            body = await api.body_of_loan(request)
            incoming = await _run(len(body) <= _FEW_BYTES, api.read_one, body)
            if about := _about(request):
                incoming = structs.replace(incoming, **about)
            (answer,) = await api.decide([incoming])
        if isinstance(answer, LoanloopError):
            raise answer
        return Encoded(encoded_answer(answer, incoming))

    @app.post(
        "/predict/batch",
        response_model=BatchAnswer,
        responses=_REFUSALS | {207: {"model": BatchAnswer, "description": "Some loans were refused"}},
        openapi_extra=loans_body(api.codec, max_loans=api.max_batch_loans),
    )
    async def predict_batch(request: Request) -> Response:
        """Decide up to a limit of loans; one that is refused fails no other."""
        with api.admission, api.admission.room_for(most_bytes(request, max_bytes=api.max_body_bytes)):
            return await _answered_batch(api, await api.body_of_batch(request), _about(request))


def _about(request: Request) -> dict[str, str]:
    """What is kept of a request with each of its loans: its trace and who asked, where they are known."""
    scope, about = request.scope, {}
    if traceparent := traceparent_of_request(scope["headers"]):
        about["traceparent"] = traceparent
    if caller := caller_in(scope):
        about["requested_by"] = caller
    return about


async def _answered_batch(api: Api, body: bytes, about: dict[str, str]) -> Response:
    if len(body) <= _FEW_BYTES:
        asked = api.read_batch(body)
    else:
        async with api.long_batches:
            asked = await asyncio.to_thread(api.read_batch, body)
    if about:
        asked = [structs.replace(one, **about) if isinstance(one, IncomingLoan) else one for one in asked]
    to_decide = [one for one in asked if isinstance(one, IncomingLoan)]
    answers = await api.decide(to_decide) if to_decide else []
    content, n_refused = await _run(len(asked) <= _FEW_LOANS, encoded_batch, asked, answers)
    return Encoded(content, status_code=207 if n_refused else 200)


async def _run(is_short: bool, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """What is long would hold up every other request; to what is short a thread would add as much again."""
    return work(*args, **kwargs) if is_short else await asyncio.to_thread(work, *args, **kwargs)


def _add_model(app: FastAPI, api: Api) -> None:
    @app.post("/reload-model", response_model=ReloadAnswer, responses={503: _REFUSALS[503]})
    async def reload_model(request: Request) -> ReloadAnswer:
        """Look into the database now, and try again a bundle that was refused."""
        before = api.champions.applied_seq
        about = trace_of_request(request.scope["headers"])
        actor = name_of_caller(request.scope)
        log.info("operator_action", action="reload-model", actor=actor, before=before, **about)
        await api.champions.reload()
        by = api.champions.serving().by
        changed = by.deployment_seq != before
        return ReloadAnswer.model_validate(
            {
                "version": by.version,
                "deployment_seq": by.deployment_seq,
                "changed": changed,
                "last_swap": api.champions.last_swap,
            },
            from_attributes=True,
        )

    @app.get("/model-info", response_model=ModelInfo, responses={503: _REFUSALS[503]})
    async def get_model_info() -> ModelInfo:
        return model_info(api.champions.serving(), api.champions.last_swap)


def _add_health(app: FastAPI, api: Api) -> None:
    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    @app.head("/health", include_in_schema=False)  # a probe that wants no body
    @app.get("/health", response_model=HealthAnswer)
    async def health() -> HealthAnswer:
        return _health_of(api)

    @app.head("/alive", include_in_schema=False)
    @app.get("/alive", response_model=AliveAnswer)
    async def alive() -> AliveAnswer:
        return AliveAnswer()

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(await asyncio.to_thread(metrics_page), headers={"content-type": CONTENT_TYPE})


def _health_of(api: Api) -> HealthAnswer:
    champions, champion = api.champions, api.champions.current
    stream, database, reconcile = api.stream_state(), api.database_state(), api.reconcile_state()
    well = stream in ("consuming", "starting") and database == "ok" and reconcile != "failing"
    well = well and champions.refusal is None and champions.postponed is None
    return HealthAnswer.model_validate(
        {
            "status": "waiting for a model" if champion is None else "ok" if well else "degraded",
            "version": champion and champion.by.version,
            "deployment_seq": champions.applied_seq,
            "stream": stream,
            "database": database,
            "reconcile": reconcile,
            "last_swap": champions.last_swap,
            "refused": champions.refusal,
            "postponed": champions.postponed,
        },
        from_attributes=True,
    )
