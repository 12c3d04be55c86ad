"""What alembic runs."""

from kit.migrate import environment

from orders.models import Base

environment(Base.metadata)
