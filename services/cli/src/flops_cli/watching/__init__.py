"""Following a project until it ends."""
