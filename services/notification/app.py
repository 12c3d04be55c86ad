"""The ASGI application: `granian --interface asgi notification.app:app`."""

from kit.settings import load

from notification.bootstrap import create
from notification.settings import NotificationSettings

app = create(load(NotificationSettings))
