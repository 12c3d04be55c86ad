"""What alembic runs."""

from kit.migrate import environment

from auth.models import Base

environment(Base.metadata)
