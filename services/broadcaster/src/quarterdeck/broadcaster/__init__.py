"""The broadcaster service: one feed consumer per watched scope, shared by its watchers; SSE and NDJSON out."""
