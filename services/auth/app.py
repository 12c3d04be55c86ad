"""The ASGI application: `granian --interface asgi auth.app:app`."""

from kit.settings import load

from auth.bootstrap import create
from auth.settings import AuthSettings

app = create(load(AuthSettings))
