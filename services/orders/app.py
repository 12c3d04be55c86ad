"""The ASGI application: `granian --interface asgi orders.app:app`."""

from kit.settings import load

from orders.bootstrap import create
from orders.settings import OrdersSettings

app = create(load(OrdersSettings))
