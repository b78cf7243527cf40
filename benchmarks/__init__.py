"""What metering costs; see docs/benchmarks.md."""
