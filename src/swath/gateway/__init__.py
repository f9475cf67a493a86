"""The door for clients: HTTP in OpenAI's format, over the one engine."""
