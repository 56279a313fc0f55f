"""`flops`: the command line, and the whole mesh on one machine."""
