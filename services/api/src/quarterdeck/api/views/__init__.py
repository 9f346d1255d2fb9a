"""From what the store and the registry know to the bodies of the API. Pure; one module per source system's shape."""
