"""A stand-in for Bitbucket Cloud, for the demo, the tests and the benchmarks.

It plays the parts that the pipe and the receiver talk to: the identity provider of Pipelines, build statuses, Code Insights behind
the Pipelines proxy, and OAuth 2 client credentials. It follows the official OpenAPI and the published rules, and it is no more than
that: what Atlassian does not publish, it decides for itself.
"""

from .journal import Fault, RecordedRequest
from .loopback_server import LoopbackServer, listening_sockets
from .standin import BitbucketStandin
from .step import Step, braced_uuid
from .step_token import SigningKey
from .workspace import API, PRODUCTION, STAGING, WEB, Environment, Principal, Repository, Workspace

__all__ = [
    "API",
    "PRODUCTION",
    "STAGING",
    "WEB",
    "BitbucketStandin",
    "Environment",
    "Fault",
    "LoopbackServer",
    "Principal",
    "RecordedRequest",
    "Repository",
    "SigningKey",
    "Step",
    "Workspace",
    "braced_uuid",
    "listening_sockets",
]
