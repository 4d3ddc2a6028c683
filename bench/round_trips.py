"""Round trips that the user waits for, on a link with a delay of its own, with TLS 1.3: the pipe, a shell script, the toolkit.

What a run takes longer on the slow link than on the same link without a delay, divided by the link's round trip, is the
number of round trips on the waiting path. The receiver and Bitbucket are servers that only answer, behind TLS.
Needs root, `ip` and `/dev/net/tun`.
"""

import datetime
import ipaddress
import statistics
import sys
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from slow_link import FAR_ADDRESS, namespaces
from stage import BENCH, HANDOFF_SCRIPT_NEEDS, PIPE, child, require, seconds, ways
from support.scenes import BinaryPipe, Scene

ROUND_TRIP = 0.2
BUDGET = 5
ROUNDS = 7


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for the far side that is its own root, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "far side")])
    now = datetime.datetime.now(datetime.UTC)
    # Not a CA: rustls takes no CA as the certificate of a server.
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(FAR_ADDRESS))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / "far.pem", folder / "far.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, key_pem


def medians(scene: Scene, folder: Path, delay_milliseconds: int) -> dict[str, float]:
    """The median time of each way over a link with this delay in each direction."""
    pem, key = certificate(folder)
    # Two, as in the real world: what one knows of a connection does not help with the other.
    server = [sys.executable, str(BENCH / "canned_server.py"), "--host", FAR_ADDRESS, "--certificate", str(pem)]
    server += ["--key", str(key)]
    with (
        namespaces() as (near, far),
        child(sys.executable, str(BENCH / "slow_link.py"), near, far, str(delay_milliseconds)),
        child("ip", "netns", "exec", far, *server) as receiver_port,
        child("ip", "netns", "exec", far, *server) as bitbucket_port,
    ):
        receiver = f"https://{FAR_ADDRESS}:{receiver_port}/handoff"
        bitbucket = f"https://{FAR_ADDRESS}:{bitbucket_port}"
        measured: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for way, command in ways().items():
                token = scene.token(scene.step(), audiences=[receiver])
                here = {"RECEIVER_URL": receiver, "BITBUCKET_API_URL": bitbucket, "CA_CERTIFICATE": str(pem)}
                variables = scene.variables(scene.step(), token, DEBUG=None, **here)
                inside = ["ip", "netns", "exec", near, *command]
                measured.setdefault(way, []).append(seconds(inside, variables, folder))
    return {way: statistics.median(times) for way, times in measured.items()}


def main() -> None:
    """Compare the slow link with the same link without a delay."""
    require(*HANDOFF_SCRIPT_NEEDS, "ip", root=True, files=["/dev/net/tun"])
    with tempfile.TemporaryDirectory() as name, Scene(BinaryPipe(PIPE), Path(name)) as scene:
        near = medians(scene, Path(name), 0)
        far = medians(scene, Path(name), int(ROUND_TRIP * 1000 / 2))
    print(f"round trips on the waiting path, {ROUND_TRIP * 1000:.0f} ms each, TLS 1.3; medians of {ROUNDS}")
    for way, slow in far.items():
        print(f"  {way:<28} {slow:6.2f} s   {(slow - near[way]) / ROUND_TRIP:5.1f} round trips")
    print(f"  budget: ≤ {BUDGET} for the pipe (TCP, TLS 1.3, exchange, event, status)")
    if round((far["pipe"] - near["pipe"]) / ROUND_TRIP) > BUDGET:
        raise SystemExit("a budget is missed")


if __name__ == "__main__":
    main()
