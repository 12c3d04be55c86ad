"""The ASGI application: `granian --interface asgi auth.app:app`."""

from kit.settings import Settings, load

from auth.bootstrap import contract, create

app = create(load(contract(load(Settings)).settings))
