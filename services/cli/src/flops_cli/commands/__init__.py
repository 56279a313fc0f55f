"""The commands of `flops`, by what they are about."""
