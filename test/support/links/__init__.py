"""What stands between the pipe and its servers, and how it misbehaves: an HTTP link, the faults that befall a request on it,
answers that echo secrets, a proxy for CONNECT, certificates for TLS.

A link knows requests and answers and nothing of the handoff's own meaning, except where a fault has to be a receiver's or
Bitbucket's answer.
"""

from . import faults
from .certificates import Authority
from .connect_proxy import ConnectProxy
from .echoes import ENCODINGS, credentials_in, echoes_of, echoing, receipt_with_echoes, token_with_echoes
from .faulty_link import Answer, Fault, FaultyLink, Hop, Request, passing

__all__ = [
    "ENCODINGS",
    "Answer",
    "Authority",
    "ConnectProxy",
    "Fault",
    "FaultyLink",
    "Hop",
    "Request",
    "credentials_in",
    "echoes_of",
    "echoing",
    "faults",
    "passing",
    "receipt_with_echoes",
    "token_with_echoes",
]
