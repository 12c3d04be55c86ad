"""What alembic runs."""

from kit.migrate import environment

from analytics.models import Base

environment(Base.metadata)
