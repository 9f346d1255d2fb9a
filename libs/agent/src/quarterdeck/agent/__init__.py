"""The host agent: keeps a link to a gateway, executes commands, streams their output; the SDK for handlers."""
