"""`python -m flops_builder`: one builder, for one project."""

from flops_builder.app import main

main()
