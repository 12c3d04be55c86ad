"""The ASGI application: `granian --interface asgi orders.app:app`."""

from kit.settings import Settings, load

from orders.bootstrap import contract, create

app = create(load(contract(load(Settings)).settings))
