"""A campaign: pipes against replicas on PostgreSQL while replicas are killed, the database restarts and answers are lost.

Afterwards every pipe's exit code is compared with the receivers' own records. Prints the counts; ends with 1 where anything
disagrees. Run: `make campaign`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from helpers.kept_port import kept_port
from helpers.postgresql import PostgreSQL

from support.bitbucket_standin import API, PRODUCTION, BitbucketStandin, Principal, Step
from support.scenes import ROOT

ACCESS_TOKEN = "a-repository-access-token-of-the-campaign"
REPLICA = "helpers.replica_app:app"


@dataclass
class Run:
    """One pipe's run, as it told it."""

    exit_code: int
    text: str
    commit: str

    @property
    def event(self) -> str | None:
        """The event's id, where the log names it."""
        return next((word.strip(":;,.") for word in self.text.split() if word.startswith("evt_")), None)

    @property
    def says_not_delivered(self) -> bool:
        """Whether the pipe claims that no handler ran."""
        return "the event was not delivered" in self.text


@dataclass
class Balancer:
    """Takes connections in turn to the replicas that listen, and loses some of the answers."""

    ports: list[int]
    loses: float
    chance: random.Random
    lost: int = 0
    turn: int = 0
    port: int = 0
    server: asyncio.Server = field(init=False)

    async def start(self) -> None:
        """Listen on a free port."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in self.ports:
            self.turn += 1
            try:
                back = await asyncio.open_connection("127.0.0.1", self.ports[self.turn % len(self.ports)])
            except OSError:
                continue
            cut = self.chance.random() < self.loses
            self.lost += cut
            await asyncio.gather(_pump(reader, back[1]), _pump(back[0], None if cut else writer))
            break
        with contextlib.suppress(OSError):
            writer.transport.abort()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter | None) -> None:
    """Copies to the end; without a target, swallows the first answer and ends."""
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            if target is None:
                return
            target.write(data)
            await target.drain()
    if target is not None:
        with contextlib.suppress(OSError):
            target.close()


class ReplicaProcess:
    """One uvicorn process on a port of its own, kept over restarts."""

    def __init__(self, port: int, environment: dict[str, str], log: Path) -> None:
        self._command = [sys.executable, "-m", "uvicorn", REPLICA, "--port", str(port), "--log-level", "warning"]
        self._command += ["--app-dir", str(ROOT / "receiver/tests")]
        self._environment = {**os.environ, **environment}
        self._log = log
        self.start()

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait()


async def run_pipe(pipe: Path, standin: BitbucketStandin, url: str, folder: Path) -> Run:
    """One run of the real binary, in a step of its own."""
    step = Step(standin.workspace, repository=API, environment=PRODUCTION)
    variables = {
        **step.variables(),
        "BITBUCKET_STEP_OIDC_TOKEN": standin.identity_provider.step_token(step, audiences=[url]),
        "RECEIVER_URL": url,
        "CUSTOM_DATA": '{"do": "work"}',
        "BITBUCKET_ACCESS_TOKEN": ACCESS_TOKEN,
        "BITBUCKET_API_URL": standin.api_url,
        "RETRY_BUDGET": "60",
        "TIMEOUT": "20",
        "NO_COLOR": "1",
    }
    process = await asyncio.create_subprocess_exec(
        pipe, env=variables, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return Run(process.returncode or 0, output.decode(), step.commit)


async def chaos(replicas: list[ReplicaProcess], database: PostgreSQL, chance: random.Random) -> Counter[str]:
    """Kills replicas, and now and then restarts the database, until cancelled."""
    done: Counter[str] = Counter()
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(chance.uniform(1.0, 4.0))
            if chance.random() < 0.2:
                await asyncio.to_thread(database.stop)
                await asyncio.sleep(chance.uniform(0.2, 2.0))
                await asyncio.to_thread(database.start)
                done["database restarts"] += 1
            else:
                victim = chance.choice(replicas)
                victim.kill()
                await asyncio.sleep(chance.uniform(0.0, 1.0))
                victim.start()
                done["replicas killed"] += 1
    return done


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """What the database says."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return connection.execute(query.encode()).fetchall()


def judge(runs: list[Run], url: str, handler_runs: Iterable[str], standin: BitbucketStandin) -> list[str]:
    """Everything in which a pipe's word, the receipts, the chain and the handlers disagree."""
    states = dict(rows(url, "SELECT event_id, state FROM receipts"))
    chain = [json.loads(record) for (record,) in rows(url, "SELECT record FROM audit_records ORDER BY seq")]
    accepted = Counter(r["event_id"] for r in chain if (r["action"], r["decision"]) == ("event.accept", "accepted"))
    outcomes = {r["event_id"]: r["decision"] for r in chain if r["action"] == "event.outcome"}
    ran = Counter(handler_runs)
    wrong = [f"{event}: handler ran {times} times" for event, times in ran.items() if times > 1]
    wrong += [f"{event}: handler ran without a record" for event in ran.keys() - accepted.keys()]
    wrong += [f"{event}: accepted {times} times" for event, times in accepted.items() if times > 1]
    if states.keys() != accepted.keys():
        wrong.append(f"receipts and records differ: {states.keys() ^ accepted.keys()}")
    wrong += [
        f"{event}: receipt {state}, chain {outcomes.get(event)}"
        for event, state in states.items()
        if outcomes.get(event) != state
    ]
    for run in runs:
        event, truth = run.event, states.get(run.event or "")
        good = {
            0: truth == "succeeded",
            5: truth is None if run.says_not_delivered else True,
            6: truth in {"failed", "interrupted"},
        }.get(run.exit_code, False)
        if not good:
            wrong.append(f"{event}: exit code {run.exit_code}, receipt {truth}:\n{run.text}")
        shown = [status.states[-1] for status in standin.statuses.of_commit(API, run.commit)]
        if shown != ["SUCCESSFUL" if run.exit_code == 0 else "FAILED"]:
            wrong.append(f"{event}: exit code {run.exit_code}, the commit shows {shown}")
    return wrong


async def campaign(given: argparse.Namespace, folder: Path) -> int:
    """The whole of it."""
    chance = random.Random(given.seed)  # noqa: S311 - a seed makes a campaign come again
    database = PostgreSQL(folder / "postgresql")
    store = database.create_database()
    standin = BitbucketStandin(["127.0.0.1"])
    replicas: list[ReplicaProcess] = []
    runs_file = folder / "runs"
    runs_file.touch()
    with standin:
        standin.credentials.access_tokens[ACCESS_TOKEN] = Principal("pipe")
        policy = folder / "handoff.toml"
        policy.write_text(
            f'[bitbucket]\nworkspace = "acme"\nworkspace_uuid = "{standin.workspace.uuid}"\n'
            f'[[grants]]\nname = "api"\nrepository = "{API.uuid}"\nscopes = ["deployments:write"]\n'
        )
        kept = [kept_port() for _ in range(given.replicas)]
        ports = [port.getsockname()[1] for port in kept]
        balancer = Balancer(ports, given.lose, chance)
        await balancer.start()
        url = f"http://127.0.0.1:{balancer.port}/handoff"
        environment = {"POLICY": str(policy), "STORE": store, "URL": url, "ISSUER": standin.bitbucket_url}
        environment |= {"RUNS": str(runs_file), "LEASE": "5", "INLINE_TIMEOUT": "1"}
        try:
            replicas += [ReplicaProcess(port, environment, folder / f"replica-{port}.log") for port in ports]
            faults = asyncio.create_task(chaos(replicas, database, chance))
            left = iter(range(given.events))
            runs: list[Run] = []

            async def work() -> None:
                runs.extend([await run_pipe(given.pipe.resolve(), standin, url, folder) for _ in left])

            await asyncio.gather(*(work() for _ in range(given.pipes)))
            faults.cancel()
            done = await faults
            await settled(store)
            wrong = judge(runs, store, runs_file.read_text().split(), standin)
            verify = [sys.executable, "-m", "fastapi_handoff.cli", "audit", "verify", "--store", store]
            verified = await asyncio.to_thread(subprocess.run, verify, capture_output=True, text=True, check=False)
        finally:
            for replica in replicas:
                replica.kill()
            balancer.server.close()
            for port in kept:
                port.close()
            database.remove()
    done["answers lost"] = balancer.lost
    print(f"{len(runs)} pipes, {given.pipes} at a time, {given.replicas} replicas; {dict(done)}")
    print("exit codes:", dict(sorted(Counter(run.exit_code for run in runs).items())))
    print("audit verify:", verified.stdout.strip() or verified.stderr.strip())
    for line in wrong[:20]:
        print("WRONG", line)
    print(f"{len(wrong)} disagreements")
    return 1 if wrong or verified.returncode else 0


async def settled(store: str) -> None:
    """Wait until no receipt waits or runs any more: leases of the killed end, and somebody looks."""
    for _ in range(120):
        if not rows(store, "SELECT 1 FROM receipts WHERE state IN ('pending', 'running')"):
            return
        await asyncio.sleep(0.5)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--pipes", type=int, default=16)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--lose", type=float, default=0.05, help="the share of connections whose answer is lost")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pipe", type=Path, default=ROOT / "target/release/fastapi-handoff")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sys.exit(asyncio.run(campaign(given, Path(name))))


if __name__ == "__main__":
    main()
