"""The ASGI application: `granian --interface asgi analytics.app:app`."""

from kit.settings import load

from analytics.bootstrap import create
from analytics.settings import AnalyticsSettings

app = create(load(AnalyticsSettings))
