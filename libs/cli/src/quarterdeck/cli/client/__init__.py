"""A typed client of the REST and SSE surface. Used by every verb and by the demo."""
