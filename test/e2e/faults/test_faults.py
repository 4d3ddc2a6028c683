"""What the pipe makes of every fault at every point of the conversation, row by row of `fault_table`."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from standardwebhooks import Webhook

from e2e.faults.fault_table import (
    CLIENT,
    DELIVERY,
    EXCHANGE,
    IN_THE_CONTAINER,
    NOT_DELIVERED,
    POLLING,
    REPORTING,
    UNKNOWN,
    Row,
)
from support.bitbucket_standin import Principal
from support.judges import claims_of
from support.links.faults import still_runs
from support.scenes import EVENT, INSIGHTS, SIGNING_SECRET, BinaryPipe, FaultyScene, ScenePool, judged_faulty


def named(rows: Sequence[Row]) -> list[object]:
    """For `parametrize`."""
    return [pytest.param(row, id=f"{row.point.name}: {row.name}") for row in rows]


@pytest.fixture(scope="module")
def played(
    request: pytest.FixtureRequest, binary_pipe: BinaryPipe, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Row], None]]:
    """Plays the rows that were selected, several at a time; what it gives waits for one row, and fails where that did."""
    folder = tmp_path_factory.mktemp("faults")
    rows = [
        cast("Row", item.callspec.params["row"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test_a_fault_ends_as_the_table_says.__name__
    ]

    def play(scene: FaultyScene, row: Row, number: int) -> None:
        build_dir = folder / f"build-{number}"
        build_dir.mkdir()
        for _ in judged_faulty(scene):
            check(row, scene, build_dir)

    with ScenePool(binary_pipe, folder, 4) as pool:
        plays = {id(row): pool.submit(partial(play, row=row, number=number)) for number, row in enumerate(rows)}
        yield lambda row: plays[id(row)].result()


@pytest.mark.parametrize("row", named([*EXCHANGE, *DELIVERY, *POLLING, *REPORTING]))
def test_a_fault_ends_as_the_table_says(row: Row, played: Callable[[Row], None]) -> None:
    played(row)


@pytest.mark.parametrize("row", named(IN_THE_CONTAINER))
def test_a_fault_ends_so_in_the_container_too(row: Row, faulty_container: FaultyScene, build_dir: Path) -> None:
    check(row, faulty_container, build_dir)


def check(row: Row, scene: FaultyScene, build_dir: Path) -> None:
    if row.change.get("BITBUCKET_CLIENT_SECRET"):
        scene.standin.credentials.oauth_clients["consumer", str(CLIENT["BITBUCKET_CLIENT_SECRET"])] = Principal("pipe")
    if row.accepted_first:
        scene.spoil(EVENT, [still_runs()])
    scene.spoil(row.point, row.faults)
    step = scene.step()
    run = scene.run(scene.variables(step, **{"TIMEOUT": row.timeout, **row.change}), build_dir)
    seen = (run.exit_code, len(scene.handler_runs()), scene.delivered() if row.delivered is not None else None)
    assert seen == (row.exit_code, row.handled, row.delivered), run.text
    assert row.line in run.text
    if row.state is not None:
        assert scene.last_state(step) == row.state
    if row.point is INSIGHTS and row.exit_code == 0:
        (report,) = scene.standin.insights.of_commit(step.repository, step.commit)
        assert report.values["result"] == "PASSED"
    if row.exit_code == 5:
        assert (NOT_DELIVERED in run.text) != (UNKNOWN in run.text)
    every_try_is_proved_anew(scene)
    assert not [
        hop for link in scene.links.values() for hop in link.hops if hop.request.target.startswith("/elsewhere")
    ]


def every_try_is_proved_anew(scene: FaultyScene) -> None:
    """Same event each time; but a proof of its own, and a signature that a public package verifies."""
    events = [hop.request for hop in scene.hops(EVENT)]
    assert len({(event.headers["webhook-id"], event.headers["content-digest"], event.body) for event in events}) <= 1
    for event in events:
        assert Webhook(SIGNING_SECRET).verify(event.body.decode(), dict(event.headers)) == json.loads(event.body)
    proofs = [hop.request.headers["dpop"] for hop in scene.links["receiver"].hops]
    assert len({claims_of(proof)["jti"] for proof in proofs}) == len(proofs)
