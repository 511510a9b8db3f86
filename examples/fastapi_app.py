"""A web application whose memory is recorded, with the user of each request.

uvicorn --app-dir examples fastapi_app:app
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from axon.core.templates import DEVELOPMENT_CONFIG
from fastapi import FastAPI, Request, Response

from axon_audit_otel import AuditLogger, audit_context
from axon_audit_otel.memory_system import MemorySystem

audit = AuditLogger(auto_export_path="audit_logs")
memory = MemorySystem(DEVELOPMENT_CONFIG, audit_logger=audit)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    audit.close()  # after this, a server that got a signal ends at once


app = FastAPI(lifespan=lifespan)


@app.middleware("http")
async def say_who_acts(
    request: Request, proceed: Callable[[Request], Awaitable[Response]]
) -> Response:
    with audit_context(user_id=request.headers.get("x-user")):
        return await proceed(request)


@app.post("/memories")
async def remember(text: str) -> str:
    return await memory.store(text)


@app.get("/memories")
async def recall(query: str) -> list[str]:
    return [entry.text for entry in await memory.recall(query)]
