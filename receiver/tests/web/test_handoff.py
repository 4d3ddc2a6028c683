"""What the app sees: configuration, middleware, OpenAPI, health."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import anyio
import httpx
import pytest
import pytest_asyncio
from fastapi import Depends, FastAPI, HTTPException, Security, WebSocket
from openapi_schema_validator import OAS31Validator
from starlette.responses import JSONResponse

import fastapi_handoff
from fastapi_handoff import AuditMiddleware, Handoff, Identity
from fastapi_handoff.request.headers import text_path
from fastapi_handoff.request.refusal import CODES
from helpers.pipe import Pipe, event, event_id
from helpers.provider import STEP_UUID
from helpers.receiver_app import ORIGIN, URL, Receiver


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.acme.dev/handoff",
        "https://API.acme.dev/handoff",
        "https://api.acme.dev:443/handoff",
        "https://api.acme.dev/handoff?a=1",
        "https://api.acme.dev/handoff#a",
        "https://user@api.acme.dev/handoff",
        "api.acme.dev/handoff",
        "",
    ],
)
def test_unusable_url_does_not_start(policy_file: Path, store_url: str, url: str) -> None:
    with pytest.raises(ValueError, match="`url` must be"):
        Handoff(policy_file, store_url, url)


def test_one_slash_at_the_end_of_the_url_is_cut(policy_file: Path, store_url: str) -> None:
    assert Handoff(policy_file, store_url, f"{URL}/").url == URL
    assert Handoff(policy_file, store_url, "https://api.acme.dev/").url == "https://api.acme.dev"


@pytest.mark.parametrize(
    "secret", ["hunter2", "whsec_", "whsec_AAAA", "whsec_!!!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
)
def test_unusable_secret_does_not_start_and_is_not_told(policy_file: Path, store_url: str, secret: str) -> None:
    with pytest.raises(ValueError, match="signing secret 1 is not `whsec_`") as caught:
        Handoff(policy_file, store_url, URL, signing_secrets=[secret])
    assert secret not in str(caught.value).replace("`whsec_`", "")


def test_one_secret_instead_of_a_list_does_not_start(policy_file: Path, store_url: str) -> None:
    with pytest.raises(TypeError, match=r"write `\[secret\]`"):
        Handoff(policy_file, store_url, URL, signing_secrets="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def test_handler_that_could_never_run_does_not_start(policy_file: Path, store_url: str) -> None:
    handoff = Handoff(policy_file, store_url, URL)
    with pytest.raises(ValueError, match=r"expected one of `service\.deployed`"):
        handoff.on("deployed", scope="x")
    with pytest.raises(ValueError, match="the one scope"):
        handoff.on("service.deployed", scope="")
    with pytest.raises(TypeError, match="must take two arguments"):
        handoff.on("service.deployed", scope="x")(lambda event: None)
    handoff.on("service.deployed", scope="x")(lambda event, identity: None)
    with pytest.raises(ValueError, match="has a handler already"):
        handoff.on("service.deployed", scope="x")(lambda event, identity: None)


async def test_lifespan_is_entered_within_the_apps_own(policy_file, store_url, issuer) -> None:
    receiver = Receiver(policy_file, store_url, issuer)
    entered = []

    @asynccontextmanager
    async def own(app: FastAPI):
        async with receiver.handoff.lifespan(app):
            entered.append(app)
            yield {"db": 1}

    app = FastAPI(lifespan=own)
    app.include_router(receiver.handoff.router, prefix="/handoff")
    async with app.router.lifespan_context(app) as state:
        assert state == {"db": 1}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
            assert (await receiver.pipe.exchange(client, receiver.step_token())).status_code == 200
    assert entered == [app]


# AuditMiddleware


async def test_every_state_changing_request_is_recorded_before_and_after(receiver, records) -> None:
    @receiver.app.get("/read")
    def read() -> None: ...

    await receiver.client.get("/read")
    await receiver.client.post("/open?name=Jane", content=b"secret", headers={"X-User": "jane"})
    await receiver.client.request("PURGE", "/open")
    await receiver.client.delete("/nothing")

    assert [(r["resource"], r["decision"], r["outcome"]) for r in records()] == [
        ("POST /open", "attempted", None),
        ("POST /open", "succeeded", {"status": 200}),
        ("PURGE /open", "attempted", None),
        ("PURGE /open", "refused", {"status": 405}),
        ("DELETE /nothing", "attempted", None),
        ("DELETE /nothing", "refused", {"status": 404}),
    ]
    assert {record["actor"] for record in records()} == {None}
    text = json.dumps(records())
    assert all(word not in text for word in ("Jane", "jane", "secret", "127.0.0.1"))


async def test_request_that_a_deadline_of_the_app_ends_is_recorded(receiver, records) -> None:
    """Such a deadline cancels each `await` anew, that of the record too."""
    after: list[str] = []

    class Deadline:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            with anyio.move_on_after(0.2) as deadline:
                await self.app(scope, receive, send)
                after.append("went on")
            assert deadline.cancelled_caught
            await JSONResponse({}, 504)(scope, receive, send)

    @receiver.app.post("/slow")
    async def slow() -> None:
        await asyncio.sleep(60)

    receiver.app.add_middleware(Deadline)
    assert (await receiver.client.post("/slow")).status_code == 504
    assert after == []
    assert [(r["decision"], r["outcome"]) for r in records()] == [("attempted", None), ("failed", {"status": None})]


async def test_request_that_is_cancelled_again_while_its_outcome_is_recorded_is_recorded(
    receiver, records, monkeypatch
) -> None:
    started = asyncio.Event()
    store = receiver.handoff.recorder.store
    write = store.write

    @receiver.app.post("/slow")
    async def slow() -> None:
        started.set()
        await asyncio.sleep(60)

    async def write_slowly(work, **_):
        await asyncio.sleep(0.1)
        return await write(work)

    monkeypatch.setattr(store, "write", write_slowly)
    request = asyncio.create_task(receiver.client.post("/slow"))
    await started.wait()
    for _ in range(3):
        request.cancel()
        await asyncio.sleep(0.02)
    with pytest.raises(asyncio.CancelledError):
        await request
    assert [(r["decision"], r["outcome"]) for r in records()] == [("attempted", None), ("failed", {"status": None})]


async def test_request_that_fails_in_the_app_is_recorded(receiver, records) -> None:
    @receiver.app.post("/broken")
    def broken() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await receiver.client.post("/broken")
    assert [(r["decision"], r["outcome"]) for r in records()] == [("attempted", None), ("failed", {"status": None})]


@pytest.mark.parametrize("traceparent", [None, "00-nonsense"])
async def test_records_of_one_request_have_one_trace_id(receiver, records, traceparent: str | None) -> None:
    headers = {} if traceparent is None else {"traceparent": traceparent}
    response = await receiver.client.post("/config/sync", headers=headers)

    assert [r["action"] for r in records()] == ["request", "route.call", "request"]
    assert {r["trace_id"] for r in records()} == {response.json()["trace_id"]}
    await receiver.client.post("/config/sync", headers=headers)
    assert len({r["trace_id"] for r in records()}) == 2


async def test_refused_caller_of_a_custom_route_is_answered_with_a_problem(receiver, records) -> None:
    response = await receiver.client.post("/config/sync")

    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == 'DPoP algs="ES256"'
    assert response.json()["code"] == "token-missing"
    assert [(r["action"], r["decision"], r["code"]) for r in records()] == [
        ("request", "attempted", None),
        ("route.call", "refused", "token-missing"),
        ("request", "refused", None),
    ]


async def test_identity_asked_for_twice_uses_one_proof(receiver) -> None:
    identity = receiver.handoff.identity

    @receiver.app.post("/twice")
    async def twice(
        first: Annotated[Identity, Security(identity, scopes=["config:sync"])],
        second: Annotated[Identity, Security(identity, scopes=["deployments:write"])],
    ) -> bool:
        return first == second

    @receiver.app.post("/more")
    async def more(
        first: Annotated[Identity, Security(identity, scopes=["config:sync"])],
        second: Annotated[Identity, Security(identity, scopes=["admin"])],
    ) -> None: ...

    token = await receiver.access_token()
    for path, status in (("/twice", 200), ("/more", 403)):
        proof = receiver.pipe.proof("POST", f"{ORIGIN}{path}", token)
        response = await receiver.client.post(path, headers={"Authorization": f"DPoP {token}", "DPoP": proof})
        assert response.status_code == status


async def test_identity_in_a_mounted_app_is_refused_with_a_problem(receiver) -> None:
    inner = FastAPI()

    @inner.post("/sync")
    async def sync(identity: Annotated[Identity, Depends(receiver.handoff.identity)]) -> str:
        return identity.bitbucket.step_uuid

    receiver.app.mount("/inner", inner)
    token = await receiver.access_token()
    proof = receiver.pipe.proof("POST", f"{ORIGIN}/inner/sync", token)
    answers = [
        await receiver.client.post("/inner/sync", headers={"Authorization": f"DPoP {token}", "DPoP": proof})
        for _ in range(2)
    ]
    assert answers[0].json() == STEP_UUID
    assert answers[1].json()["code"] == "proof-replayed"


async def test_websocket_that_asks_for_an_identity_is_refused(receiver) -> None:
    @receiver.app.websocket("/live")
    async def live(websocket: WebSocket, identity: Annotated[Identity, Security(receiver.handoff.identity)]) -> None:
        raise AssertionError("nobody is let in")

    received = iter([{"type": "websocket.connect"}])
    sent = []

    async def receive() -> dict[str, str]:
        return next(received)

    async def send(message: dict[str, str]) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/live", "raw_path": b"/live", "query_string": b"", "headers": []}
    await receiver.app(scope, receive, send)

    [close] = sent
    assert (close["type"], close["code"]) == ("websocket.close", 1008)
    assert "not for websockets" in close["reason"]


@pytest.mark.parametrize(
    ("mounted_at", "path"),
    [("/t/{tenant}", "/t/a%20b/x"), ("/t/{tenant}", "/t/%61%2fb/x"), ("/t a", "/t%20a/x"), ("/t", "/t/x")],
)
async def test_proof_names_the_path_as_it_was_sent_to_a_mounted_app(
    receiver, records, mounted_at: str, path: str
) -> None:
    inner = FastAPI()

    @inner.post("/x")
    @inner.post("/b/x")
    async def call(identity: Annotated[Identity, Depends(receiver.handoff.identity)]) -> str:
        return identity.bitbucket.step_uuid

    receiver.app.mount(mounted_at, inner)
    token = await receiver.access_token()

    async def status_of(htu_path: str) -> int:
        proof = receiver.pipe.proof("POST", f"{ORIGIN}{htu_path}", token)
        headers = {"Authorization": f"DPoP {token}", "DPoP": proof}
        return (await receiver.client.post(path, headers=headers)).status_code

    assert await status_of(path) == 200
    assert [r["resource"] for r in records()[-3:]] == [f"POST {path}"] * 3
    # Another spelling of the path, and each doubling of the prefix, is another URL.
    for other in (path.replace("/t", "/%74"), f"/t{path}", path.removeprefix("/t"), f"{path}/"):
        assert await status_of(other) == 401


@pytest.mark.parametrize(
    ("root", "sent", "public"),
    [
        ("/api", "/config/sync", "/api/config/sync"),
        ("/api", "/api/config/sync", "/api/config/sync"),
        ("/api/", "/config/sync", "/api/config/sync"),
        ("/config", "/config/sync", "/config/sync"),
        ("/conf", "/config/sync", "/conf/config/sync"),
        ("", "/config/sync", "/config/sync"),
    ],
)
def test_prefix_that_a_proxy_cut_is_part_of_the_path(root: str, sent: str, public: str) -> None:
    scope = {"type": "http", "path": sent, "raw_path": sent.encode(), "root_path": root}
    assert text_path(scope) == public
    assert text_path({**scope, "raw_path": None}) == public


# Two handoffs in one app


OTHER_URL = f"{ORIGIN}/other"


@pytest_asyncio.fixture
async def other(receiver: Receiver, policy_file: Path, tmp_path: Path) -> AsyncIterator[Handoff]:
    """A second handoff in the receiver's app, with a store and a URL of its own."""
    handoff = Handoff(
        policy_file,
        f"sqlite:///{tmp_path / 'other.db'}",
        OTHER_URL,
        bitbucket_url=receiver.issuer.url,
        clock=receiver.clock,
    )
    receiver.app.include_router(handoff.router, prefix="/other")
    async with handoff.lifespan(receiver.app):
        yield handoff


async def test_identity_of_one_handoff_is_none_of_anothers(receiver: Receiver, other: Handoff, records) -> None:
    @receiver.app.post("/both")
    async def both(
        first: Annotated[Identity, Security(receiver.handoff.identity)],
        second: Annotated[Identity, Security(other.identity)],
    ) -> None: ...

    token = await receiver.access_token()
    proof = receiver.pipe.proof("POST", f"{ORIGIN}/both", token)
    response = await receiver.client.post("/both", headers={"Authorization": f"DPoP {token}", "DPoP": proof})

    assert (response.status_code, response.json()["code"]) == (401, "token-invalid")
    assert records()[-1]["actor"]["step_uuid"] == STEP_UUID


async def test_actor_of_a_request_is_whom_the_middlewares_own_handoff_attested(
    receiver: Receiver, other: Handoff, records
) -> None:
    @receiver.app.post("/others")
    async def others(identity: Annotated[Identity, Security(other.identity)]) -> str:
        return identity.bitbucket.step_uuid

    pipe = Pipe(OTHER_URL, clock=receiver.clock)
    claims = receiver.claims(aud=OTHER_URL)
    token = await pipe.access_token(receiver.client, receiver.issuer.keys[0].sign(claims))
    proof = pipe.proof("POST", f"{ORIGIN}/others", token)
    response = await receiver.client.post("/others", headers={"Authorization": f"DPoP {token}", "DPoP": proof})

    assert response.json() == STEP_UUID
    assert [(r["resource"], r["decision"], r["actor"]) for r in records()[-2:]] == [
        ("POST /others", "attempted", None),
        ("POST /others", "succeeded", None),
    ]


async def test_own_routes_of_another_handoff_are_recorded_as_any_route(
    receiver: Receiver, other: Handoff, records
) -> None:
    for path in ("/handoff/token", "/other/token", "/other/events", "/handoff/events"):
        await receiver.client.post(path)

    assert [r["resource"] for r in records() if r["action"] == "request" and r["decision"] == "attempted"] == [
        "POST /other/token",
        "POST /other/events",
    ]


async def test_apps_own_token_route_is_recorded_where_the_handoff_is_mounted(
    policy_file, store_url, issuer, records
) -> None:
    """The paths are the same below their mounts: a route is known by what it is, not by what it is called."""
    receiver = Receiver(policy_file, store_url, issuer)
    inner, outer = FastAPI(), FastAPI()
    inner.include_router(receiver.handoff.router)
    outer.mount("/handoff", inner)
    outer.add_middleware(AuditMiddleware, handoff=receiver.handoff)

    @outer.post("/token")
    @outer.post("/events")
    async def own() -> None: ...

    async with (
        receiver.handoff.lifespan(inner),
        httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url=ORIGIN) as client,
    ):
        for path in ("/token", "/events", "/handoff/token", "/handoff/events"):
            await client.post(path)

    assert [(r["action"], r["resource"], r["decision"]) for r in records()] == [
        ("request", "POST /token", "attempted"),
        ("request", "POST /token", "succeeded"),
        ("request", "POST /events", "attempted"),
        ("request", "POST /events", "succeeded"),
        ("token.exchange", "POST /handoff/token", "refused"),
        ("event.accept", "POST /handoff/events", "refused"),
    ]


async def test_route_that_the_app_adds_to_the_handoffs_router_is_recorded_as_any_route(receiver, records) -> None:
    @receiver.handoff.router.delete("/rollback")
    async def rollback() -> None: ...

    app = FastAPI()
    app.include_router(receiver.handoff.router, prefix="/handoff")
    app.add_middleware(AuditMiddleware, handoff=receiver.handoff)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
        assert (await client.delete("/handoff/rollback")).status_code == 200
    assert [(r["action"], r["resource"], r["decision"]) for r in records()] == [
        ("request", "DELETE /handoff/rollback", "attempted"),
        ("request", "DELETE /handoff/rollback", "succeeded"),
    ]


class NoStarletteApp:
    """An ASGI app of another framework, which has routes of its own kind."""

    routes = (object(),)

    async def __call__(self, scope, receive, send) -> None:
        await JSONResponse({})(scope, receive, send)


async def test_mounted_app_of_another_framework_is_served_and_recorded(receiver, records) -> None:
    receiver.app.mount("/other", NoStarletteApp())
    assert (await receiver.client.post("/other/x")).status_code == 200
    assert [(r["resource"], r["decision"]) for r in records()] == [
        ("POST /other/x", "attempted"),
        ("POST /other/x", "succeeded"),
    ]


async def test_request_that_a_dependency_on_the_router_refuses_is_recorded(
    policy_file, store_url, issuer, records
) -> None:
    receiver = Receiver(policy_file, store_url, issuer)

    def too_many() -> None:
        raise HTTPException(429)

    app = FastAPI(lifespan=receiver.handoff.lifespan)
    app.include_router(receiver.handoff.router, prefix="/handoff", dependencies=[Depends(too_many)])
    app.add_middleware(AuditMiddleware, handoff=receiver.handoff)
    async with (
        receiver.handoff.lifespan(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client,
    ):
        assert (await client.post("/handoff/events")).status_code == 429
    assert [(r["action"], r["decision"], r["outcome"]) for r in records()] == [
        ("event.accept", "refused", {"status": 429})
    ]


# OpenAPI


def test_openapi_page_names_the_operations_the_same_at_each_start(receiver: Receiver, other: Handoff) -> None:
    paths = receiver.app.openapi()["paths"]
    assert paths["/handoff/token"]["post"]["operationId"] == "handoff_token_handoff_token_post"
    assert paths["/other/events"]["post"]["operationId"] == "handoff_events_other_events_post"


def test_openapi_page_is_valid_and_tells_the_handoffs_routes(receiver) -> None:
    page = receiver.app.openapi()

    assert page["components"]["securitySchemes"]["DPoP"]["scheme"] == "DPoP"
    events = page["paths"]["/handoff/events"]["post"]
    assert events["security"] == [{"DPoP": []}]
    [(media_type, body)] = events["requestBody"]["content"].items()
    assert media_type == "application/cloudevents+json"
    OAS31Validator.check_schema(body["schema"])
    OAS31Validator(body["schema"]).validate(event(event_id()))
    assert page["paths"]["/config/sync"]["post"]["security"] == [{"DPoP": ["config:sync"]}]
    assert "application/x-www-form-urlencoded" in page["paths"]["/handoff/token"]["post"]["requestBody"]["content"]
    assert "HTTPValidationError" not in json.dumps({k: v for k, v in page["paths"].items() if k.startswith("/handoff")})


def test_openapi_page_lists_every_code(receiver) -> None:
    page = json.dumps(receiver.app.openapi()["paths"])
    assert [code for code in CODES if f'"{code}"' not in page] == []


async def test_receipt_and_refusal_are_as_the_page_says(receiver) -> None:
    paths = receiver.app.openapi()["paths"]
    token = await receiver.access_token()
    exchange = await receiver.pipe.exchange(receiver.client, receiver.step_token())
    receipt = await receiver.pipe.deliver(receiver.client, token, event(event_id()))
    refusal = await receiver.pipe.deliver(receiver.client, token, event(event_id(), branch="x"))
    oauth = await receiver.pipe.exchange(receiver.client, receiver.step_token(branchName="x"))
    for response, path in ((exchange, "token"), (receipt, "events"), (refusal, "events"), (oauth, "token")):
        told = paths[f"/handoff/{path}"]["post"]["responses"][str(response.status_code)]["content"]
        schema = told[response.headers["content-type"]]["schema"]
        OAS31Validator(schema).validate(response.json())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/handoff/token", 405),
        ("PUT", "/handoff/events", 405),
        ("HEAD", "/handoff/events", 405),
        ("OPTIONS", "/handoff/token", 405),
        ("POST", "/handoff/jwks.json", 405),
        ("POST", "/handoff/nothing", 404),
        ("POST", "/handoff/token/", 307),
        ("POST", "/handoff/events/", 307),
        ("GET", "/handoff/events/", 307),
    ],
)
async def test_other_methods_and_paths_are_told_apart(receiver, method: str, path: str, status: int) -> None:
    response = await receiver.client.request(method, path)
    assert response.status_code == status


# Health


async def test_health_tells_readiness(receiver, sql, monkeypatch) -> None:
    monkeypatch.setattr("fastapi_handoff.web.health.TRY_AGAIN_SECONDS", 0.0)
    await receiver.access_token()
    await receiver.access_token()
    well = await receiver.client.get(f"{URL}/health")
    assert (well.status_code, well.json()) == (
        200,
        {"status": "ready", "checks": {"store": "ok", "chain": "ok", "clock": "ok", "issuer_keys": "ok"}},
    )
    sql("UPDATE audit_records SET prev_hash = 'x' WHERE seq = 2")
    ill = await receiver.client.get(f"{URL}/health")
    assert (ill.status_code, ill.json()["checks"]["chain"]) == (503, "failed")
    assert "retry-after" in ill.headers


async def test_health_without_issuer_keys_is_unready(receiver, issuer) -> None:
    issuer.respond = lambda request: issuer.send(request, b"", 500)
    response = await receiver.client.get(f"{URL}/health")
    assert (response.status_code, response.json()["checks"]["issuer_keys"]) == (503, "failed")


def test_codes_are_those_of_the_protocol() -> None:
    page = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
    table = page[page.index("| code | status |") :]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:] if line.startswith("|")]
    told = {}
    for codes, status, error, _ in rows:
        for code in codes.replace("`", "").split(","):
            told[code.strip()] = (status, error)
    assert told.keys() == CODES.keys()
    for code, (status, error) in told.items():
        assert str(CODES[code].status) in status
        assert not error or CODES[code].error in error


def test_package_is_typed_and_exports_what_it_says() -> None:
    package = Path(fastapi_handoff.__file__).parent
    assert (package / "py.typed").exists()
    assert all(hasattr(fastapi_handoff, name) for name in fastapi_handoff.__all__)
