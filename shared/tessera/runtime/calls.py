"""Plain HTTP calls to servers of others: a webhook, a tool in which people answer."""

from __future__ import annotations

import urllib.request
from typing import Any


class StayHere(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: the operator named one address, and a token is for that address alone."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse."""
        return


opener = urllib.request.build_opener(StayHere)
