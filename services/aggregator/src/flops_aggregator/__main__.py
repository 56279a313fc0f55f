"""`python -m flops_aggregator`."""

from flops_aggregator.app import main

main()
