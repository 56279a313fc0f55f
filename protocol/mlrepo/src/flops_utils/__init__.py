"""The names that FLOps repositories import, answered by flops-mesh.

Written anew; only the names are those of FLOps's library, so that its repositories run unchanged.
"""
