"""The pipe's flow as an official pipe would be written, with `bitbucket-pipes-toolkit`. One try, no explanations."""

import base64
import hashlib
import json
import os
import secrets
import sys
import time
from datetime import UTC, datetime
from typing import Any

import requests
from bitbucket_pipes_toolkit import Pipe, get_logger
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

SCHEMA = {
    "RECEIVER_URL": {"type": "string", "required": True},
    "BITBUCKET_ACCESS_TOKEN": {"type": "string", "required": True},
    "DEBUG": {"type": "boolean", "required": False, "default": False},
}


def b64url(data: bytes) -> str:
    """Encode without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Handoff(Pipe):
    """The pipe."""

    def run(self) -> None:
        """Hand over."""
        super().run()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.session = requests.Session()
        self.session.verify = os.environ.get("CA_CERTIFICATE", True)
        self.receiver = self.get_variable("RECEIVER_URL")
        self.status("INPROGRESS")
        token = self.exchange()
        receipt = self.post(token)
        self.status("SUCCESSFUL" if receipt["state"] == "succeeded" else "FAILED")
        if receipt["state"] != "succeeded":
            self.fail(message=f"{receipt['id']} {receipt['state']}")
        self.success(message=f"{receipt['id']} {receipt['state']}")

    def proof(self, **claims: Any) -> str:
        """Sign a DPoP proof."""
        numbers = self.key.public_key().public_numbers()
        jwk = {"kty": "EC", "crv": "P-256", "x": b64url(numbers.x.to_bytes(32)), "y": b64url(numbers.y.to_bytes(32))}
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}
        claims |= {"iat": int(time.time()), "jti": secrets.token_hex(16)}
        signing_input = ".".join(b64url(json.dumps(part).encode()) for part in (header, claims))
        r, s = decode_dss_signature(self.key.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signing_input}.{b64url(r.to_bytes(32) + s.to_bytes(32))}"

    def exchange(self) -> str:
        """Get the access token."""
        url = f"{self.receiver}/token"
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": os.environ["BITBUCKET_STEP_OIDC_TOKEN"],
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "resource": self.receiver,
        }
        answer = self.session.post(url, data=form, headers={"DPoP": self.proof(htm="POST", htu=url)}, timeout=30)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def post(self, token: str) -> dict[str, Any]:
        """Send the event."""
        url, env = f"{self.receiver}/events", os.environ
        event_id, now = f"evt_{secrets.token_hex(16)}", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        source, kind = f"https://bitbucket.org/{env['BITBUCKET_REPO_FULL_NAME']}", "dev.cdevents.service.deployed.0.3.0"
        payload = env["BITBUCKET_STEP_OIDC_TOKEN"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        bitbucket = {
            "workspace": env["BITBUCKET_WORKSPACE"],
            "workspace_uuid": claims["workspaceUuid"],
            "repository": env["BITBUCKET_REPO_FULL_NAME"],
            "repository_uuid": env["BITBUCKET_REPO_UUID"],
            "pipeline_uuid": env["BITBUCKET_PIPELINE_UUID"],
            "step_uuid": env["BITBUCKET_STEP_UUID"],
            "branch": env["BITBUCKET_BRANCH"],
            "environment_uuid": env["BITBUCKET_DEPLOYMENT_ENVIRONMENT_UUID"],
            "commit": env["BITBUCKET_COMMIT"],
        }
        artifact = f"pkg:bitbucket/{env['BITBUCKET_REPO_FULL_NAME']}@{env['BITBUCKET_COMMIT']}"
        content = {
            "environment": {"id": env["BITBUCKET_DEPLOYMENT_ENVIRONMENT"], "source": source},
            "artifactId": artifact,
        }
        data = {
            "context": {"specversion": "0.5.0", "id": event_id, "source": source, "type": kind, "timestamp": now},
            "subject": {"id": env["BITBUCKET_REPO_SLUG"], "source": source, "content": content},
            "customData": {"bitbucket": bitbucket, "custom": {}},
        }
        event = {"specversion": "1.0", "id": event_id, "source": source, "type": kind, "time": now}
        event |= {"subject": env["BITBUCKET_REPO_SLUG"], "datacontenttype": "application/json", "data": data}
        body = json.dumps(event).encode()
        digest = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
        ath = b64url(hashlib.sha256(token.encode()).digest())
        headers = {
            "Authorization": f"DPoP {token}",
            "DPoP": self.proof(htm="POST", htu=url, ath=ath, content_digest=digest),
            "Content-Digest": digest,
            "Content-Type": "application/cloudevents+json",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(time.time())),
        }
        answer = self.session.post(url, data=body, headers=headers, timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def status(self, state: str) -> None:
        """Set the build status."""
        env = os.environ
        url = f"{env['BITBUCKET_API_URL']}/2.0/repositories/{env['BITBUCKET_WORKSPACE']}/{env['BITBUCKET_REPO_SLUG']}"
        key = f"handoff-{env['BITBUCKET_REPO_SLUG']}-{env['BITBUCKET_DEPLOYMENT_ENVIRONMENT']}"
        link = (
            f"https://bitbucket.org/{env['BITBUCKET_REPO_FULL_NAME']}/pipelines/results/{env['BITBUCKET_BUILD_NUMBER']}"
        )
        answer = self.session.post(
            f"{url}/commit/{env['BITBUCKET_COMMIT']}/statuses/build",
            json={"type": "build", "key": key, "state": state, "url": link},
            headers={"Authorization": f"Bearer {self.get_variable('BITBUCKET_ACCESS_TOKEN')}"},
            timeout=30,
        )
        answer.raise_for_status()


if __name__ == "__main__":
    get_logger()
    pipe = Handoff(schema=SCHEMA)
    pipe.run()
    sys.exit(0)
