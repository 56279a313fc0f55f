"""What touches the outside: the broker."""
