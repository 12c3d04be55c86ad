"""`python -m hostwright_notifier`."""

from hostwright_notifier.cli import main

raise SystemExit(main())
