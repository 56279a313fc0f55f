"""What is generated from the registry: JSON Schemas, the AsyncAPI document, and pages of the documentation."""

from flops_protocol.schemas.generate import documents as documents
