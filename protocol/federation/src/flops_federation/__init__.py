"""The parameter stream: parcels of arrays between an aggregator and its learners."""
