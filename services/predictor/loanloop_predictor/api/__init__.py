"""REST: `make_api` builds the application, `RestServer` runs it."""

from loanloop_predictor.api.admission import Admission
from loanloop_predictor.api.routes import Api, make_api
from loanloop_predictor.api.server import RestServer

__all__ = ["Admission", "Api", "RestServer", "make_api"]
