"""What touches the outside: the broker, MLflow, Arrow files."""
