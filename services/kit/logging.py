"""JSON log lines on stdout, the same from our code (structlog) and from libraries (logging)."""

from __future__ import annotations

import logging
import logging.config
import sys
from collections.abc import Callable
from typing import Any, TextIO

import orjson
import structlog

from kit import context

Logger = structlog.stdlib.BoundLogger

# Names whose values never reach a log line, whoever logs them.
SECRET_NAMES = frozenset(
    {
        "password",
        "old_password",
        "new_password",
        "token",
        "access_token",
        "authorization",
        "secret",
        "private_key",
    }
)

# What these say our own lines say better, or the gateway's.
QUIET = {
    "_granian": "INFO",
    "granian.access": "INFO",
    "httpx2": "WARNING",
    "aiormq": "CRITICAL",
    "opentelemetry": "ERROR",
}


def configure(service: str, level: str = "info") -> None:
    """All to stdout, one JSON object a line: timestamp, level, logger, message, service, request_id.

    Where requests are traced also trace_id.
    """
    shared: list[Callable[..., Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.EventRenamer("message"),
        _named(service),
        _traced,
        _redact,
    ]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": [structlog.stdlib.ExtraAdder(), *shared],
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        structlog.processors.format_exc_info,
                        structlog.processors.JSONRenderer(serializer=_dumps),
                    ],
                }
            },
            "handlers": {"stdout": {"()": _Stdout, "formatter": "json"}},
            "root": {"handlers": ["stdout"], "level": level.upper()},
            "loggers": {
                name: {"handlers": [], "propagate": True, "level": quiet} for name, quiet in QUIET.items()
            },
        }
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get(name: str) -> Logger:
    """A logger: `get(__name__).info("order created", order_id=1)`."""
    logger: Logger = structlog.stdlib.get_logger(name)
    return logger


class _Stdout(logging.StreamHandler[TextIO]):
    """Writes to what is stdout at that moment, not what was when logging was configured."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stdout


def _named(service: str) -> Callable[..., structlog.types.EventDict]:
    def add(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event["service"] = service
        event.setdefault("request_id", None)
        return event

    return add


def _traced(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    if (trace_id := context.trace_id()) is not None:
        event["trace_id"] = trace_id
    return event


def _redact(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    for name in SECRET_NAMES & event.keys():
        event[name] = "[redacted]"
    return event


def _dumps(event: dict[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
