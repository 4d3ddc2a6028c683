"""TLS against real servers on this machine: what is trusted, and what a user reads where something is wrong."""

import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.links import Authority, ConnectProxy, FaultyLink
from support.links.faults import instead
from support.scenes import EVENT, SIGNING_SECRET, TOKEN, BinaryPipe, FaultyScene, PipeRun, judged_faulty

PROXY_PASSWORD = "the-password-of-the-proxy"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_stage(
    authority: Authority, binary_pipe: BinaryPipe, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyScene]:
    tls = {"receiver": authority.server("127.0.0.1")}
    with FaultyScene(binary_pipe, tmp_path_factory.mktemp("tls"), [SIGNING_SECRET], tls=tls) as scene:
        yield scene


@pytest.fixture
def scene(tls_stage: FaultyScene) -> Iterator[FaultyScene]:
    """A receiver under TLS, with a certificate of `authority`; judged like every scene."""
    yield from judged_faulty(tls_stage)


def run_against(
    tls: ssl.SSLContext | None, scene: FaultyScene, build_dir: Path, **change: str
) -> tuple[PipeRun, FaultyLink]:
    """A run whose RECEIVER_URL is another TLS server than the scene's; the receiver behind it is never reached."""
    with FaultyLink(scene.pipe.hosts, ("127.0.0.1", 1), tls=tls) as link:
        url = f"https://127.0.0.1:{link.port}/handoff"
        step = scene.step()
        token = scene.token(step, audiences=[url])
        run = scene.run(scene.variables(step, token, RECEIVER_URL=url, RETRY_BUDGET="3", **change), build_dir)
        assert scene.last_state(step) == "FAILED"
        assert link.hops == []
        return run, link


def fails_at_once(run: PipeRun, link: FaultyLink) -> None:
    """Trying again cannot help, so there was one connection."""
    assert run.exit_code == 5, run.text
    assert "the event was not delivered" in run.text
    assert link.connections == 1


def test_an_unknown_issuer_is_told_with_what_to_set(scene: FaultyScene, build_dir: Path) -> None:
    run = scene.run(scene.variables(scene.step()), build_dir)
    fails_at_once(run, scene.links["receiver"])
    assert "the server's certificate is from an issuer that is not trusted" in run.text
    assert "If it is your own CA, give its certificate as CA_CERTIFICATE (PEM)" in run.text


@pytest.mark.parametrize("form", ["PEM", "PEM with its line breaks as \\n", "the path of a file", "two in one"])
def test_ca_certificate_makes_an_own_issuer_trusted(
    form: str, authority: Authority, scene: FaultyScene, build_dir: Path
) -> None:
    file = build_dir / "ca.pem"
    file.write_text(authority.pem)
    given = {
        "PEM": authority.pem,
        "PEM with its line breaks as \\n": authority.pem.replace("\n", "\\n"),
        "the path of a file": str(file),
        "two in one": Authority(build_dir).pem + authority.pem,
    }
    step = scene.step()
    run = scene.run(scene.variables(step, CA_CERTIFICATE=given[form]), build_dir)
    assert run.exit_code == 0, run.text
    assert scene.last_state(step) == "SUCCESSFUL"
    assert scene.links["receiver"].connections == 1


def test_another_own_issuer_is_not_trusted(scene: FaultyScene, build_dir: Path) -> None:
    run = scene.run(scene.variables(scene.step(), CA_CERTIFICATE=Authority(build_dir).pem), build_dir)
    fails_at_once(run, scene.links["receiver"])


def test_an_expired_certificate_is_told(authority: Authority, scene: FaultyScene, build_dir: Path) -> None:
    tls = authority.server("127.0.0.1", expired=True)
    run, link = run_against(tls, scene, build_dir, CA_CERTIFICATE=authority.pem)
    fails_at_once(run, link)
    assert "the server's certificate is not valid now" in run.text
    assert "Renew the certificate of the server, or check the clocks" in run.text


def test_a_server_that_does_not_know_the_name_is_told(
    authority: Authority, scene: FaultyScene, build_dir: Path
) -> None:
    tls = authority.server("127.0.0.1")
    tls.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    run, link = run_against(tls, scene, build_dir, CA_CERTIFICATE=authority.pem)
    fails_at_once(run, link)
    assert "the server does not know the host name in the URL" in run.text


@pytest.mark.parametrize("host", ["api.acme.dev", "127.0.0.2"])
def test_a_certificate_for_another_name_is_told(
    host: str, authority: Authority, scene: FaultyScene, build_dir: Path
) -> None:
    run, link = run_against(authority.server(host), scene, build_dir, CA_CERTIFICATE=authority.pem)
    fails_at_once(run, link)
    assert "the server's certificate is for another name" in run.text
    assert "Check the host in the URL" in run.text


def test_an_old_tls_is_not_spoken(authority: Authority, scene: FaultyScene, build_dir: Path) -> None:
    tls = authority.server("127.0.0.1")
    tls.set_ciphers("DEFAULT@SECLEVEL=0")
    with warnings.catch_warnings():
        # Python warns of TLS 1.1 for the very reason this test exists.
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    run, link = run_against(tls, scene, build_dir, CA_CERTIFICATE=authority.pem)
    fails_at_once(run, link)
    assert "the server and the pipe have no TLS in common" in run.text
    assert "The pipe speaks TLS 1.2 and 1.3" in run.text


def test_tls_1_2_is_spoken(authority: Authority, scene: FaultyScene, build_dir: Path) -> None:
    tls = authority.server("127.0.0.1")
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    link = scene.links["receiver"]
    link.tls, usual = tls, link.tls
    run = scene.run(scene.variables(scene.step(), CA_CERTIFICATE=authority.pem), build_dir)
    link.tls = usual
    assert run.exit_code == 0, run.text


def test_a_server_without_tls_is_told(scene: FaultyScene, build_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        url = f"https://127.0.0.1:{plain.getsockname()[1]}/handoff"
        step = scene.step()
        variables = scene.variables(step, scene.token(step, audiences=[url]), RECEIVER_URL=url, RETRY_BUDGET="3")
        process = scene.start(variables, build_dir)
        connection, _ = plain.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        run = scene.finish(process)
    assert run.exit_code == 5, run.text
    assert "the server does not speak TLS" in run.text
    assert "try 1:" not in run.text


@pytest.mark.parametrize("point", [TOKEN, EVENT], ids=lambda point: point.name)
def test_a_redirect_is_not_followed(point: object, authority: Authority, scene: FaultyScene, build_dir: Path) -> None:
    with FaultyLink(scene.pipe.hosts, ("127.0.0.1", 1)) as elsewhere:
        at = TOKEN if point is TOKEN else EVENT
        scene.spoil(at, [instead(308, location=f"http://127.0.0.1:{elsewhere.port}/handoff")])
        run = scene.run(scene.variables(scene.step(), CA_CERTIFICATE=authority.pem), build_dir)
        assert elsewhere.connections == 0
    assert run.exit_code == (4 if point is TOKEN else 5), run.text
    assert "set RECEIVER_URL to the final address" in run.text


def proxied(scene: FaultyScene, proxy: ConnectProxy, authority: Authority, build_dir: Path, login: str = "") -> PipeRun:
    """A run that HTTPS_PROXY sends through this proxy."""
    variables = scene.variables(scene.step(), CA_CERTIFICATE=authority.pem, RETRY_BUDGET="1")
    return scene.run({**variables, "HTTPS_PROXY": f"http://{login}127.0.0.1:{proxy.port}"}, build_dir)


def test_https_proxy_is_connected_through(authority: Authority, scene: FaultyScene, build_dir: Path) -> None:
    with ConnectProxy() as proxy:
        run = proxied(scene, proxy, authority, build_dir)
    assert run.exit_code == 0, run.text
    target = f"127.0.0.1:{scene.links['receiver'].port}"
    assert [head.split("\r\n")[0] for head in proxy.heads] == [f"CONNECT {target} HTTP/1.1"]


def test_the_password_of_a_proxy_goes_to_the_proxy_only(
    authority: Authority, scene: FaultyScene, build_dir: Path
) -> None:
    scene.secrets.add(PROXY_PASSWORD)
    with ExitStack() as stack:
        for proxy in (stack.enter_context(ConnectProxy()), stack.enter_context(ConnectProxy(refusal=502))):
            proxied(scene, proxy, authority, build_dir, login=f"someone:{PROXY_PASSWORD}@")
            assert "proxy-authorization: basic" in proxy.heads[0].lower()
    for hop in scene.links["receiver"].hops:
        assert "proxy-authorization" not in hop.request.headers


def test_a_proxy_that_wants_a_password_is_told_once(authority: Authority, scene: FaultyScene, build_dir: Path) -> None:
    with ConnectProxy(refusal=407) as proxy:
        run = proxied(scene, proxy, authority, build_dir)
    assert run.exit_code == 5, run.text
    assert "the proxy did not connect through" in run.text
    assert len(proxy.heads) == 1


def test_a_proxy_that_refuses_is_told(authority: Authority, scene: FaultyScene, build_dir: Path) -> None:
    with ConnectProxy(refusal=502) as proxy:
        run = proxied(scene, proxy, authority, build_dir)
    assert run.exit_code == 5, run.text
    assert "the event was not delivered: exchange: the proxy did not connect through" in run.text
    assert "Let the proxy of HTTPS_PROXY connect to this host" in run.text


def test_a_proxy_that_is_not_there_is_told(authority: Authority, scene: FaultyScene, build_dir: Path) -> None:
    with ConnectProxy() as proxy:
        pass
    run = proxied(scene, proxy, authority, build_dir)
    assert run.exit_code == 5, run.text
    assert "the proxy did not connect through" in run.text
