"""What every service of ours shares: settings, logging, errors, database, outbox, tokens, health, metrics."""
