"""What alembic runs."""

from kit.migrate import environment

from mail.models import Base

environment(Base.metadata)
