"""The feed of ended sessions, for a gateway that believes tokens: it is asked every second or so."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse
from kit.database import Session

from auth import sessions
from auth.sessions import Grants

PATH = "/sessions/ended"

router = APIRouter(include_in_schema=False)  # for the application's own network: no gateway serves it


@router.get(PATH)
async def ended_sessions(
    request: Request,
    session: Session,
    since: Annotated[int, Query(ge=0, le=2**63 - 1, description="the cursor of the last answer")] = 0,
) -> PlainTextResponse:
    """First a line with a cursor, then `SESSION UNTIL` lines; after UNTIL (Unix time) its tokens are over."""
    grants: Grants = request.state.grants
    cursor, found = await sessions.ended(session, since, grants.issuer.lifetime)
    lines = [str(cursor), *(f"{each} {int(until.timestamp()) + 1}" for each, until in found)]
    return PlainTextResponse("\n".join(lines) + "\n", headers={"Cache-Control": "no-store"})
