"""REST: `make_api` builds the application, `RestServer` runs it."""

from loanloop_predictor.api.access import Access
from loanloop_predictor.api.admission import Admission
from loanloop_predictor.api.routes import Api, Decide, make_api
from loanloop_predictor.api.server import RestServer, TlsFiles
from loanloop_predictor.api.time_limit import TimeLimit
from loanloop_predictor.api.tokens import TokenRules, Tokens

__all__ = [
    "Access",
    "Admission",
    "Api",
    "Decide",
    "RestServer",
    "TimeLimit",
    "TlsFiles",
    "TokenRules",
    "Tokens",
    "make_api",
]
