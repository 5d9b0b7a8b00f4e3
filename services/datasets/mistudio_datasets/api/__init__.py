"""The gRPC surface: each method converts, calls one use case, converts back."""
