"""The app of the end-to-end tests: handlers that end in every way, and a tap on what comes in.

The service that an event names picks how its handler behaves. What the tap and the handlers see goes to `TAP`, a line of JSON each.
"""

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi_handoff import AuditMiddleware, DeploymentEvent, Handoff, Identity, Rejected
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TAP = Path(os.environ["TAP"])

handoff = Handoff(
    policy=os.environ["POLICY"],
    store=os.environ["STORE"],
    url=os.environ["RECEIVER_URL"],
    bitbucket_url=os.environ["BITBUCKET_URL"],
    signing_secrets=os.environ.get("SIGNING_SECRETS", "").split(),
    inline_timeout=1.0,
)
polled = asyncio.Event()
released = asyncio.Event()


def note(**what: Any) -> None:
    """Appends one line to the tap."""
    with TAP.open("a") as tap:
        tap.write(json.dumps(what) + "\n")


class Tap:
    """Writes every request down as it came, and loses the first answer about an event whose data asks for that."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._lost: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = b""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

        async def tapped_receive() -> Message:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            return message

        event_id = headers.get("webhook-id", "")
        if scope["method"] == "POST" and scope["path"] == "/handoff/events" and event_id not in self._lost:
            self._lost.add(event_id)
            messages: list[Message] = []

            async def hold(message: Message) -> None:
                messages.append(message)

            await self._app(scope, tapped_receive, hold)
            if b'"lose_first_answer"' in body:
                await PlainTextResponse("lost", 503, {"Retry-After": "0"})(scope, receive, send)
            else:
                for message in messages:
                    await send(message)
        else:
            await self._app(scope, tapped_receive, send)
        note(
            kind="request",
            method=scope["method"],
            path=scope["path"],
            headers=headers,
            body=base64.b64encode(body).decode(),
        )
        if scope["method"] == "GET" and scope["path"].startswith("/handoff/events/"):
            polled.set()


app = FastAPI(lifespan=handoff.lifespan)
app.include_router(handoff.router, prefix="/handoff")
app.add_middleware(AuditMiddleware, handoff=handoff)
app.add_middleware(Tap)


@handoff.on("service.deployed", scope="deployments:write")
async def roll_out(event: DeploymentEvent, identity: Identity) -> dict[str, Any]:
    """Behaves as the name of the service says."""
    note(kind="handler", event=event.id, service=event.service, branch=identity.bitbucket.branch, custom=event.custom)
    if event.service == "frozen":
        raise Rejected("the change freeze lasts until Monday")
    if event.service == "broken":
        raise RuntimeError(f"cannot log in with {os.environ['DATABASE_PASSWORD']}")
    if event.service == "held":
        # Tells the test that it runs, and goes on when the test says so.
        await asyncio.to_thread(Path(event.custom["runs"]).write_text, "runs")
        released.clear()
        await released.wait()
    if event.service == "slow":
        # Longer than `inline_timeout` for certain: it ends only once the pipe has asked for the receipt.
        polled.clear()
        await polled.wait()
    return {"rolled_out": event.artifact_id}


@app.post("/release")
async def release() -> None:
    """Lets the handler of `held` go on."""
    released.set()
