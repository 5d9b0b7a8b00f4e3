"""The gRPC surface: servicers, and conversion between messages and the domain."""
