"""A project's life, without any input or output: the log, the state that it folds to, and what to do next."""
