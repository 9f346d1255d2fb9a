"""HTTP to calls and back, one module per resource. Thin: decode, ask, answer; what is decided is decided elsewhere."""
