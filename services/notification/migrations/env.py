"""What alembic runs."""

from kit.migrate import environment

from notification.models import Base

environment(Base.metadata)
