"""The ASGI application: `granian --interface asgi mailsink.app:app`."""

from kit.settings import load

from mailsink.bootstrap import create
from mailsink.settings import SinkSettings

app = create(load(SinkSettings))
