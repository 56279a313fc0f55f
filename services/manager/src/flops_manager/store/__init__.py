"""What the manager knows for good: inbox, event log and outbox in one SQLite database."""
