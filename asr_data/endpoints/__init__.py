"""Models behind OpenAI-compatible endpoints: requests, and a journal of what they answered."""
