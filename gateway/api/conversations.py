"""DELETE /api/conversations/{name}/masked: forget now what was masked in a conversation of one's own.

A program names a conversation in `x-haechi-conversation`; what is masked in it is kept, sealed, for a day without use, so that
answers can have it back. Whoever deletes a chat deletes this with it. One that nothing is kept of is no error.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from gateway.api import headers
from gateway.principal import Authenticator
from gateway.workspace.mask_vault import MaskVaults


def router(authenticator: Authenticator, vaults: MaskVaults) -> APIRouter:
    """The route."""
    routes = APIRouter()

    @routes.delete("/api/conversations/{name}/masked", status_code=204)
    async def forget(name: str, request: Request) -> Response:
        """Forget what was masked in a conversation of one's own. Its placeholders are from then on nobody's."""
        principal = await authenticator.authenticate_page(request.method, request.headers.raw)
        conversation = headers.word({b"x-haechi-conversation": name.encode()}, "x-haechi-conversation")
        assert conversation is not None
        await vaults.forget(principal.user_id, conversation)
        return Response(status_code=204)

    return routes
