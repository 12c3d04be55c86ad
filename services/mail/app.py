"""The ASGI application: `granian --interface asgi mail.app:app`."""

from kit.settings import load

from mail.bootstrap import create
from mail.settings import MailSettings

app = create(load(MailSettings))
