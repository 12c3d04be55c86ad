"""Real servers for tests: PostgreSQL, RabbitMQ and our own services, each a process on a free port."""
