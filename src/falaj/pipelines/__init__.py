"""Room: pipelines of steps, and what their runs came to."""
